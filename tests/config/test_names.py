"""What a run is called when nobody says so."""

from __future__ import annotations

import pytest

from trainyard.config.names import default_run_name, model_label
from trainyard.config.schema import CnnModel, Config, MlpModel, RunSection


@pytest.mark.parametrize(("model", "label"), [(CnnModel(), "cnn"), (MlpModel(hidden=(453,)), "mlp")])
def test_the_model_names_the_run(model: CnnModel | MlpModel, label: str) -> None:
    config = Config(model=model)
    assert (model_label(config), default_run_name(config)) == (label, label)


def test_it_can_be_part_of_a_path() -> None:
    config = Config(run=RunSection(name="a/b", project="c/d"))
    assert default_run_name(config).isidentifier()
