"""From a model's name and sizes to a network, and to the `config.json` that can rebuild it.

The names are matched in one place, so that no import order decides which models exist. The JSON
follows transformers' conventions, so that common tools show the labels. It knows no files and no runs.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from torch import nn

from trainyard.errors import CheckpointError, ConfigError
from trainyard.models.cnn import CNN
from trainyard.models.mlp import MLP

# The keyword arguments of each model and what they are when left out.
_DEFAULTS: dict[str, dict[str, Any]] = {
    "mlp": {"hidden": (128,), "dropout": 0.0},
    "cnn": {"channels": (32, 64, 64), "dropout": 0.1},
}
_PREFIX = "trainyard-"


def build_model(name: str, *, item_shape: Sequence[int], classes: Sequence[str], **params: Any) -> nn.Module:
    """A freshly initialised network taking float32 [B, *item_shape] to logits float32 [B, len(classes)].

    Args:
        name: `mlp` or `cnn`.
        item_shape: the shape of one item, without the batch; `cnn` wants (C, H, W) or (H, W).
        classes: class names, in the order of the outputs.
        params: `mlp`: `hidden`, `dropout`; `cnn`: `channels`, `dropout`.

    Raises:
        ConfigError: an unknown model or parameter (the nearest is named), or sizes that cannot be built.
    """
    sizes = _checked(name, item_shape, classes, params)
    shape = tuple(item_shape)
    match name:
        case "mlp":
            return MLP(math.prod(shape), sizes["hidden"], len(classes), sizes["dropout"])
        case "cnn":
            in_channels, height, width = shape if len(shape) == 3 else (1, *shape)
            return CNN(in_channels, sizes["channels"], len(classes), size=(height, width), dropout=sizes["dropout"])
        case _:
            raise _unknown_model(name)


def model_config(name: str, *, item_shape: Sequence[int], classes: Sequence[str], **params: Any) -> dict[str, Any]:
    """The contents of `config.json` for `build_model` with the same arguments: plain JSON values.

    Raises:
        ConfigError: as `build_model`.
    """
    sizes = _checked(name, item_shape, classes, params)
    return {
        "model_type": f"{_PREFIX}{name}",
        "architectures": [name.upper()],
        "dtype": "float32",
        "item_shape": [int(size) for size in item_shape],
        "id2label": {str(index): label for index, label in enumerate(classes)},
        "label2id": {label: index for index, label in enumerate(classes)},
        **{key: list(value) if isinstance(value, tuple) else value for key, value in sizes.items()},
    }


def from_model_config(config: Mapping[str, Any]) -> nn.Module:
    """The network that `model_config` described, with fresh weights.

    Keys it does not know are ignored: other tools add theirs to `config.json`.

    Raises:
        CheckpointError: a config that is not one of ours, or that lacks a key.
        ConfigError: sizes that cannot be built.
    """
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
    sizes = {key: config[key] for key in _DEFAULTS[name]}
    classes = [labels[index] for index in range(len(labels))]
    return build_model(name, item_shape=config["item_shape"], classes=classes, **sizes)


def _checked(name: str, item_shape: Sequence[int], classes: Sequence[str], params: Mapping[str, Any]) -> dict[str, Any]:
    """The model's parameters with defaults filled in and sequences as tuples."""
    if name not in _DEFAULTS:
        raise _unknown_model(name)
    defaults = _DEFAULTS[name]
    problems = [_unknown_parameter(name, key) for key in params if key not in defaults]
    sizes = {**defaults, **{key: value for key, value in params.items() if key in defaults}}
    for key, value in sizes.items():
        if key == "dropout":
            if not (isinstance(value, int | float) and 0 <= value < 1):
                problems.append(f"model.dropout={value!r} is not in [0, 1)")
            continue
        if isinstance(value, str) or not isinstance(value, Sequence) or not all(map(_is_size, value)):
            problems.append(f"model.{key}={value!r} is not a list of whole numbers above 0")
        else:
            sizes[key] = tuple(value)
    if name == "cnn" and sizes["channels"] == ():
        problems.append("model.channels is empty; a cnn needs at least one stage")
    if not item_shape or not all(map(_is_size, item_shape)):
        problems.append(f"items of shape {tuple(item_shape)} have nothing to train on")
    elif name == "cnn" and len(item_shape) not in (2, 3):
        problems.append(
            "model.name='cnn' takes items of shape (channels, height, width), "
            f"the data's are {tuple(item_shape)}; model=mlp takes any shape"
        )
    if len(classes) < 2:
        problems.append(f"a classifier needs 2 classes or more, the data has {len(classes)}")
    repeated = [label for label, times in Counter(classes).items() if times > 1]
    if repeated:
        problems.append(f"the class names {', '.join(map(repr, repeated))} occur more than once")
    if problems:
        raise ConfigError(problems)
    return sizes


def _is_size(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _unknown_model(name: str) -> ConfigError:
    nearest = get_close_matches(name, _DEFAULTS, n=1)
    hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
    return ConfigError([f"model.name={name!r} is no model{hint}"], f"The models are: {', '.join(_DEFAULTS)}.")


def _unknown_parameter(name: str, key: str) -> str:
    nearest = get_close_matches(key, _DEFAULTS[name], n=1)
    hint = f"; did you mean {nearest[0]!r}?" if nearest else f"; it takes {', '.join(_DEFAULTS[name])}"
    return f"model={name} has no parameter {key!r}{hint}"
