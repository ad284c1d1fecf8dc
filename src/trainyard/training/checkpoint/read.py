"""From the files of a checkpoint back to tensors on the CPU: the inverse of `encoding`, for all our formats.

Damaged and foreign files are told by name. Knows no models: what the tensors belong to is `state`'s matter.
"""

from __future__ import annotations

import contextlib
import json
import pickle
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from trainyard.checkpoints import formats as names
from trainyard.errors import CheckpointError
from trainyard.training.progress import Progress

_OWN = (names.CONFIG, names.METRICS, names.MANIFEST, names.TRAINER_STATE, names.SAFETENSORS_INDEX)


@dataclass(frozen=True)
class Loaded:
    """A checkpoint read back onto the CPU; what a published one leaves out is None.

    `files` are the further files of the model (`SavesItself`), name to text; `decision` says how labels are
    chosen, where there is a choice.
    """

    model: dict[str, Tensor]
    model_config: dict[str, Any]
    optimizer: dict[str, Any] | None = None
    scheduler: dict[str, Any] | None = None
    scaler: dict[str, Any] | None = None
    rng: list[dict[str, Any]] | None = None
    progress: Progress | None = None
    files: Mapping[str, str] = field(default_factory=dict)
    decision: dict[str, Any] | None = None


def load(path: Path, *, weights_only: bool = False) -> Loaded:
    """Reads a checkpoint of any of our formats: a directory or a single file.

    Args:
        path: the checkpoint.
        weights_only: leave the optimizer and the rest out.

    Raises:
        CheckpointError: it cannot be read; names the file.
    """
    with reading(path):
        return _load_directory(path, weights_only) if path.is_dir() else _load_file(path)


def rule_in(path: Path) -> dict[str, Any] | None:
    """The rule by which predictions become decisions, as the checkpoint holds it.

    Raises:
        CheckpointError: it cannot be read.
    """
    return load(path, weights_only=True).decision


@contextlib.contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turns whatever a damaged or foreign file makes the readers raise into a CheckpointError that names it."""
    try:
        yield
    except CheckpointError:
        raise
    except Exception as error:
        raise CheckpointError(
            f"{path} cannot be read as a checkpoint: {_reason(error)}.",
            "`trainyard verify` checks a run's checkpoints; choose another one.",
            place=path,
        ) from error


def _reason(error: Exception) -> str:
    # torch's own words for these tell how to run the code in the file
    if isinstance(error, pickle.UnpicklingError | LookupError | EOFError):
        return "it is no file of tensors"
    return f"{type(error).__name__}: {(str(error).splitlines() or ['?'])[0].rstrip('.')}"


def _read(path: Path) -> Any:
    return torch.load(path, map_location="cpu", weights_only=True) if path.exists() else None


def _load_file(path: Path) -> Loaded:
    whole = _read(path)
    if not isinstance(whole, dict) or "model" not in whole:
        raise CheckpointError(
            f"{path} is not a checkpoint: it has no entry 'model'.",
            "Choose another file.",
            value=sorted(whole),
            place=path,
        )
    progress = whole.get("progress")
    return Loaded(
        whole["model"],
        whole.get("model_config") or {},
        whole.get("optimizer"),
        whole.get("scheduler"),
        whole.get("scaler"),
        whole.get("rng"),
        Progress.from_dict(progress) if progress else None,
        whole.get("files") or {},
        whole.get("decision"),
    )


def _load_directory(path: Path, weights_only: bool) -> Loaded:
    config = path / names.CONFIG
    model_config = json.loads(config.read_bytes()) if config.exists() else {}
    index = path / names.SAFETENSORS_INDEX
    if index.exists():
        shards = sorted(set(json.loads(index.read_bytes())["weight_map"].values()))
        model = {name: tensor for shard in shards for name, tensor in load_file(path / shard).items()}
    elif (path / names.SAFETENSORS).exists():
        model = load_file(path / names.SAFETENSORS)
    elif (path / names.PYTORCH_BIN).exists():
        model = _read(path / names.PYTORCH_BIN)
    else:
        raise CheckpointError(f"{path} holds no model weights.", "Choose another checkpoint.", place=path)
    if (path / names.ADAPTER).exists():
        model = {**model, **load_file(path / names.ADAPTER)}
    files = {
        file.name: file.read_bytes().decode()
        for file in sorted(path.iterdir())
        if file.suffix in (".json", ".txt") and file.name not in _OWN
    }
    metrics = path / names.METRICS
    decision = json.loads(metrics.read_bytes()).get("decision") if metrics.exists() else None
    if weights_only:
        return Loaded(model, model_config, files=files, decision=decision)
    state = path / names.TRAINER_STATE
    progress = None
    if state.exists():
        trainer_state = json.loads(state.read_bytes())
        progress = Progress.from_dict(
            {**trainer_state["stateful_callbacks"]["trainyard"], "log": trainer_state["log_history"]}
        )
    return Loaded(
        model,
        model_config,
        _read(path / names.OPTIMIZER),
        _read(path / names.SCHEDULER),
        _read(path / names.SCALER),
        _read(path / names.RNG_STATE),
        progress,
        files,
        decision,
    )
