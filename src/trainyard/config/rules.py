"""Which values make sense: a table of bounds, and the targets that may be named.

Pure functions from a `Config` to faults: what the types of `schema` cannot say. What does not go together
is in `combinations`. Whether files exist, devices are there or layouts are known is found out by those who
use them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from trainyard.config.combinations import combinations
from trainyard.config.faults import Fault, show
from trainyard.config.schema import Config
from trainyard.config.targets import validate_target
from trainyard.errors import UnsafeTargetError, UserError
from trainyard.wording import suggestion

_TARGETS = ("training.optimizer", "training.scheduler", "training.criterion", "augmentations.waveform")
_DEVICES = ("auto", "cpu", "cuda", "mps")


def _at_least(low: float) -> Callable[[Any], bool]:
    return lambda value: bool(value >= low)


def _each(test: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda values: all(test(value) for value in values)


def _fraction(value: float) -> bool:
    return 0 <= value < 1


def _share(value: float) -> bool:
    return 0 <= value <= 1


def _above_zero(value: float) -> bool:
    return value > 0


# key, test, what must hold. A key that the chosen data or model lacks, and null, are passed over.
_BOUNDS: tuple[tuple[str, Callable[[Any], bool], str], ...] = (
    ("run.project", bool, "a name"),
    ("run.seed", lambda seed: 0 <= seed < 2**32, "from 0 to 4294967295"),
    ("data.path", bool, "a path"),
    ("data.image_size", _each(_at_least(1)), "1 or more each"),
    ("data.workers", _at_least(0), "0 or more"),
    ("data.sentences", _at_least(100), "100 or more"),
    ("data.label_separator", bool, "one or more characters"),
    ("data.label_name", bool, "a word"),
    ("data.max_tokens", _at_least(3), "3 or more: the first and the last are marks"),
    ("data.speakers", _at_least(1), "1 or more"),
    ("data.takes", _at_least(1), "1 or more"),
    ("data.sample_rate", _at_least(1000), "1000 Hz or more"),
    ("data.clip_seconds", _above_zero, "above 0"),
    ("data.min_seconds", _at_least(0), "0 or more"),
    ("data.max_seconds", _above_zero, "above 0"),
    ("data.n_fft", _at_least(2), "2 samples or more"),
    ("data.hop_length", _at_least(1), "1 sample or more"),
    ("data.n_mels", _at_least(1), "1 or more"),
    ("data.fmin", _at_least(0), "0 Hz or more"),
    ("data.fmax", _above_zero, "above 0 Hz, or null for half the sample rate"),
    ("data.top_db", _above_zero, "above 0 dB, or null for no limit"),
    ("data.split.val_fraction", _fraction, "0 or more and below 1"),
    ("data.split.test_fraction", _fraction, "0 or more and below 1"),
    ("data.split.seed", lambda seed: 0 <= seed < 2**32, "from 0 to 4294967295"),
    ("model.hidden", _each(_at_least(1)), "1 or more each"),
    ("model.channels", lambda sizes: bool(sizes) and min(sizes) >= 1, "at least one number, 1 or more each"),
    ("model.dropout", _fraction, "0 or more and below 1"),
    ("model.path", bool, "a hub id or a directory, or null"),
    ("model.projector", _at_least(1), "1 or more"),
    ("model.lora_rank", _at_least(1), "1 or more"),
    ("model.lora_alpha", _above_zero, "above 0"),
    ("model.lora_dropout", _fraction, "0 or more and below 1"),
    ("model.adapter_size", _at_least(1), "1 or more"),
    ("model.prompt_length", _at_least(1), "1 or more"),
    ("model.hidden_size", _at_least(1), "1 or more, or null for the size's"),
    ("model.num_layers", _at_least(1), "1 or more, or null for the size's"),
    ("model.num_heads", _at_least(1), "1 or more, or null for the size's"),
    ("model.ffn_size", _at_least(1), "1 or more, or null for the size's"),
    ("model.vocabulary", _at_least(100), "100 or more"),
    ("model.width", _above_zero, "above 0"),
    ("model.trainable_blocks", _at_least(0), "0 or more, or null for all"),
    ("model.weights", bool, "a path, or null"),
    ("training.epochs", _at_least(1), "1 or more"),
    ("training.batch_size", _at_least(1), "1 or more"),
    ("training.learning_rate", _above_zero, "above 0"),
    ("training.head_learning_rate", _above_zero, "above 0, or null for training.learning_rate"),
    ("training.label_smoothing", _fraction, "0 or more and below 1"),
    ("training.margin.scale", _above_zero, "above 0, or null for the usual"),
    ("training.margin.margin", _at_least(0), "0 or more, or null for the usual"),
    ("training.distillation.teacher_model_path", bool, "a path, or null"),
    ("training.distillation.alpha", _share, "from 0 to 1"),
    ("training.distillation.temperature", _above_zero, "above 0"),
    ("training.thresholds.value", _share, "from 0 to 1"),
    ("training.thresholds.k", _at_least(1), "1 or more, or null to tune it"),
    ("training.grad_clip", _above_zero, "above 0, or null for no clipping"),
    ("training.grad_accumulation", _at_least(1), "1 or more"),
    ("training.monitor", lambda name: bool(name.strip()), "the name of a metric, such as val_loss"),
    ("training.early_stopping.patience", _at_least(1), "1 or more, or null for never"),
    ("training.early_stopping.min_delta", _at_least(0), "0 or more"),
    ("training.log_every", _at_least(1), "1 or more"),
    ("augmentations.spectrogram.time_masks", _at_least(0), "0 or more"),
    ("augmentations.spectrogram.time_width", _share, "from 0 to 1"),
    ("augmentations.spectrogram.freq_masks", _at_least(0), "0 or more"),
    ("augmentations.spectrogram.freq_width", _share, "from 0 to 1"),
    ("augmentations.spectrogram.max_masked", _share, "from 0 to 1"),
    ("augmentations.spectrogram.time_shift", _share, "from 0 to 1"),
    ("augmentations.spectrogram.freq_stretch", _fraction, "0 or more and below 1"),
    ("system.audio_dir", bool, "a directory"),
    ("system.cache_dir", bool, "a directory, or null"),
    ("system.cache_mb", _at_least(0), "0 or more"),
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
    return [*_out_of_bounds(config), *combinations(config), *_targets(config, trust)]


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
        hint = suggestion(device, _DEVICES, few=0)
        yield Fault(
            f"`run.device` is {show(device)}, expected one of auto, cpu, cuda, cuda:N, mps{hint}", ("run.device",)
        )


def _targets(config: Config, trust: bool) -> Iterator[Fault]:
    for key in _TARGETS:
        spec = _get(config, key)
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
