"""Loads published models: from a local directory, or by hub id from the cache or the network.

Missing weights are an error, because transformers would silently use random ones. Without a network, a hub id fails
within seconds. Knows no particular encoders.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import torch

from trainyard.errors import ConfigError
from trainyard.models.huggingface import errors_only, transformers, without_torchao

_ADAPTER = "adapter_config.json"
_REACH_S = 10.0  # seconds to wait for the hub

T = TypeVar("T")


def load_from(source: str, what: str, load: Callable[[bool], T]) -> T:
    """The result of `load(local_files_only)` for a directory or hub id: from the directory or the cache, else the hub.

    If it cannot be loaded, a ConfigError names `source` and `what` was to be loaded.
    """
    with errors_only(), without_torchao():
        if Path(source).exists():
            return _explained(source, what, lambda: load(True))
        with contextlib.suppress(OSError, ValueError):  # not in the cache
            return load(True)
        _require_hub(source)
        return _explained(source, what, lambda: load(False))


def load_config(source: str, what: str) -> Any:
    """transformers' config of the model in the directory or hub repository `source`; `what` names it in an error."""
    library = transformers()
    config = load_from(source, what, lambda local: library.AutoConfig.from_pretrained(source, local_files_only=local))
    config.__dict__.pop("trainyard", None)  # the settings of the run that trained it do not apply to this run
    return config


def load_model(model_class: Any, source: str, config: Any, what: str, is_head: Callable[[str], bool]) -> Any:
    """transformers' `model_class`, built from `config`, with the weights from `source`; a missing head is new.

    `source` is a directory or a hub id, and `what` the kind of model, for an error. `is_head` says whether the weight
    of that name may be missing or have another shape; all other such weights are named by a ConfigError.
    """
    if (Path(source) / _ADAPTER).exists():
        why = "is an encoder with a separate LoRA, but a plain encoder is required"
        remedy = "Export it merged first, or start a run of the same model.* from it with run.checkpoint_path."
        raise ConfigError.of("model.path", source, why, remedy)
    how = {"output_loading_info": True, "ignore_mismatched_sizes": True, "dtype": torch.float32}

    def load(local: bool) -> Any:
        return model_class.from_pretrained(source, config=config, local_files_only=local, **how)

    model, info = load_from(source, what, load)
    missing = sorted(key for key in info["missing_keys"] if not is_head(key))
    others = sorted(str(key[0]) for key in info["mismatched_keys"] if not is_head(str(key[0])))
    problems = [
        f"{source} {what} {len(keys)} weights of the encoder: {', '.join(keys[:4])}{', …' if len(keys) > 4 else ''}"
        for what, keys in (("lacks", missing), ("has other shapes for", others))
        if keys
    ]
    if problems:
        remedy = "Set model.path to a complete encoder, or set model.pretrained=false."
        raise ConfigError(problems, remedy, keys=["model.path"])
    for parameter in model.parameters():
        # Loaded tensors have any alignment in the mapped file, and torch's rounding depends on alignment: a resumed
        # training, whose weights are allocated normally, would not end with the same bits.
        parameter.data = parameter.data.clone()
    return model


def _explained(source: str, what: str, load: Callable[[], T]) -> T:
    from safetensors import SafetensorError

    try:
        return load()
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError, json.JSONDecodeError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
        remedy = "Set it to a hub id or to a directory with config.json and the weights, or set model.pretrained=false."
        raise ConfigError.of("model.path", source, f"has no {what} that can be loaded: {reason}", remedy) from error


def _require_hub(source: str) -> None:
    """Queries the hub for `source` once; transformers alone would retry for half a minute."""
    from huggingface_hub import HfApi
    from huggingface_hub import errors as hub
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled

    http_error: Any = hub.HTTPError  # type: ignore[attr-defined]  # of the HTTP library that the hub's uses

    try:
        HfApi().model_info(source, timeout=_REACH_S)
    except (HFValidationError, OfflineModeIsEnabled, HfHubHTTPError, http_error, OSError) as error:
        match error:
            case HFValidationError():
                why = "is neither a directory that exists nor a hub id"
            case OfflineModeIsEnabled():
                why = "is not in the cache, and HF_HUB_OFFLINE forbids the download"
            case HfHubHTTPError():
                why = f"was refused by the hub (status {error.response.status_code})"
            case _:
                why = "is not in the cache, and the hub cannot be reached"
        remedy = "Set it to a local directory, or start from random weights with model.pretrained=false."
        raise ConfigError.of("model.path", source, why, remedy) from error
