"""Values and combinations that cannot be, each on both sides of its border."""

from __future__ import annotations

import pytest

from trainyard.config.compose import compose
from trainyard.config.schema import Config
from trainyard.errors import ConfigError

NPZ = ["data=npz", "data.path=x.npz"]


@pytest.mark.parametrize(
    ("good", "bad"),
    [
        ("training.epochs=1", "training.epochs=0"),
        ("training.batch_size=1", "training.batch_size=0"),
        ("training.learning_rate=1e-9", "training.learning_rate=0"),
        ("training.learning_rate=5", "training.learning_rate=-0.1"),
        ("training.label_smoothing=0.99", "training.label_smoothing=1"),
        ("training.grad_clip=0.1", "training.grad_clip=0"),
        ("training.grad_clip=null", "training.grad_clip=-1"),
        ("training.grad_accumulation=1", "training.grad_accumulation=0"),
        ("training.monitor=val_f1", "training.monitor=' '"),
        ("training.monitor=x", "training.monitor="),
        ("training.early_stopping.patience=1", "training.early_stopping.patience=0"),
        ("training.early_stopping.min_delta=0", "training.early_stopping.min_delta=-1"),
        ("training.log_every=1", "training.log_every=0"),
        ("training.class_weights=[0,2]", "training.class_weights=[0,0]"),
        ("training.class_weights=[1.5]", "training.class_weights=[-1,1]"),
        ("training.class_weights=balanced", "training.class_weights=[]"),
        ("checkpoint.keep_last=1", "checkpoint.keep_last=0"),
        ("checkpoint.keep_last=null", "checkpoint.keep_last=-1"),
        ("checkpoint.keep_best=0", "checkpoint.keep_best=-1"),
        ("checkpoint.keep_every=1", "checkpoint.keep_every=0"),
        ("checkpoint.every_epochs=1", "checkpoint.every_epochs=0"),
        ("checkpoint.every_steps=1", "checkpoint.every_steps=0"),
        ("outputs.val_predictions_every=0", "outputs.val_predictions_every=-1"),
        ("run.seed=4294967295", "run.seed=4294967296"),
        ("run.seed=0", "run.seed=-1"),
        ("run.project=p", "run.project="),
        ("run.device=cuda:1", "run.device=cuda:x"),
        ("run.device=mps", "run.device=gpu"),
        ("data.split.val_fraction=0.79", "data.split.val_fraction=1"),
        ("data.split.test_fraction=0.01", "data.split.test_fraction=-0.1"),
        ("data.split.seed=0", "data.split.seed=-1"),
        ("model.channels=[1]", "model.channels=[0]"),
        ("model.channels=[3,4]", "model.channels=[]"),
        ("model.dropout=0", "model.dropout=1"),
        ("layout=x", "layout="),
    ],
)
def test_bounds(good: str, bad: str) -> None:
    assert isinstance(compose("digits", [good]), Config)
    key = bad.partition("=")[0]
    with pytest.raises(ConfigError) as caught:
        compose("digits", [bad])
    (told,) = caught.value.problems
    assert f"`{key}` is " in told
    assert f"command line: `{bad}`" in told


@pytest.mark.parametrize(
    ("good", "bad", "words"),
    [
        (
            ["data.split.val_fraction=0.4", "data.split.test_fraction=0.5"],
            ["data.split.val_fraction=0.5", "data.split.test_fraction=0.5"],
            ["val_fraction` 0.5", "test_fraction` 0.5", "make 1", "below 1"],
        ),
        (["run.train=false", "run.checkpoint_path=x.pth"], ["run.train=false"], ["run.checkpoint_path=…"]),
        (["run.test=false"], ["run.train=false", "run.test=false"], ["both false", "nothing to do"]),
        (
            [*NPZ, "data.split.test_fraction=0"],
            ["data.split.test_fraction=0"],
            ["no test split", "add run.test=false"],
        ),
        (
            ["data.split.val_fraction=0", "training.monitor=train_loss"],
            ["data.split.val_fraction=0"],
            ['no "val_loss" to monitor', "training.monitor=train_loss"],
        ),
        (
            ["training/optimizer=adamw", "training.learning_rate=1"],
            ["training.optimizer.lr=1"],
            ["`training.optimizer.lr` is 1", "`training.learning_rate`"],
        ),
        ([*NPZ, "data.classes=[a,b]"], [*NPZ, "data.classes=[a,b,a]"], ['names "a" more than once']),
        ([*NPZ, "data.classes=null"], [*NPZ, "data.classes=[a]"], ["two or more"]),
        ([*NPZ, "run.test=false"], ["data=npz", "data.path="], ['`data.path` is ""', "a path"]),
        (["model=mlp", "model.hidden=[]"], ["model=mlp", "model.hidden=[3,0]"], ["1 or more each"]),
    ],
)
def test_combinations(good: list[str], bad: list[str], words: list[str]) -> None:
    assert isinstance(compose("digits", good), Config)
    with pytest.raises(ConfigError) as caught:
        compose("digits", bad)
    (told,) = caught.value.problems
    for word in words:
        assert word in told


def test_a_wrong_type_is_not_judged_twice() -> None:
    with pytest.raises(ConfigError) as caught:
        compose("digits", ["data.split.val_fraction=lots", "data.split.test_fraction=0.95"])
    (told,) = caught.value.problems
    assert "expected a number" in told
