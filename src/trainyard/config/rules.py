"""Which values make sense, one by one and together; a table of bounds and a list of combinations.

Pure functions from a `Config` to faults: what the types of `schema` cannot say. Whether files exist,
devices are there or layouts are known is found out by those who use them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from trainyard.config.faults import Fault, nearest, show
from trainyard.config.schema import Config
from trainyard.config.targets import validate_target
from trainyard.errors import UnsafeTargetError, UserError

_TARGETS = ("optimizer", "scheduler", "criterion")
_DEVICES = ("auto", "cpu", "cuda", "mps")


def _at_least(low: float) -> Callable[[Any], bool]:
    return lambda value: bool(value >= low)


def _each(test: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda values: all(test(value) for value in values)


def _fraction(value: float) -> bool:
    return 0 <= value < 1


def _above_zero(value: float) -> bool:
    return value > 0


# key, test, what must hold. A key that the chosen data or model lacks, and null, are passed over.
_BOUNDS: tuple[tuple[str, Callable[[Any], bool], str], ...] = (
    ("run.project", bool, "a name"),
    ("run.seed", lambda seed: 0 <= seed < 2**32, "from 0 to 4294967295"),
    ("data.path", bool, "a path"),
    ("data.image_size", _each(_at_least(1)), "1 or more each"),
    ("data.workers", _at_least(0), "0 or more"),
    ("data.split.val_fraction", _fraction, "0 or more and below 1"),
    ("data.split.test_fraction", _fraction, "0 or more and below 1"),
    ("data.split.seed", lambda seed: 0 <= seed < 2**32, "from 0 to 4294967295"),
    ("model.hidden", _each(_at_least(1)), "1 or more each"),
    ("model.channels", lambda sizes: bool(sizes) and min(sizes) >= 1, "at least one number, 1 or more each"),
    ("model.dropout", _fraction, "0 or more and below 1"),
    ("training.epochs", _at_least(1), "1 or more"),
    ("training.batch_size", _at_least(1), "1 or more"),
    ("training.learning_rate", _above_zero, "above 0"),
    ("training.label_smoothing", _fraction, "0 or more and below 1"),
    ("training.grad_clip", _above_zero, "above 0, or null for no clipping"),
    ("training.grad_accumulation", _at_least(1), "1 or more"),
    ("training.monitor", lambda name: bool(name.strip()), "the name of a metric, such as val_loss"),
    ("training.early_stopping.patience", _at_least(1), "1 or more, or null for never"),
    ("training.early_stopping.min_delta", _at_least(0), "0 or more"),
    ("training.log_every", _at_least(1), "1 or more"),
    ("checkpoint.every_epochs", _at_least(1), "1 or more"),
    ("checkpoint.every_steps", _at_least(1), "1 or more, or null for none inside epochs"),
    ("checkpoint.keep_last", _at_least(1), "1 or more, or null for all"),
    ("checkpoint.keep_best", _at_least(0), "0 or more"),
    ("checkpoint.keep_every", _at_least(1), "1 or more, or null for none"),
    ("outputs.val_predictions_every", _at_least(0), "0 or more"),
    ("layout", bool, "a layout's name or a path"),
)


def check(config: Config, *, trust: bool = False) -> list[Fault]:
    """Everything about the values that cannot be, in the order of the schema."""
    return [*_out_of_bounds(config), *_combinations(config), *_targets(config, trust)]


def _out_of_bounds(config: Config) -> Iterator[Fault]:
    for key, holds, expected in _BOUNDS:
        value = _get(config, key)
        if value is not None and not holds(value):
            said = list(value) if isinstance(value, tuple) else value
            yield Fault(f"`{key}` is {show(said)}, it must be {expected}", (key,))
    weights = config.training.class_weights
    if isinstance(weights, tuple) and (not weights or min(weights) < 0 or max(weights) == 0):
        yield Fault(
            f"`training.class_weights` is {show(list(weights))}, it must be 0 or more each and not all 0",
            ("training.class_weights",),
        )
    classes = _get(config, "data.classes")
    if classes is not None:
        twice = sorted({name for name in classes if classes.count(name) > 1})
        if twice:
            yield Fault(f"`data.classes` names {', '.join(map(show, twice))} more than once", ("data.classes",))
        elif len(classes) < 2:
            yield Fault(f"`data.classes` is {show(list(classes))}, a classifier needs two or more", ("data.classes",))
    device = config.run.device
    if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", device):
        near = nearest(device, _DEVICES)
        hint = f"; did you mean `{near}`?" if near else ""
        yield Fault(
            f"`run.device` is {show(device)}, expected one of auto, cpu, cuda, cuda:N, mps{hint}",
            ("run.device",),
        )


def _combinations(config: Config) -> Iterator[Fault]:
    run, split, training = config.run, config.data.split, config.training
    fractions = ("data.split.val_fraction", "data.split.test_fraction")
    if _fraction(split.val_fraction) and _fraction(split.test_fraction):
        total = split.val_fraction + split.test_fraction
        if total >= 1:
            yield Fault(
                f"`{fractions[0]}` {split.val_fraction:g} and `{fractions[1]}` {split.test_fraction:g} "
                f"make {total:g}, which leaves nothing to train on; together they must stay below 1",
                fractions,
            )
    if not run.train and not run.test:
        yield Fault("`run.train` and `run.test` are both false: there is nothing to do", ("run.train", "run.test"))
    elif not run.train and not run.checkpoint_path:
        yield Fault(
            "`run.train` is false, so there must be a checkpoint to test; add run.checkpoint_path=…",
            ("run.train", "run.checkpoint_path"),
        )
    if config.data.source == "digits":  # the other sources may bring splits of their own
        if run.test and split.test_fraction == 0:
            yield Fault(
                f"`{fractions[1]}` is 0 and digits has no test split of its own; add run.test=false",
                (fractions[1], "run.test"),
            )
        if run.train and split.val_fraction == 0 and training.monitor.startswith("val_"):
            yield Fault(
                f"`{fractions[0]}` is 0, so there is no {show(training.monitor)} to monitor; "
                "set training.monitor=train_loss or hold items out",
                (fractions[0], "training.monitor"),
            )
    if "lr" in training.optimizer:
        yield Fault(
            f"`training.optimizer.lr` is {show(training.optimizer['lr'])}, but the learning rate is "
            "`training.learning_rate`; set that one",
            ("training.optimizer.lr",),
        )


def _targets(config: Config, trust: bool) -> Iterator[Fault]:
    for name in _TARGETS:
        spec, key = getattr(config.training, name), f"training.{name}"
        if spec is None:
            continue
        try:
            validate_target(spec, trust=trust)
        except UserError as error:
            unsafe = isinstance(error, UnsafeTargetError)
            said = getattr(error, "problems", (error.what,))[0].rstrip(".")
            yield Fault(f"`{key}`: {said}", (key,), unsafe=unsafe, remedy=error.remedy)


def _get(config: Config, key: str) -> Any:
    value: Any = config
    for part in key.split("."):
        value = getattr(value, part, None)
    return value
