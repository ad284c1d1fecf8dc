"""Values of the run and its training that exclude each other, for any kind of data and model.

Pure functions from a `Config` to faults. Each fault names every key involved, with its value and the fix.
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
    yield from _splits(config)
    for rules in kinds.rules():
        yield from rules.check(config)
    yield from _training(config)
    yield from _labels(config, multi=getattr(config.data, "multi_label", False))


def _run(config: Config) -> Iterator[Fault]:
    run = config.run
    if not run.train and not run.test:
        yield Fault("`run.train` and `run.test` are both false: there is nothing to do", ("run.train", "run.test"))
    elif not run.train and not run.checkpoint_path:
        yield Fault(
            "`run.train` is false, so there must be a checkpoint to test; add run.checkpoint_path=…",
            ("run.train", "run.checkpoint_path"),
        )


def _splits(config: Config) -> Iterator[Fault]:
    split = config.data.split
    val, test = "data.split.val_fraction", "data.split.test_fraction"
    total = split.val_fraction + split.test_fraction
    if 0 <= split.val_fraction < 1 and 0 <= split.test_fraction < 1 and total >= 1:
        yield Fault(
            f"`{val}` {split.val_fraction:g} and `{test}` {split.test_fraction:g} "
            f"make {total:g}, which leaves nothing to train on; together they must stay below 1",
            (val, test),
        )


def group_column_faults(data: Any) -> Iterator[Fault]:
    """For data with a `group_column`: groups are chosen for test, but no column is set."""
    if data.split.test_groups and not data.group_column:
        yield Fault(
            f"`data.split.test_groups` is {show(list(data.split.test_groups))}, but no column holds the groups; "
            "add data.group_column=…",
            ("data.split.test_groups", "data.group_column"),
        )


def _training(config: Config) -> Iterator[Fault]:
    training = config.training
    if "lr" in training.optimizer:
        yield Fault(
            f"`training.optimizer.lr` is {show(training.optimizer['lr'])}, but the learning rate is "
            "`training.learning_rate`; set that one",
            ("training.optimizer.lr",),
        )
    if training.head_learning_rate is not None and not getattr(config.model, "has_own_head", False):
        yield Fault(
            f"`training.head_learning_rate` is {training.head_learning_rate:g}, but model.name={config.model.name} has "
            "no separate head; leave it out",
            ("training.head_learning_rate", "model.name"),
        )
    if training.use_arcface is not None and not getattr(config.model, "takes_cosine_head", True):
        yield Fault(
            f"`training.use_arcface` is {training.use_arcface}, but model.name={config.model.name} has no cosine head; "
            "set it to null, or choose another model",
            ("training.use_arcface", "model.name"),
        )
    for name, value in plain(training.margin).items():
        if value is not None and training.use_arcface is None:
            yield Fault(
                f"`training.margin.{name}` is {value:g}, but no margin is trained; "
                "add training.use_arcface=arcface or circle",
                (f"training.margin.{name}", "training.use_arcface"),
            )
    distillation = training.distillation
    if distillation.enabled and not distillation.teacher_model_path:
        yield Fault(
            "`training.distillation.enabled` is true, but `training.distillation.teacher_model_path` names no "
            "teacher; set it to a checkpoint of a run, or enabled=false",
            ("training.distillation.enabled", "training.distillation.teacher_model_path"),
        )


def _labels(config: Config, *, multi: bool | None) -> Iterator[Fault]:
    """Options for one label per item, and for several; `multi` is None where only the data determines it."""
    training = config.training
    criterion = str(training.criterion.get("_target_", ""))
    if multi and criterion == "torch.nn.CrossEntropyLoss":
        yield Fault(
            f"`training.criterion._target_` is {criterion}, which takes one label per item, but data.multi_label is "
            "true; choose training/criterion=bce or focal, or set data.multi_label=false",
            ("training.criterion._target_", "data.multi_label", "training.criterion"),
        )
    if multi is False and criterion in ("torch.nn.BCEWithLogitsLoss", "trainyard.tasks.losses.FocalLoss"):
        yield Fault(
            f"`training.criterion._target_` is {criterion}, which takes several labels per item, but the data has one; "
            "choose training/criterion=cross_entropy",
            ("training.criterion._target_", "data.multi_label", "training.criterion"),
        )
    if multi is False and training.thresholds != ThresholdOptions():
        yield Fault(
            "`training.thresholds` is set, but each item has one label, the most probable; leave it out",
            ("training.thresholds.mode", "training.thresholds.value", "training.thresholds.k"),
        )
    if training.thresholds.k is not None and training.thresholds.mode != "top_k":
        yield Fault(
            f"`training.thresholds.k` is {training.thresholds.k}, but the mode is {training.thresholds.mode}; "
            "set training.thresholds.mode=top_k, or leave it out",
            ("training.thresholds.k", "training.thresholds.mode"),
        )
