"""From a model's name and settings to a network, and to the `config.json` that can rebuild it.

Each model's package builds it; initial weights, another head and quantisation are added here. Knows no runs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import nn

from trainyard.config import kinds
from trainyard.errors import CheckpointError, ConfigError
from trainyard.models.heads import with_cosine_head
from trainyard.models.quantize import quantization_aware
from trainyard.models.weights import Report, load_matching, read_weights
from trainyard.wording import did_you_mean

_PREFIX = "trainyard-"  # of model_type in the config.json of our own networks


def build_model(
    name: str,
    *,
    item_shape: Sequence[int],
    classes: Sequence[str],
    head: str = "linear",
    head_scale: float | None = None,
    weights: str | None = None,
    on_weights: Callable[[Report], object] | None = None,
    trust: bool = False,
    **settings: Any,
) -> nn.Module:
    """A freshly initialised network taking float32 [B, *item_shape] to logits float32 [B, len(classes)].

    A text encoder takes token ids, int64 [B, T], and their number in each text, int64 [B].

    Args:
        name: as in `model.name`.
        item_shape: the shape of one item, without the batch.
        classes: class names, in the order of the outputs.
        head: `linear`, or `cosine` for logits that are `head_scale` times a cosine.
        head_scale: of a cosine head.
        weights: a file of weights to start from, where names and shapes match; the cosine head is always new.
        on_weights: called with a report on each tensor of that file.
        trust: build a network of the user's own from outside the allow-list.
        settings: the other fields of the model's dataclass, and for a model of one kind of data its
            `Dataset.model_arguments`. `qat` finally prepares the network for int8 (`QuantAware`).

    Raises:
        ConfigError: an unknown model or setting, sizes that cannot be built, weights that do not fit, or a
            library that is missing.
    """
    _check_head(name, head, head_scale)
    model: nn.Module = _kind(name).build(name=name, item_shape=item_shape, classes=classes, trust=trust, **settings)
    if weights is not None:
        report = load_matching(model, read_weights(weights), weights)
        if on_weights is not None:
            on_weights(report)
    return _completed(model, item_shape, head_scale, bool(settings.get("qat")))


def model_config(
    name: str,
    *,
    item_shape: Sequence[int],
    classes: Sequence[str],
    head: str = "linear",
    head_scale: float | None = None,
    weights: str | None = None,
    **settings: Any,
) -> dict[str, Any]:
    """The contents of `config.json` for `build_model` with the same arguments: plain JSON values.

    `weights` is not part of it: a checkpoint has its own. Raises ConfigErrors as `build_model` does.
    """
    _check_head(name, head, head_scale)
    described: dict[str, Any] = _kind(name).describe(name=name, item_shape=item_shape, classes=classes, **settings)
    return described if head_scale is None else {**described, "head": head, "head_scale": float(head_scale)}


def from_model_config(
    config: Mapping[str, Any], files: Mapping[str, str] | None = None, *, trust: bool = False
) -> nn.Module:
    """The network that `model_config` described, with fresh weights.

    `files` has the texts of the files beside `config.json`, from which a text encoder takes its tokenizer; without them
    no checkpoint of it can be written. `trust` builds a network of the user's own from outside the allow-list.

    Raises:
        UnsafeTargetError: it is such a network, and `trust` is off.
        CheckpointError: a config that Trainyard did not write, or that lacks a key.
        ConfigError: sizes that cannot be built.
    """
    model_type = str(config.get("model_type"))
    ours = config.get("trainyard", {}).get("name")  # in a config.json of transformers
    name = ours or (model_type.removeprefix(_PREFIX) if model_type.startswith(_PREFIX) else "")
    if kinds.package_of("model", name) is None:
        raise CheckpointError(
            f"config.json has model_type {model_type!r}, which Trainyard does not build.",
            f"It builds {', '.join(kinds.members('model'))}. Load other models with the library that wrote them.",
            value=config.get("model_type"),
            place="config.json",
        )
    head, head_scale = config.get("head", "linear"), config.get("head_scale")
    _check_head(name, head, head_scale)
    model: nn.Module = _kind(name).rebuild(config, files, trust=trust)
    return _completed(model, config.get("item_shape", ()), head_scale, bool(config.get("qat")))


def _completed(model: nn.Module, item_shape: Sequence[int], head_scale: float | None, qat: bool) -> nn.Module:
    """The network with its head, prepared for int8 if `qat`."""
    if head_scale is not None:
        model = with_cosine_head(model, head_scale)
    return quantization_aware(model, item_shape) if qat else model


def _check_head(name: str, head: str, scale: float | None) -> None:
    if head not in ("linear", "cosine"):
        raise ConfigError.of("head", head, "is not linear or cosine", "Use linear or cosine.")
    if (head == "cosine") != (scale is not None):
        remedy = "A cosine head has a scale, and a linear head has none."
        raise ConfigError.of("head_scale", scale, f"is given for a {head} head", remedy)
    if head == "cosine" and not getattr(kinds.members("model").get(name), "takes_cosine_head", True):
        remedy = "Choose another model, or a linear head."
        raise ConfigError([f"model={name} cannot have a cosine head"], remedy, keys=["head", "model.name"])


def _kind(name: str) -> Any:
    """The torch side of the package that has the model; a ConfigError if no package has it."""
    names = kinds.members("model")
    if name not in names:
        remedy = did_you_mean(name, names, then=f"The models are: {', '.join(names)}.")
        raise ConfigError([f"model.name={name!r} is not a model"], remedy, keys=["model.name"])
    return kinds.torch_side("model", name)
