"""Encoders that somebody has trained: from a local directory, or by hub id from the cache or the network.

Weights that should be there and are not are an error, because transformers would go on with random
ones. Without a network a hub id fails in seconds. What happens to an encoder afterwards is not known here.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import torch

from trainyard.errors import ConfigError
from trainyard.models.encoders.families import FAMILIES, POSITIONS_PER_SECOND, WHISPER_SECONDS, Family, default_mels
from trainyard.models.encoders.library import quiet, transformers, without_torchao

_HEAD = ("layer_weights", "projector.", "classifier.")  # ours to train: may be missing, and may be of other sizes
_ADAPTER = "adapter_config.json"
_REACH_S = 10.0  # seconds to wait for an answer of the hub

T = TypeVar("T")


def pretrained_config(family: Family, source: str) -> Any:
    """transformers' config of the encoder in the directory or hub repository `source`.

    Raises:
        ConfigError: there is none, or it is of another family.
    """
    library = transformers()
    config = _from(source, lambda local: library.AutoConfig.from_pretrained(source, local_files_only=local))
    wanted = family.classes()[0].model_type
    if config.model_type != wanted:
        known = {other.classes()[0].model_type: other.type for other in FAMILIES.values()}.get(config.model_type)
        remedy = f"Set model.type={known}" if known else f"Choose one of {', '.join(FAMILIES)} for model.type"
        raise ConfigError(
            [f"model.type={family.type!r}, but {source} holds a model of type {config.model_type!r}"],
            f"{remedy}, or another model.path.",
        )
    config.__dict__.pop("trainyard", None)  # the settings of the run that trained it are not those of this one
    return config


def pretrained_model(family: Family, source: str, config: Any) -> Any:
    """transformers' classifier on the encoder from `source`, built by `config`; its head is new.

    Raises:
        ConfigError: weights of the encoder are missing or of other sizes; names them.
    """
    if (Path(source) / _ADAPTER).exists():
        raise ConfigError(
            [f"model.path={source!r} is an encoder with a LoRA beside it, and only a plain encoder can be built on"],
            "Export it merged first, or start a run of the same model.* from it with run.checkpoint_path.",
        )
    _, model_class = family.classes()

    def load(local: bool) -> Any:
        return model_class.from_pretrained(
            source, config=config, local_files_only=local, output_loading_info=True, ignore_mismatched_sizes=True,
            dtype=torch.float32,
        )  # fmt: skip

    model, info = _from(source, load)
    missing = sorted(key for key in info["missing_keys"] if not key.startswith(_HEAD))
    others = sorted(str(key[0]) for key in info["mismatched_keys"] if not str(key[0]).startswith(_HEAD))
    problems = [
        f"{source} {what} {len(keys)} weights of the encoder: {', '.join(keys[:4])}{', …' if len(keys) > 4 else ''}"
        for what, keys in (("lacks", missing), ("has other sizes for", others))
        if keys
    ]
    if problems:
        raise ConfigError(problems, "Name a complete encoder in model.path, or set model.pretrained=false.")
    return model


def cut_to(model: Any, positions: int) -> None:
    """Shortens a Whisper to clips of so many positions, in place: it keeps the first ones of its table."""
    table = model.encoder.embed_positions
    if positions < table.num_embeddings:
        table.weight = torch.nn.Parameter(table.weight.detach()[:positions].clone(), requires_grad=False)
        table.num_embeddings = positions
    model.config.max_source_positions = model.encoder.max_source_positions = positions


def whisper_positions(clip_seconds: float, most: int = POSITIONS_PER_SECOND * WHISPER_SECONDS) -> int:
    """How many vectors Whisper makes of a clip.

    Args:
        clip_seconds: length of a clip.
        most: what the encoder at hand takes.

    Raises:
        ConfigError: a clip that is too long, or no whole number of vectors.
    """
    positions = round(clip_seconds * POSITIONS_PER_SECOND)
    if abs(clip_seconds * POSITIONS_PER_SECOND - positions) > 1e-6 or positions < 1:
        raise ConfigError(
            [f"data.clip_seconds={clip_seconds:g} is no whole number of Whisper's steps of 0.02 s"],
            f"Use {max(positions, 1) / POSITIONS_PER_SECOND:g}.",
        )
    if positions > most:
        raise ConfigError(
            [f"data.clip_seconds={clip_seconds:g} is longer than the {most / POSITIONS_PER_SECOND:g} s Whisper takes"],
            f"Set data.clip_seconds to {most / POSITIONS_PER_SECOND:g} or less, or choose another model.type.",
        )
    return positions


def whisper_mels(size: str, path: str | None = None) -> int:
    """Rows of the log-mel features that a Whisper hears.

    Args:
        size: its size.
        path: where its weights come from, as `model.path`; None for the published ones of the size.

    Raises:
        ConfigError: there is no Whisper at `path`.
    """
    if path is None:
        return default_mels(size)
    return int(pretrained_config(FAMILIES["whisper"], path).num_mel_bins)


def _from(source: str, load: Callable[[bool], T]) -> T:
    """What `load(local_files_only)` loads: from the directory or the cache, else from the hub.

    Raises:
        ConfigError: it cannot be had; says why and what to do.
    """
    with quiet(), without_torchao():
        if Path(source).exists():
            return _explained(source, lambda: load(True))
        with contextlib.suppress(OSError, ValueError):  # not in the cache
            return load(True)
        _require_hub(source)
        return _explained(source, lambda: load(False))


def _explained(source: str, load: Callable[[], T]) -> T:
    from safetensors import SafetensorError

    try:
        return load()
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError, json.JSONDecodeError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
        raise ConfigError(
            [f"no speech encoder can be loaded from {source!r}: {reason}"],
            "Name a hub id or a directory with config.json and the weights in model.path, or set "
            "model.pretrained=false.",
        ) from error


def _require_hub(source: str) -> None:
    """Asks for `source` once. transformers alone would try again for half a minute.

    Raises:
        ConfigError: there is no answer, or no such model.
    """
    from huggingface_hub import HfApi
    from huggingface_hub import errors as hub
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled

    http_error: Any = hub.HTTPError  # type: ignore[attr-defined]  # of the HTTP library that the hub's uses

    try:
        HfApi().model_info(source, timeout=_REACH_S)
    except (HFValidationError, OfflineModeIsEnabled, HfHubHTTPError, http_error, OSError) as error:
        match error:
            case HFValidationError():
                problem = f"model.path={source!r} is neither a directory that exists nor a hub id"
            case OfflineModeIsEnabled():
                problem = f"the model {source!r} is not in the cache, and HF_HUB_OFFLINE forbids to fetch it"
            case HfHubHTTPError():
                problem = f"the hub gives no model {source!r} (it answers {error.response.status_code})"
            case _:
                problem = f"the model {source!r} is not in the cache, and the hub cannot be reached"
        raise ConfigError(
            [problem],
            "Give a local directory with model.path, or start from random weights with model.pretrained=false.",
        ) from error
