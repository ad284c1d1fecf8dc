"""What models and runs are called, and what such a name says: a grammar that is read and written.

A speech encoder is `{type}_{size}_{method}[_{layers}]`, as in `whisper_base_lora_012`; a network is its own
name, with its published size and `_qat` where they say more; a text encoder is its type, and its size where
that is not base. Pure functions of values: whether a name may be part of a path, and whether it is taken, is the
business of `runs`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import PurePath
from typing import Any, get_args

from trainyard.config.faults import nearest, suggestion
from trainyard.config.fields import hints_of
from trainyard.config.schema import (
    AudioData,
    CnnModel,
    Config,
    EfficientNetV2Model,
    EncoderModel,
    MlpModel,
    MobileNetV2Model,
    PannsCnn14Model,
    TextEncoderModel,
)

_USUAL = {"base": 12, "large": 24}
# How many layers each encoder has, as published, by type and size.
ENCODERS: Mapping[str, Mapping[str, int]] = {
    "whisper": {"tiny": 4, "base": 6, "small": 12, "medium": 24, "large": 32},
    "wav2vec2": _USUAL,
    "hubert": _USUAL,
    "wavlm": _USUAL,
    "unispeech_sat": _USUAL,
}
# The sizes that text encoders are published in.
TEXT_ENCODERS: Mapping[str, tuple[str, ...]] = {
    "distilbert": ("base",),
    "bert": ("base", "large"),
    "roberta": ("base", "large"),
    "minilm": ("base",),
}
MINI = "mini"  # a size of every encoder, for which no weights are published
METHODS: tuple[str, ...] = get_args(hints_of(EncoderModel)["method"])
# Corpora that a folder of experiments may be named after; the rest are no data in particular.
CORPORA: tuple[str, ...] = tuple(
    name for name in get_args(hints_of(AudioData)["corpus"]) if name not in ("folder", "csv")
)
EXPERIMENT = ".py"  # the suffix of an experiment file
_TAIL = re.compile(r"([a-z]+)_([a-z]+)(?:_([0-9]+(?:-[0-9]+)?))?")


def model_label(config: Config) -> str:
    """The short name of the model, as it stands in file names and tables: `cnn`, `whisper_base_lora_012`."""
    return _label(config.model)


def default_run_name(config: Config) -> str:
    """The name of a run whose `run.name` is null; `-2`, `-3` … are added where it is taken.

    The stem of an experiment file, else the model's name. A stem that is a model's name gives way to the
    name of the model that is trained: after `model.layers=345` a run is not called `…_012`.
    """
    stem = PurePath(config.recipe).stem if config.recipe.endswith(EXPERIMENT) else ""
    return stem if stem and parse_name(stem) is None else model_label(config)


def parse_name(name: str) -> dict[str, Any] | None:
    """The `model.*` values that a name says, or None when it is not one: the inverse of `model_label`.

    `whisper_base_lora_012` says name=encoder, type=whisper, size=base, method=lora, layers=012; without
    layers it says layers=None, which is all of them.
    """
    if name in _NETWORKS:
        return dict(_NETWORKS[name])
    kind = _encoder(name)
    found = _TAIL.fullmatch(name, len(kind) + 1) if kind else None
    if not found or found[1] not in sizes_of(kind) or found[2] not in METHODS:
        return None
    return {"name": "encoder", "type": kind, "size": found[1], "method": found[2], "layers": found[3]}


def explain_name(name: str) -> str:
    """Why `parse_name` does not know the name, with the nearest part that it would know."""
    kind = _encoder(name)
    if not kind:
        near = nearest(name, _NETWORKS)
        starts = {known: "_".join(name.split("_")[: known.count("_") + 1]) for known in ENCODERS}
        meant = [known for known, start in starts.items() if nearest(start, [known])]
        if not meant and near:
            return f"`{name}` is no model; did you mean `{near}`?"
        return f"`{starts[meant[0]]}` is no model; did you mean `{meant[0]}`?" if meant else f"`{name}` names no model"
    size, method, layers, *_ = [*name[len(kind) + 1 :].split("_", 2), "", "", ""]
    for part, what, valid in ((size, f"size of {kind}", sizes_of(kind)), (method, "method", METHODS)):
        if part not in valid:
            says = f"`{part}` is no {what}" if part else f"`{name}` says no {what}"
            return f"{says}{suggestion(part, valid)}"
    return f"`{layers}` are no layers; they are written 012 or 7-12, from 0"


def sizes_of(kind: str) -> tuple[str, ...]:
    """The sizes of a type of encoder."""
    return (MINI, *ENCODERS[kind])


def _label(model: Any) -> str:
    if isinstance(model, EncoderModel):
        return "_".join([model.type, model.size, model.method, *([model.layers] if model.layers else [])])
    if isinstance(model, TextEncoderModel):
        if model.type == "auto":
            return PurePath(model.path or "").name or model.name
        return model.type if model.size == "base" else f"{model.type}_{model.size}"
    size = f"_{model.size}" if isinstance(model, EfficientNetV2Model) and model.size != "small" else ""
    return f"{model.name}{size}{'_qat' if getattr(model, 'qat', False) else ''}"


def _encoder(name: str) -> str:
    """The type of encoder that the name begins with, or an empty string."""
    return next((kind for kind in ENCODERS if name == kind or name.startswith(f"{kind}_")), "")


def _networks() -> Iterator[Any]:
    yield from (MlpModel(), CnnModel())
    for kind, sizes in TEXT_ENCODERS.items():
        yield from (TextEncoderModel(type=kind, size=size) for size in (*sizes, MINI))  # type: ignore[arg-type]
    for qat in (False, True):
        yield from (EfficientNetV2Model(size=size, qat=qat) for size in get_args(hints_of(EfficientNetV2Model)["size"]))
        yield from (PannsCnn14Model(qat=qat), MobileNetV2Model(qat=qat))


# The names of the other models, and what each says.
_NETWORKS: Mapping[str, Mapping[str, Any]] = {
    _label(model): {key: getattr(model, key) for key in ("name", "type", "size", "qat") if hasattr(model, key)}
    for model in _networks()
}
