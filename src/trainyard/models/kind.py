"""The networks of this package: built from their settings, described for `config.json`, and rebuilt from it.

The JSON follows transformers' conventions, so that common tools show the labels. Reads no files.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from typing import Any

from torch import nn

from trainyard.config import kinds
from trainyard.config.faults import Fault, raise_all
from trainyard.config.reader import read_section
from trainyard.errors import CheckpointError
from trainyard.models.cnn import CNN
from trainyard.models.efficientnet import EfficientNetV2
from trainyard.models.encoder_settings import class_faults
from trainyard.models.mlp import MLP
from trainyard.models.mobilenet import MobileNetV2
from trainyard.models.panns import PannsCnn14
from trainyard.models.schema import CnnModel, EfficientNetV2Model, MlpModel, MobileNetV2Model, PannsCnn14Model

_PREFIX = "trainyard-"
_NOT_KEPT = ("name", "weights")  # a checkpoint has its own weights


def build(
    *, name: str, item_shape: Sequence[int], classes: Sequence[str], trust: bool = False, **settings: Any
) -> nn.Module:
    """A freshly initialised network with a linear head, taking float32 [B, *item_shape] to logits [B, len(classes)].

    Convolutional networks need items of shape (C, H, W) or (H, W). `settings` are the fields of the network's dataclass
    in `schema`, except `weights`; a ConfigError lists all that is wrong with them. `trust` is not used.
    """
    model = _checked(name, item_shape, classes, settings)
    if isinstance(model, MlpModel):
        return MLP(math.prod(item_shape), model.hidden, len(classes), model.dropout)
    in_channels, *sides = item_shape if len(item_shape) == 3 else (1, *item_shape)
    size = (sides[0], sides[1])
    if isinstance(model, CnnModel):
        return CNN(in_channels, model.channels, len(classes), size=size, dropout=model.dropout)
    common = {key: getattr(model, key) for key in ("norm", "dropout", "trainable_blocks")} | {"image_size": size}
    match model:
        case EfficientNetV2Model():
            return EfficientNetV2(model.size, in_channels, len(classes), **common)
        case PannsCnn14Model():
            return PannsCnn14(model.width, in_channels, len(classes), **common)
        case MobileNetV2Model():
            return MobileNetV2(model.width, in_channels, len(classes), **common)
        case _:
            raise TypeError(f"{type(model).__name__} is not a network of this package")


def describe(*, name: str, item_shape: Sequence[int], classes: Sequence[str], **settings: Any) -> dict[str, Any]:
    """The contents of `config.json` for `build` with the same arguments, after the same checks of the settings."""
    model = _checked(name, item_shape, classes, settings)
    values = {field.name: getattr(model, field.name) for field in fields(model) if field.name not in _NOT_KEPT}
    return {
        "model_type": f"{_PREFIX}{name}",
        "architectures": [name.upper()],
        "dtype": "float32",
        "item_shape": [int(size) for size in item_shape],
        "id2label": {str(index): label for index, label in enumerate(classes)},
        "label2id": {label: index for index, label in enumerate(classes)},
        **{key: list(value) if isinstance(value, tuple) else value for key, value in values.items()},
    }


def rebuild(config: Mapping[str, Any], files: Mapping[str, str] | None = None, *, trust: bool = False) -> nn.Module:
    """The network that `describe` described, with fresh weights; unknown keys, `files` and `trust` are ignored.

    Raises:
        CheckpointError: `config` lacks a key, or its labels are not numbered from 0.
        ConfigError: sizes that cannot be built.
    """
    model_type = str(config["model_type"])
    name = model_type.removeprefix(_PREFIX)
    keys = [field.name for field in fields(kinds.members("model")[name]) if field.name not in _NOT_KEPT]
    missing = [key for key in ("item_shape", "id2label", *keys) if key not in config]
    labels = {int(index): str(label) for index, label in config.get("id2label", {}).items()}
    if missing or sorted(labels) != list(range(len(labels))):
        lacks = f"of a {model_type} lacks {', '.join(map(repr, missing))}"
        disorder = f"numbers its labels {sorted(labels)}, not 0 to {len(labels) - 1}"
        what, remedy = f"config.json {lacks if missing else disorder}.", "Use the one that was saved with the weights."
        raise CheckpointError(what, remedy, value=missing or sorted(labels), place="config.json")
    classes = [labels[index] for index in range(len(labels))]
    return build(name=name, item_shape=config["item_shape"], classes=classes, **{key: config[key] for key in keys})


def _checked(name: str, item_shape: Sequence[int], classes: Sequence[str], settings: Mapping[str, Any]) -> Any:
    """The network's section; all faults are raised together."""
    model, faults = read_section("model", {"name": name, **settings})
    raise_all([*faults, *_shape_faults(name, item_shape), *class_faults(classes)])
    return model


def _shape_faults(name: str, item_shape: Sequence[int]) -> Iterator[Fault]:
    if not item_shape or not all(type(size) is int and size > 0 for size in item_shape):
        yield Fault(f"items of shape {tuple(item_shape)} are empty", ("data",))
    elif name != "mlp" and len(item_shape) not in (2, 3):
        yield Fault(
            f"model.name={name!r} takes items of shape (channels, height, width), but the data's are "
            f"{tuple(item_shape)}; model=mlp takes any shape",
            ("model.name", "data"),
        )
