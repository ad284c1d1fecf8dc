"""`model._target_=…` and `data._target_=…` as sections of a configuration."""

from __future__ import annotations

from pathlib import Path

import pytest

from trainyard.config.compose import compose
from trainyard.config.convert import from_dict, to_dict
from trainyard.config.names import model_label
from trainyard.errors import ConfigError, UnsafeTargetError
from trainyard.own.schema import OwnData, OwnModel

NET = {"_target_": "toy_regression.Plane", "noise": 0.5}


@pytest.mark.parametrize(
    "overrides",
    [
        ["model._target_=toy_regression.Plane", "model.noise=0.5"],
        ["model.noise=0.5", "model._target_=toy_regression.Plane"],
        ["model.name=own", "model.target._target_=toy_regression.Plane", "model.target.noise=0.5"],
        ["model={_target_: toy_regression.Plane, noise: 0.5}"],
        ["model=cnn", "model._target_=toy_regression.Plane", "model.noise=0.5"],
    ],
)
def test_both_ways_of_writing_it_are_one_section(overrides: list[str]) -> None:
    config = compose(overrides=overrides, trust=True)
    assert config.model == OwnModel(NET)
    assert model_label(config) == "Plane"
    assert from_dict(to_dict(config), trust=True) == config


def test_a_file_says_it_too(tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(
        "model: {_target_: toy_regression.Plane, noise: 0.25}\n"
        "data:\n  _target_: toy_regression.load\n  items: 60\n  workers: 2\n  split: {seed: 3}\n"
        "training: {learning_rate: 0.1}\n"
    )
    config = compose(str(path), ["model.noise=0.5"], trust=True)
    assert config.model == OwnModel(NET)
    assert isinstance(config.data, OwnData)
    assert config.data.target == {"_target_": "toy_regression.load", "items": 60}
    assert (config.data.workers, config.data.split.seed, config.data.split.val_fraction) == (2, 3, 0.1)


def test_another_run_can_be_repeated_with_other_arguments() -> None:
    base = to_dict(compose(overrides=["model._target_=toy_regression.Plane", "model.noise=0.5"], trust=True))
    assert compose(base=base, overrides=["model.noise=0.1"], trust=True).model == OwnModel({**NET, "noise": 0.1})
    assert compose(base=base, overrides=["model=mlp"], trust=True).model.name == "mlp"


def test_without_trust_every_foreign_target_is_named() -> None:
    words = ["model._target_=a.B", "data._target_=a.load", "task._target_=a.Task"]
    with pytest.raises(UnsafeTargetError) as raised:
        compose(overrides=words)
    assert "--trust" in raised.value.remedy
    assert all(name in raised.value.what for name in ("a.B", "a.load", "a.Task"))
    assert compose(overrides=["model._target_=torch.nn.Linear", "model.in_features=4"]).model.name == "own"


@pytest.mark.parametrize(
    ("overrides", "key"),
    [
        (["model.name=own"], "model.target"),
        (["data.source=own"], "data.target"),
        (["model._target_=net"], "model.target"),
        (["data._target_=a.load", "data.workers=-1"], "data.workers"),
        (["model._target_=a.B", "training.use_arcface=arcface"], "training.use_arcface"),
    ],
)
def test_what_cannot_be_is_refused(overrides: list[str], key: str) -> None:
    with pytest.raises(ConfigError) as raised:
        compose(overrides=overrides, trust=True)
    assert key in raised.value.keys
