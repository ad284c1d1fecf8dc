"""Published speech encoders, and the shortening of a Whisper to clips shorter than those it was trained on."""

from __future__ import annotations

from typing import Any

import torch

from trainyard.audio.encoders.families import FAMILIES, POSITIONS_PER_SECOND, WHISPER_SECONDS, Family, default_mels
from trainyard.errors import ConfigError
from trainyard.models.pretrained import load_config, load_model

_HEAD = ("layer_weights", "projector.", "classifier.")  # of our head: may be missing, or have other sizes
_WHAT = "speech encoder"


def pretrained_config(family: Family, source: str) -> Any:
    """transformers' config of the encoder in the directory or hub repository `source`.

    Raises:
        ConfigError: there is none, or it is of another family.
    """
    config = load_config(source, _WHAT)
    wanted = family.classes()[0].model_type
    if config.model_type != wanted:
        known = {other.classes()[0].model_type: other.type for other in FAMILIES.values()}.get(config.model_type)
        remedy = f"Set model.type={known}" if known else f"Choose one of {', '.join(FAMILIES)} for model.type"
        raise ConfigError(
            [f"model.type={family.type!r}, but {source} holds a model of type {config.model_type!r}"],
            f"{remedy}, or another model.path.",
            keys=["model.type", "model.path"],
        )
    return config


def pretrained_model(family: Family, source: str, config: Any) -> Any:
    """transformers' classifier with the encoder from `source`, built from `config`; its head is new.

    Raises:
        ConfigError: weights of the encoder are missing or have other shapes.
    """
    return load_model(family.classes()[1], source, config, _WHAT, lambda name: name.startswith(_HEAD))


def cut_to(model: Any, positions: int) -> None:
    """Shortens a Whisper to clips of `positions` vectors, in place: it keeps its first position embeddings."""
    table = model.encoder.embed_positions
    if positions < table.num_embeddings:
        table.weight = torch.nn.Parameter(table.weight.detach()[:positions].clone(), requires_grad=False)
        table.num_embeddings = positions
    model.config.max_source_positions = model.encoder.max_source_positions = positions


def whisper_positions(clip_seconds: float, most: int = POSITIONS_PER_SECOND * WHISPER_SECONDS) -> int:
    """The number of vectors that Whisper computes for a clip.

    Args:
        clip_seconds: length of a clip.
        most: the limit of the encoder.

    Raises:
        ConfigError: a clip that is too long, or not a whole number of vectors.
    """
    positions = round(clip_seconds * POSITIONS_PER_SECOND)
    if abs(clip_seconds * POSITIONS_PER_SECOND - positions) > 1e-6 or positions < 1:
        raise ConfigError(
            [f"data.clip_seconds={clip_seconds:g} is not a multiple of Whisper's steps of 0.02 s"],
            f"Use {max(positions, 1) / POSITIONS_PER_SECOND:g}.",
            keys=["data.clip_seconds"],
        )
    if positions > most:
        raise ConfigError(
            [f"data.clip_seconds={clip_seconds:g} exceeds the {most / POSITIONS_PER_SECOND:g} s that Whisper takes"],
            f"Set data.clip_seconds to {most / POSITIONS_PER_SECOND:g} or less, or choose another model.type.",
            keys=["data.clip_seconds", "model.type"],
        )
    return positions


def whisper_mels(size: str, path: str | None = None) -> int:
    """Rows of the log-mel features that a Whisper takes.

    Args:
        size: its size.
        path: of its weights, as `model.path`; None for the published ones of the size.

    Raises:
        ConfigError: there is no Whisper at `path`.
    """
    if path is None:
        return default_mels(size)
    return int(pretrained_config(FAMILIES["whisper"], path).num_mel_bins)
