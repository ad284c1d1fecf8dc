"""A new kind of data, with a network of its own, is one package and one line in the table of kinds."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
from curves.schema import CurvesData, SlopeModel

from trainyard.config import kinds
from trainyard.config.compose import compose, from_dict, to_dict
from trainyard.config.names import default_run_name, model_label, parse_name
from trainyard.config.schema import Config
from trainyard.errors import ConfigError
from trainyard.running.evaluate import evaluate_run
from trainyard.running.predict import predict_items
from trainyard.running.train import train
from trainyard.runs import RunReader, Yard

LABELS = ("down", "up")


@pytest.fixture(autouse=True)
def _table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kinds, "PACKAGES", (*kinds.PACKAGES, "curves"))


def curves(path: Path, count: int, *, labelled: bool = True) -> list[str]:
    """Writes curves that rise or fall; returns which of them do."""
    draw = np.random.default_rng(count)
    labels = [LABELS[number % 2] for number in range(count)]
    rows = []
    for label in labels:
        values = np.linspace(0, 3 if label == "up" else -3, draw.integers(9, 20)) + 0.1 * draw.standard_normal()
        rows.append({"values": values.round(3).tolist(), **({"label": label} if labelled else {})})
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return labels


def composed(tmp_path: Path, *overrides: str) -> Config:
    path = tmp_path / "curves.jsonl"
    if not path.exists():
        curves(path, 80)
    quiet = ["outputs.plots=false", "tracker=none", "training.epochs=3", "training.learning_rate=0.1"]
    return compose("digits", ["data.source=curves", f"data.path={path}", "model.name=slope", *quiet, *overrides])


def test_it_composes(tmp_path: Path) -> None:
    config = composed(tmp_path, "data.length=6", "model.scale=2")
    assert config.data == CurvesData(str(tmp_path / "curves.jsonl"), length=6)
    assert config.model == SlopeModel(scale=2.0)
    assert from_dict(to_dict(config)) == config
    assert (model_label(config), default_run_name(config)) == ("slope", "slope")
    assert parse_name("slope") == {"name": "slope"}
    by_path = compose("experiments/heartbeats/slope.py", ["data.path=x"])
    assert (by_path.data, by_path.model) == (CurvesData("x", dataset="heartbeats"), SlopeModel())


@pytest.mark.parametrize(
    ("override", "key"),
    [
        ("data.length=1", "data.length"),
        ("data.lenth=4", "data.lenth"),
        ("model.scale=much", "model.scale"),
        ("data.source=digits", "model.name"),
    ],
)
def test_its_bounds_types_and_rules_are_checked(tmp_path: Path, override: str, key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        composed(tmp_path, override)
    assert key in caught.value.keys


def test_it_trains_evaluates_and_predicts(tmp_path: Path) -> None:
    root = tmp_path / "yard"
    home = train(composed(tmp_path), root)
    assert home is not None
    run = RunReader(Yard(root), home)
    assert run.snapshot.data["preprocessing"] == {"kind": "curves", "length": 8}
    assert run.snapshot.summary["test_accuracy"] == 1.0
    assert evaluate_run(run, "test").metrics["accuracy"] == 1.0
    wanted = curves(tmp_path / "new.jsonl", 9, labelled=False)
    rows = list(csv.DictReader(io.StringIO(predict_items(run, tmp_path / "new.jsonl"))))
    assert [row["pred_label"] for row in rows] == wanted
    assert [row["id"] for row in rows] == [f"new {number}" for number in range(9)]


def test_without_its_line_in_the_table_it_is_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    with pytest.raises(ConfigError) as caught:
        composed(tmp_path)
    assert {"data.source", "model.name"} <= set(caught.value.keys)
