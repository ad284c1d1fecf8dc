"""Values of the run and its training that exclude each other, for any kind of data and model.

Pure functions from a `Config` to faults, each naming every key involved, with its value and the fix.
`rules` checks single values; the `rules` module of each package checks its kind of data or family of models.
What depends on the data or the device is checked where they are used.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from trainyard.config import kinds
from trainyard.config.faults import Fault, show
from trainyard.config.fields import plain
from trainyard.config.schema import Config, ThresholdOptions


def combinations(config: Config) -> Iterator[Fault]:
    """Every invalid combination."""
    yield from _run(config)
    for rules in kinds.rules():
        yield from rules.check(config)
    yield from _training(config)
    yield from _labels(config, multi=getattr(config.data, "multi_label", False))


def group_column_faults(data: Any) -> Iterator[Fault]:
    """For data with a `group_column`: groups are chosen for test, but no column is set."""
    groups = data.split.test_groups
    if groups and not data.group_column:
        what = f"`data.split.test_groups` is {show(list(groups))}, but no column holds the groups"
        yield Fault(f"{what}; add data.group_column=…", ("data.split.test_groups", "data.group_column"))


def _run(config: Config) -> Iterator[Fault]:
    run, split = config.run, config.data.split
    if not run.train and not run.test:
        yield Fault("`run.train` and `run.test` are both false: there is nothing to do", ("run.train", "run.test"))
    elif not run.train and not run.checkpoint_path:
        what = "`run.train` is false, so there must be a checkpoint to test; add run.checkpoint_path=…"
        yield Fault(what, ("run.train", "run.checkpoint_path"))
    val, test = split.val_fraction, split.test_fraction
    if 0 <= val < 1 and 0 <= test < 1 and val + test >= 1:
        what = f"`data.split.val_fraction` {val:g} and `data.split.test_fraction` {test:g} make {val + test:g}"
        keys = ("data.split.val_fraction", "data.split.test_fraction")
        yield Fault(f"{what}, which leaves nothing to train on; together they must stay below 1", keys)


def _training(config: Config) -> Iterator[Fault]:
    training, model = config.training, config.model
    arcface, distillation = training.use_arcface, training.distillation
    if "lr" in training.optimizer:
        what = f"`training.optimizer.lr` is {show(training.optimizer['lr'])}, but the learning rate is"
        yield Fault(f"{what} `training.learning_rate`; set that one", ("training.optimizer.lr",))
    if training.head_learning_rate is not None and not getattr(model, "has_own_head", False):
        what = f"`training.head_learning_rate` is {training.head_learning_rate:g}, but model.name={model.name} has"
        yield Fault(f"{what} no separate head; leave it out", ("training.head_learning_rate", "model.name"))
    if arcface is not None and not getattr(model, "takes_cosine_head", True):
        what = f"`training.use_arcface` is {arcface}, but model.name={model.name} has no cosine head"
        yield Fault(f"{what}; set it to null, or choose another model", ("training.use_arcface", "model.name"))
    for name, value in plain(training.margin).items():
        if value is not None and arcface is None:
            what = f"`training.margin.{name}` is {value:g}, but no margin is trained"
            keys = (f"training.margin.{name}", "training.use_arcface")
            yield Fault(f"{what}; add training.use_arcface=arcface or circle", keys)
    if distillation.enabled and not distillation.teacher_model_path:
        keys = ("training.distillation.enabled", "training.distillation.teacher_model_path")
        what = f"`{keys[0]}` is true, but `{keys[1]}` names no teacher"
        yield Fault(f"{what}; set it to a checkpoint of a run, or enabled=false", keys)


def _labels(config: Config, *, multi: bool | None) -> Iterator[Fault]:
    """Options for one label per item, and for several; `multi` is None where only the data determines it."""
    thresholds = config.training.thresholds
    criterion = str(config.training.criterion.get("_target_", ""))
    keys = ("training.criterion._target_", "data.multi_label", "training.criterion")
    if multi and criterion == "torch.nn.CrossEntropyLoss":
        what = f"`{keys[0]}` is {criterion}, which takes one label per item, but data.multi_label is true"
        yield Fault(f"{what}; choose training/criterion=bce or focal, or set data.multi_label=false", keys)
    if multi is False and criterion in ("torch.nn.BCEWithLogitsLoss", "trainyard.tasks.losses.FocalLoss"):
        what = f"`{keys[0]}` is {criterion}, which takes several labels per item, but the data has one"
        yield Fault(f"{what}; choose training/criterion=cross_entropy", keys)
    if multi is False and thresholds != ThresholdOptions():
        what = "`training.thresholds` is set, but each item has one label, the most probable; leave it out"
        yield Fault(what, tuple(f"training.thresholds.{name}" for name in ("mode", "value", "k")))
    if thresholds.k is not None and thresholds.mode != "top_k":
        what = f"`training.thresholds.k` is {thresholds.k}, but the mode is {thresholds.mode}"
        keys_of_k = ("training.thresholds.k", "training.thresholds.mode")
        yield Fault(f"{what}; set training.thresholds.mode=top_k, or leave it out", keys_of_k)
