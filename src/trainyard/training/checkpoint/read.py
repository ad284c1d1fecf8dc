"""From the files of a checkpoint to tensors on the CPU: the inverse of `write`, for all our formats.

Errors about damaged and foreign files name the file. Knows no models: `restore` loads the tensors into one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from trainyard.checkpoints import formats as names
from trainyard.errors import CheckpointError
from trainyard.tensors import explained, read_tensors
from trainyard.training.progress import Progress

_OWN = (names.CONFIG, names.METRICS, names.MANIFEST, names.TRAINER_STATE, names.SAFETENSORS_INDEX)


@dataclass(frozen=True)
class Loaded:
    """A checkpoint in memory, on the CPU; the parts that a published checkpoint lacks are None."""

    model: dict[str, Tensor]
    model_config: dict[str, Any]
    optimizer: dict[str, Any] | None = None
    scheduler: dict[str, Any] | None = None
    scaler: dict[str, Any] | None = None
    rng: list[dict[str, Any]] | None = None
    progress: Progress | None = None
    files: Mapping[str, str] = field(default_factory=dict)  # additional files of the model (`SavesItself`)
    decision: dict[str, Any] | None = None  # the rule that turns predictions into decisions


def load(path: Path, *, weights_only: bool = False) -> Loaded:
    """The checkpoint at `path`, a directory or a file of any of our formats; a CheckpointError if it cannot be read.

    `weights_only` skips the optimizer and everything else that only resuming needs.
    """
    with explained(str(path), "`trainyard verify` checks a run's checkpoints; choose another one.", path):
        return _load_directory(path, weights_only) if path.is_dir() else _load_file(path)


def rule_in(path: Path) -> dict[str, Any] | None:
    """The rule by which predictions become decisions, as the checkpoint holds it; a CheckpointError as in `load`."""
    return load(path, weights_only=True).decision


def _read(path: Path) -> Any:
    return read_tensors(path, path.name) if path.exists() else None


def _load_file(path: Path) -> Loaded:
    whole = _read(path)
    if not isinstance(whole, dict) or "model" not in whole:
        what = f"{path} is not a checkpoint of Trainyard: it has no entry 'model'."
        raise CheckpointError(what, "Choose another file.", place=path)
    progress = whole.get("progress")
    return Loaded(
        whole["model"],
        whole.get("model_config") or {},
        progress=Progress.from_dict(progress) if progress else None,
        files=whole.get("files") or {},
        **{key: whole.get(key) for key in ("optimizer", "scheduler", "scaler", "rng", "decision")},
    )


def _load_directory(path: Path, weights_only: bool) -> Loaded:
    config = path / names.CONFIG
    model_config = json.loads(config.read_bytes()) if config.exists() else {}
    index = path / names.SAFETENSORS_INDEX
    if index.exists():
        shards = sorted(set(json.loads(index.read_bytes())["weight_map"].values()))
        model = {name: tensor for shard in shards for name, tensor in read_tensors(path / shard, shard).items()}
    elif (path / names.SAFETENSORS).exists():
        model = _read(path / names.SAFETENSORS)
    elif (path / names.PYTORCH_BIN).exists():
        model = _read(path / names.PYTORCH_BIN)
    else:
        raise CheckpointError(f"{path} contains no model weights.", "Choose another checkpoint.", place=path)
    if (path / names.ADAPTER).exists():
        model = {**model, **_read(path / names.ADAPTER)}
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
        ours = trainer_state["stateful_callbacks"]["trainyard"]
        progress = Progress.from_dict({**ours, "log": trainer_state["log_history"]})
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
