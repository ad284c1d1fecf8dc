"""From a model's name and sizes to a network, and to the `config.json` that can rebuild it.

The names are matched in one place, so that no import order decides which models exist. The JSON
follows transformers' conventions, so that common tools show the labels. It knows no files and no runs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from importlib import import_module
from typing import Any

from torch import nn

from trainyard.errors import CheckpointError, ConfigError
from trainyard.models.blocks import NORMS
from trainyard.models.cnn import CNN
from trainyard.models.efficientnet import SIZES, EfficientNetV2
from trainyard.models.heads import with_cosine_head
from trainyard.models.mlp import MLP
from trainyard.models.mobilenet import MobileNetV2
from trainyard.models.panns import PannsCnn14
from trainyard.models.quantize import quantization_aware
from trainyard.models.settings import class_problems
from trainyard.models.weights import Report, load_matching, read_weights

_SPECTROGRAM = {"norm": "batch", "dropout": 0.2, "trainable_blocks": None, "qat": False}
# The keyword arguments of each model and what they are when left out.
_DEFAULTS: dict[str, dict[str, Any]] = {
    "mlp": {"hidden": (128,), "dropout": 0.0},
    "cnn": {"channels": (32, 64, 64), "dropout": 0.1},
    "efficientnet_v2": {"size": "small", **_SPECTROGRAM},
    "panns_cnn14": {"width": 64, **_SPECTROGRAM},
    "mobilenet_v2": {"width": 1.0, **_SPECTROGRAM},
}
_HEAD = ("head", "head_scale")  # arguments of every model; a config.json without them is of a linear head
# Models of one kind of data, and the module that builds, describes and rebuilds them; imported when asked for.
_ENCODERS = {"encoder": "trainyard.audio.encoders.build", "text_encoder": "trainyard.text.encoders.build"}
_PREFIX = "trainyard-"


def build_model(
    name: str,
    *,
    item_shape: Sequence[int],
    classes: Sequence[str],
    head: str = "linear",
    head_scale: float | None = None,
    weights: str | None = None,
    on_weights: Callable[[Report], object] | None = None,
    **params: Any,
) -> nn.Module:
    """A freshly initialised network taking float32 [B, *item_shape] to logits float32 [B, len(classes)].

    A `text_encoder` takes token ids, int64 [B, T], and how many there are in each text, int64 [B].

    Args:
        name: `mlp`, `cnn`, `encoder`, `text_encoder`, `efficientnet_v2`, `panns_cnn14` or `mobilenet_v2`.
        item_shape: the shape of one item, without the batch; convolutional networks want (C, H, W) or (H, W).
        classes: class names, in the order of the outputs.
        head: `linear`, or `cosine` for logits that are `head_scale` times a cosine.
        head_scale: of a cosine head.
        weights: a file of weights to start from, where names and shapes match; the cosine head is always fresh.
        on_weights: told what became of each tensor of that file.
        params: `mlp`: `hidden`, `dropout`; `cnn`: `channels`, `dropout`; `efficientnet_v2`: `size`, and
            `panns_cnn14`, `mobilenet_v2`: `width`, each with `norm`, `dropout`, `trainable_blocks` and
            `qat`, which prepares the network for int8 (`QuantAware`) when all else is in place; of the encoders
            what their `build` takes.

    Raises:
        ConfigError: an unknown model or parameter (the nearest is named), sizes that cannot be built,
            weights that do not fit, or a library that is missing.
    """
    _check_head(name, head, head_scale)
    model = _network(name, item_shape, classes, params)
    if weights is not None:
        report = load_matching(model, read_weights(weights), weights)
        if on_weights is not None:
            on_weights(report)
    if head_scale is not None:
        model = with_cosine_head(model, head_scale)
    return quantization_aware(model, item_shape) if params.get("qat") else model


def _network(name: str, item_shape: Sequence[int], classes: Sequence[str], params: Mapping[str, Any]) -> nn.Module:
    """The network with the linear head that each is made with."""
    if name in _ENCODERS:
        built: nn.Module = import_module(_ENCODERS[name]).build(item_shape=item_shape, classes=classes, **params)
        return built
    sizes = _checked(name, item_shape, classes, params)
    if name == "mlp":
        return MLP(math.prod(item_shape), sizes["hidden"], len(classes), sizes["dropout"])
    in_channels, *sides = item_shape if len(item_shape) == 3 else (1, *item_shape)
    size = (sides[0], sides[1])
    common = {key: sizes[key] for key in ("norm", "dropout", "trainable_blocks") if key in sizes}
    match name:
        case "cnn":
            return CNN(in_channels, sizes["channels"], len(classes), size=size, dropout=sizes["dropout"])
        case "efficientnet_v2":
            return EfficientNetV2(sizes["size"], in_channels, len(classes), image_size=size, **common)
        case "panns_cnn14":
            return PannsCnn14(sizes["width"], in_channels, len(classes), image_size=size, **common)
        case "mobilenet_v2":
            return MobileNetV2(sizes["width"], in_channels, len(classes), image_size=size, **common)
        case _:
            raise _unknown_model(name)


def model_config(
    name: str,
    *,
    item_shape: Sequence[int],
    classes: Sequence[str],
    head: str = "linear",
    head_scale: float | None = None,
    weights: str | None = None,
    **params: Any,
) -> dict[str, Any]:
    """The contents of `config.json` for `build_model` with the same arguments: plain JSON values.

    `weights` is not part of it: a checkpoint has its own.

    Raises:
        ConfigError: as `build_model`, save for what only building finds out.
    """
    _check_head(name, head, head_scale)
    if name in _ENCODERS:  # its config.json is transformers' own
        described: dict[str, Any] = import_module(_ENCODERS[name]).describe(
            item_shape=item_shape, classes=classes, **params
        )
        return described
    sizes = _checked(name, item_shape, classes, params)
    return {
        "model_type": f"{_PREFIX}{name}",
        "architectures": [name.upper()],
        "dtype": "float32",
        "item_shape": [int(size) for size in item_shape],
        "id2label": {str(index): label for index, label in enumerate(classes)},
        "label2id": {label: index for index, label in enumerate(classes)},
        **{key: list(value) if isinstance(value, tuple) else value for key, value in sizes.items()},
        **({} if head_scale is None else {"head": head, "head_scale": float(head_scale)}),
    }


def from_model_config(config: Mapping[str, Any], files: Mapping[str, str] | None = None) -> nn.Module:
    """The network that `model_config` described, with fresh weights.

    Keys it does not know are ignored: other tools add theirs to `config.json`.

    Args:
        config: the contents of `config.json`.
        files: name to text of the files beside it, of which a `text_encoder` takes its tokenizer; without them
            no checkpoint of it can be written.

    Raises:
        CheckpointError: a config that is not one of ours, or that lacks a key.
        ConfigError: sizes that cannot be built.
    """
    name = config.get("trainyard", {}).get("name")
    if name in _ENCODERS:
        model: nn.Module = import_module(_ENCODERS[name]).rebuild(config, files)
        return model
    model_type = config.get("model_type")
    name = str(model_type).removeprefix(_PREFIX)
    if model_type != f"{_PREFIX}{name}" or name not in _DEFAULTS:
        known = ", ".join(f"{_PREFIX}{known}" for known in _DEFAULTS)
        raise CheckpointError(
            f"config.json says model_type {model_type!r}, which Trainyard does not build.",
            f"It builds {known}. Load others with the library that wrote them.",
        )
    missing = [key for key in ("item_shape", "id2label", *_DEFAULTS[name]) if key not in config]
    if missing:
        raise CheckpointError(
            f"config.json of a {model_type} lacks {', '.join(map(repr, missing))}.",
            "Use the config.json that was saved with the weights.",
        )
    labels = {int(index): str(label) for index, label in config["id2label"].items()}
    if sorted(labels) != list(range(len(labels))):
        raise CheckpointError(
            f"config.json numbers its labels {sorted(labels)}, not 0 to {len(labels) - 1}.",
            "Use the config.json that was saved with the weights.",
        )
    sizes = {key: config[key] for key in (*_DEFAULTS[name], *_HEAD) if key in config}
    classes = [labels[index] for index in range(len(labels))]
    return build_model(name, item_shape=config["item_shape"], classes=classes, **sizes)


def _check_head(name: str, head: str, scale: float | None) -> None:
    if head not in ("linear", "cosine"):
        raise ConfigError([f"model head {head!r} is no head"], "Use linear or cosine.")
    if (head == "cosine") != (scale is not None):
        raise ConfigError([f"a {head} head of scale {scale}"], "A cosine head has a scale, and a linear head has none.")
    if head == "cosine" and name in _ENCODERS:
        raise ConfigError([f"model={name} cannot have a cosine head"], "Choose another model, or a linear head.")


def _checked(name: str, item_shape: Sequence[int], classes: Sequence[str], params: Mapping[str, Any]) -> dict[str, Any]:
    """The model's parameters with defaults filled in and sequences as tuples."""
    if name not in _DEFAULTS:
        raise _unknown_model(name)
    defaults = _DEFAULTS[name]
    problems = [_unknown_parameter(name, key) for key in params if key not in defaults]
    sizes = {**defaults, **{key: value for key, value in params.items() if key in defaults}}
    for key, value in sizes.items():
        fault = _fault(name, key, value)
        if fault:
            problems.append(f"model.{key}={value!r} is {fault}")
        elif key in ("hidden", "channels"):
            sizes[key] = tuple(value)
    if name == "cnn" and sizes["channels"] == ():
        problems.append("model.channels is empty; a cnn needs at least one stage")
    if not item_shape or not all(map(_is_size, item_shape)):
        problems.append(f"items of shape {tuple(item_shape)} have nothing to train on")
    elif name != "mlp" and len(item_shape) not in (2, 3):
        problems.append(
            f"model.name={name!r} takes items of shape (channels, height, width), "
            f"the data's are {tuple(item_shape)}; model=mlp takes any shape"
        )
    problems += class_problems(classes)
    if problems:
        raise ConfigError(problems)
    return sizes


