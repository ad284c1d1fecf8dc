"""Published speech encoders, and the shortening of a Whisper to clips shorter than those it was trained on."""

from __future__ import annotations

from typing import Any

import torch

from trainyard.audio.encoders.families import FAMILIES, POSITIONS_PER_SECOND, WHISPER_SECONDS, Family, default_mels
from trainyard.errors import ConfigError
from trainyard.models.pretrained import load_config, load_model

HEAD_PREFIXES = ("layer_weights", "projector.", "classifier.")  # of our head: may be missing, or have other sizes
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
        problem = f"model.type={family.type!r}, but {source} holds a model of type {config.model_type!r}"
        raise ConfigError([problem], f"{remedy}, or another model.path.", keys=["model.type", "model.path"])
    return config


def pretrained_model(family: Family, source: str, config: Any) -> Any:
    """transformers' classifier with the encoder from `source`, built from `config`; its head is new.

    A Whisper keeps only its first `config.max_source_positions` position embeddings.

    Raises:
        ConfigError: weights of the encoder are missing or have other shapes.
    """
    positions = config.max_source_positions if family.is_whisper else None
    if positions is not None:
        config.max_source_positions = pretrained_config(family, source).max_source_positions
    model = load_model(family.classes()[1], source, config, _WHAT, lambda name: name.startswith(HEAD_PREFIXES))
    if positions is not None:
        table = model.encoder.embed_positions
        table.weight = torch.nn.Parameter(table.weight.detach()[:positions].clone(), requires_grad=False)
        table.num_embeddings = positions
        model.config.max_source_positions = model.encoder.max_source_positions = positions
    return model


def whisper_positions(clip_seconds: float, most: int = POSITIONS_PER_SECOND * WHISPER_SECONDS) -> int:
    """The number of vectors that Whisper, which takes at `most` this many, computes for a clip.

    Raises:
        ConfigError: a clip that is too long, or not a whole number of vectors.
    """
    positions, limit_s = round(clip_seconds * POSITIONS_PER_SECOND), most / POSITIONS_PER_SECOND
    if abs(clip_seconds * POSITIONS_PER_SECOND - positions) > 1e-6 or positions < 1:
        remedy = f"Use {max(positions, 1) / POSITIONS_PER_SECOND:g}."
        why = "is not a multiple of Whisper's steps of 0.02 s"
        raise ConfigError.of("data.clip_seconds", clip_seconds, why, remedy)
    if positions > most:
        problem = f"data.clip_seconds={clip_seconds:g} exceeds the {limit_s:g} s that Whisper takes"
        remedy = f"Set data.clip_seconds to {limit_s:g} or less, or choose another model.type."
        raise ConfigError([problem], remedy, keys=["data.clip_seconds", "model.type"], value=clip_seconds)
    return positions


def whisper_mels(size: str, path: str | None = None) -> int:
    """Rows of the log-mel features that a Whisper takes, with the weights of `model.path` or the published ones.

    Raises:
        ConfigError: there is no Whisper at `path`.
    """
    if path is None:
        return default_mels(size)
    return int(pretrained_config(FAMILIES["whisper"], path).num_mel_bins)
