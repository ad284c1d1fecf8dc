"""The configuration of networks for any kind of data. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from trainyard.config.bounds import Bound, above_zero, at_least, below_one, each

EfficientNetSize = Literal["small", "s", "m", "l"]
Norm = Literal["batch", "group", "instance"]


@dataclass(frozen=True)
class MlpModel:
    """A multi-layer perceptron on the flattened item; hidden=[453] on 28 x 28 is 784-453-10."""

    name: Literal["mlp"] = "mlp"
    hidden: tuple[int, ...] = (128,)
    dropout: float = 0.0


@dataclass(frozen=True)
class CnnModel:
    """Convolution, batch norm, ReLU and max-pooling per entry of `channels`."""

    name: Literal["cnn"] = "cnn"
    channels: tuple[int, ...] = (32, 64, 64)
    dropout: float = 0.1


@dataclass(frozen=True)
class EfficientNetV2Model:
    """EfficientNetV2 (Tan & Le, 2021) on spectrograms or images."""

    name: Literal["efficientnet_v2"] = "efficientnet_v2"
    size: EfficientNetSize = "small"  # small: 2.6 M parameters; s, m and l as published
    norm: Norm = "batch"
    dropout: float = 0.2
    trainable_blocks: int | None = None  # the last n stages train, with the head; null: all
    weights: str | None = None  # a state dict to start from, where names and shapes match
    qat: bool = False  # quantisation-aware training, and an int8 export at the end


@dataclass(frozen=True)
class PannsCnn14Model:
    """CNN14 of PANNs (Kong et al., 2020) on spectrograms."""

    name: Literal["panns_cnn14"] = "panns_cnn14"
    width: int = 64  # channels of the first of six blocks, doubled in each; 64 as published (80 M parameters)
    norm: Norm = "batch"
    dropout: float = 0.2
    trainable_blocks: int | None = None
    weights: str | None = None
    qat: bool = False


@dataclass(frozen=True)
class MobileNetV2Model:
    """MobileNetV2 (Sandler et al., 2018) on spectrograms or images."""

    name: Literal["mobilenet_v2"] = "mobilenet_v2"
    width: float = 1.0  # multiplies the channels
    norm: Norm = "batch"
    dropout: float = 0.2
    trainable_blocks: int | None = None
    weights: str | None = None
    qat: bool = False


DATA = ()
MODELS = (MlpModel, CnnModel, EfficientNetV2Model, PannsCnn14Model, MobileNetV2Model)
BOUNDS: tuple[Bound, ...] = (
    ("model.hidden", each(at_least(1)), "1 or more each"),
    ("model.channels", lambda sizes: bool(sizes) and min(sizes) >= 1, "at least one number, 1 or more each"),
    ("model.dropout", below_one, "0 or more and below 1"),
    ("model.width", above_zero, "above 0"),
    ("model.trainable_blocks", at_least(0), "0 or more, or null for all"),
    ("model.weights", bool, "a path, or null"),
)

_SIZES: tuple[EfficientNetSize, ...] = get_args(EfficientNetSize)


def label(model: Any) -> str:
    """The network's name, with its published size and `_qat` where they are not the default."""
    size = f"_{model.size}" if isinstance(model, EfficientNetV2Model) and model.size != "small" else ""
    return f"{model.name}{size}{'_qat' if getattr(model, 'qat', False) else ''}"


# The `model` values that each name implies.
_NAMED: Mapping[str, Mapping[str, Any]] = {
    label(model): {key: getattr(model, key) for key in ("name", "size", "qat") if hasattr(model, key)}
    for model in (
        MlpModel(),
        CnnModel(),
        *(EfficientNetV2Model(size=size, qat=qat) for qat in (False, True) for size in _SIZES),
        *(network(qat=qat) for qat in (False, True) for network in (PannsCnn14Model, MobileNetV2Model)),
    )
}
NAMES = tuple(_NAMED)


def from_name(name: str) -> dict[str, Any] | None:
    """The `model` values that a network's name implies, or None for another name: the inverse of `label`."""
    return dict(_NAMED[name]) if name in _NAMED else None