def _fault(name: str, key: str, value: Any) -> str | None:
    """What is wrong with a parameter's value, if anything."""
    match key:
        case "dropout":
            return None if isinstance(value, int | float) and 0 <= value < 1 else "not in [0, 1)"
        case "size":
            return None if value in SIZES else f"not one of {', '.join(SIZES)}"
        case "norm":
            return None if value in NORMS else f"not one of {', '.join(NORMS)}"
        case "trainable_blocks":
            return None if value in (None, 0) or _is_size(value) else "neither null nor a whole number from 0"
        case "qat":
            return None if isinstance(value, bool) else "neither true nor false"
        case "width" if name == "mobilenet_v2":
            sound = isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < math.inf
            return None if sound else "not a number above 0"
        case "width":
            return None if _is_size(value) else "not a whole number above 0"
        case _:
            sound = isinstance(value, Sequence) and not isinstance(value, str) and all(map(_is_size, value))
            return None if sound else "not a list of whole numbers above 0"


def _is_size(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _unknown_model(name: str) -> ConfigError:
    names = (*_DEFAULTS, *_ENCODERS)
    nearest = get_close_matches(name, names, n=1)
    hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
    return ConfigError([f"model.name={name!r} is no model{hint}"], f"The models are: {', '.join(names)}.")


def _unknown_parameter(name: str, key: str) -> str:
    nearest = get_close_matches(key, _DEFAULTS[name], n=1)
    hint = f"; did you mean {nearest[0]!r}?" if nearest else f"; it takes {', '.join(_DEFAULTS[name])}"
    return f"model={name} has no parameter {key!r}{hint}"
