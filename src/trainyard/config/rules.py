"""Checks of single values that types cannot express: a table of bounds, and the allowed targets.

Values that exclude each other are in `combinations`. Whether files, devices and layouts exist is checked where
they are used.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from trainyard.config import kinds
from trainyard.config.bounds import Bound, Test, above_zero, at_least, below_one, share
from trainyard.config.combinations import combinations
from trainyard.config.faults import Fault, show
from trainyard.config.schema import Config
from trainyard.config.targets import validate_target
from trainyard.errors import UnsafeTargetError, UserError
from trainyard.wording import suggestion

_TARGETS = (
    *("training.optimizer", "training.scheduler", "training.criterion", "augmentations.waveform"),
    *("task", "data.target", "model.target"),
)
# The bounds of a kind of data or a model are in its package's schema.
_BOUNDS: tuple[Bound, ...] = (
    ("run.project", bool, "a name"),
    ("run.seed", lambda seed: 0 <= seed < 2**32, "from 0 to 4294967295"),
    ("data.split.val_fraction", below_one, "0 or more and below 1"),
    ("data.split.test_fraction", below_one, "0 or more and below 1"),
    ("data.split.seed", lambda seed: 0 <= seed < 2**32, "from 0 to 4294967295"),
    ("training.epochs", at_least(1), "1 or more"),
    ("training.batch_size", at_least(1), "1 or more"),
    ("training.learning_rate", above_zero, "above 0"),
    ("training.head_learning_rate", above_zero, "above 0, or null for training.learning_rate"),
    ("training.label_smoothing", below_one, "0 or more and below 1"),
    ("training.margin.scale", above_zero, "above 0, or null for the default"),
    ("training.margin.margin", at_least(0), "0 or more, or null for the default"),
    ("training.distillation.teacher_model_path", bool, "a path, or null"),
    ("training.distillation.alpha", share, "from 0 to 1"),
    ("training.distillation.temperature", above_zero, "above 0"),
    ("training.thresholds.value", share, "from 0 to 1"),
    ("training.thresholds.k", at_least(1), "1 or more, or null to tune it"),
    ("training.grad_clip", above_zero, "above 0, or null for no clipping"),
    ("training.grad_accumulation", at_least(1), "1 or more"),
    ("training.monitor", lambda name: bool(name.strip()), "the name of a metric, such as val_loss"),
    ("training.early_stopping.patience", at_least(1), "1 or more, or null for never"),
    ("training.early_stopping.min_delta", at_least(0), "0 or more"),
    ("training.log_every", at_least(1), "1 or more"),
    ("augmentations.spectrogram.time_masks", at_least(0), "0 or more"),
    ("augmentations.spectrogram.time_width", share, "from 0 to 1"),
    ("augmentations.spectrogram.freq_masks", at_least(0), "0 or more"),
    ("augmentations.spectrogram.freq_width", share, "from 0 to 1"),
    ("augmentations.spectrogram.max_masked", share, "from 0 to 1"),
    ("augmentations.spectrogram.time_shift", share, "from 0 to 1"),
    ("augmentations.spectrogram.freq_stretch", below_one, "0 or more and below 1"),
    ("system.audio_dir", bool, "a directory"),
    ("system.cache_dir", bool, "a directory, or null"),
    ("system.cache_mb", at_least(0), "0 or more"),
    ("checkpoint.every_epochs", at_least(1), "1 or more"),
    ("checkpoint.every_steps", at_least(1), "1 or more, or null for none inside epochs"),
    ("checkpoint.keep_last", at_least(1), "1 or more, or null for all"),
    ("checkpoint.keep_best", at_least(0), "0 or more"),
    ("checkpoint.keep_every", at_least(1), "1 or more, or null for none"),
    ("outputs.val_predictions_every", at_least(0), "0 or more"),
    ("layout", bool, "a layout's name or a path"),
)


def check(config: Config, *, trust: bool = False) -> list[Fault]:
    """The faults of the values, in the order of the schema."""
    return [*_out_of_bounds(config), *combinations(config), *_targets(config, trust)]


def _out_of_bounds(config: Config) -> Iterator[Fault]:
    for key, holds, expected in _BOUNDS:
        yield from _out_of_bound(key, _get(config, key), holds, expected)
    yield from section_faults("data", config.data)
    yield from section_faults("model", config.model)
    weights = config.training.class_weights
    if isinstance(weights, tuple) and (not weights or min(weights) < 0 or max(weights) == 0):
        what = f"`training.class_weights` is {show(list(weights))}; each must be 0 or more, and not all 0"
        yield Fault(what, ("training.class_weights",))
    classes = _get(config, "data.classes")
    if classes is not None:
        twice = sorted({name for name in classes if classes.count(name) > 1})
        if twice:
            yield Fault(f"`data.classes` names {', '.join(map(show, twice))} more than once", ("data.classes",))
        elif len(classes) < 2:
            yield Fault(f"`data.classes` is {show(list(classes))}; a classifier needs two or more", ("data.classes",))
    device = config.run.device
    if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", device):
        hint = suggestion(device, ("auto", "cpu", "cuda", "mps"), few=0)
        what = f"`run.device` is {show(device)}, expected one of auto, cpu, cuda, cuda:N, mps{hint}"
        yield Fault(what, ("run.device",))


def section_faults(section: str, chosen: Any) -> Iterator[Fault]:
    """The faults of the single values of `data` or `model`, as one of its dataclasses."""
    schema = kinds.schema_of(section, getattr(chosen, kinds.SELECTORS[section]))
    for key, holds, expected in schema.BOUNDS:
        of, _, name = key.partition(".")
        if of == section:
            yield from _out_of_bound(key, getattr(chosen, name, None), holds, expected)


def _out_of_bound(key: str, value: Any, holds: Test, expected: str) -> Iterator[Fault]:
    if value is not None and not holds(value):
        shown = list(value) if isinstance(value, tuple) else value
        yield Fault(f"`{key}` is {show(shown)}; it must be {expected}", (key,))


def _targets(config: Config, trust: bool) -> Iterator[Fault]:
    for key in _TARGETS:
        spec = _get(config, key)
        try:
            if spec is not None:
                validate_target(spec, trust=trust)
        except UserError as error:
            unsafe = isinstance(error, UnsafeTargetError)
            what = getattr(error, "problems", (error.what,))[0].rstrip(".")
            yield Fault(f"`{key}`: {what}", (key,), unsafe=unsafe, remedy=error.remedy)


def _get(config: Config, key: str) -> Any:
    value: Any = config
    for part in key.split("."):
        value = getattr(value, part, None)
    return value
