"""From captured tensors to the files of a checkpoint.

`read` reads what is written here; which files make a checkpoint, and when it exists, is decided in
`trainyard.checkpoints`. Weights that never change are written once, where that saves enough.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from trainyard.checkpoints import FileWriter, Format
from trainyard.checkpoints import formats as names
from trainyard.jsonl import without_nan
from trainyard.models.protocols import SavesItself
from trainyard.models.tensor_files import safetensors_file, torch_file
from trainyard.objects import Objects
from trainyard.training.checkpoint.capture import Capture

_FROZEN_SHARD = "model-frozen.safetensors"
_TRAINED_SHARD = "model-trained.safetensors"
_WORTH_SHARING_BYTES = 1 << 16  # below this, a second shard costs more than it saves
# With a smaller part of the bytes frozen, sharing shrinks checkpoints by less than half: then a single
# model.safetensors, which every tool reads, is worth more. Full fine-tuning of a speech encoder freezes only its
# convolutions.
_WORTH_SHARING_PART = 0.5


@dataclass(frozen=True)
class Files:
    """The arguments of `checkpoints.commit`: writers by file name, objects to link, expected bytes."""

    writers: dict[str, FileWriter]
    linked: dict[str, str]
    expected_bytes: int


class FrozenShard:
    """The frozen weights as one object of the yard, linked by all checkpoints of one trainee."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        self._versions: dict[str, int] = {}
        self._digest = ""

    def digest(self, frozen: Mapping[str, Tensor]) -> str:
        """Digest of the object; it is written again only if a tensor was changed in place since.

        `frozen` are the live tensors, not copies: torch counts the in-place changes of each.
        """
        versions = {name: tensor._version for name, tensor in frozen.items()}
        if not self._digest or versions != self._versions:
            written = {name: tensor.detach().cpu().contiguous() for name, tensor in frozen.items()}
            self._digest = self._objects.create(safetensors_file(written))
            self._versions = versions
        return self._digest


def encode(
    capture: Capture,
    state: Mapping[str, Any],
    progress: Mapping[str, Any],
    rng: list[dict[str, Any]],
    *,
    format_: Format,
    step: int,
    epoch: float,
    metrics: Mapping[str, float],
    best_checkpoint: str | None,
) -> Files:
    """The files of a checkpoint of `state`, which `capture` took; `progress` is `Progress.to_dict()` at that moment.

    `rng` is the `rng_state` of every process, in rank order; `metrics` those of the validation; `best_checkpoint` the
    path of the best one so far, for trainer_state.json.
    """
    trainee = capture.trainee
    size = _nbytes(state)
    if not format_.is_directory:
        whole = {
            **state,
            "rng": rng,
            "epoch": epoch,
            "step": step,
            "metrics": dict(metrics),
            "progress": dict(progress),
            "decision": progress["decision"],
            "model_config": trainee.model_config,
            "files": dict(trainee.model.extra_files()) if isinstance(trainee.model, SavesItself) else {},
            "config": trainee.config,
            "run_config": trainee.config,
        }
        return Files({"": torch_file(whole)}, {}, size)
    writers: dict[str, FileWriter] = {names.CONFIG: _json(trainee.model_config)}
    linked: dict[str, str] = {}
    weights = _without_adapter(writers, trainee.model, state["model"])
    if format_.weights == names.PYTORCH_BIN:
        writers[names.PYTORCH_BIN] = torch_file(weights)
    else:
        size -= _add_safetensors(writers, linked, capture, weights)
    decision = {} if progress["decision"] is None else {"decision": progress["decision"]}
    if decision or format_.weights == names.PYTORCH_BIN:
        writers[names.METRICS] = _json(without_nan({"step": step, "epoch": epoch, **metrics, **decision}))
    for key, file in (("optimizer", names.OPTIMIZER), ("scheduler", names.SCHEDULER), ("scaler", names.SCALER)):
        if state[key] is not None:
            writers[file] = torch_file(state[key])
    writers[names.RNG_STATE] = torch_file(rng)
    writers[names.TRAINING_ARGS] = torch_file(trainee.config)
    writers[names.TRAINER_STATE] = _json(_trainer_state(progress, trainee.config, best_checkpoint))
    return Files(writers, linked, size)


def _without_adapter(
    writers: dict[str, FileWriter], model: nn.Module, weights: Mapping[str, Tensor]
) -> Mapping[str, Tensor]:
    """The weights without the adapter, as other libraries load them; adds writers for the adapter and extra files."""
    if not isinstance(model, SavesItself):
        return weights
    added = {model.saved_name(name) for name in model.state_dict() if model.is_adapter(name)}
    if added:
        writers[names.ADAPTER] = safetensors_file({name: weights[name] for name in weights if name in added})
    writers |= {name: _text(text) for name, text in model.extra_files().items()}
    return {name: tensor for name, tensor in weights.items() if name not in added}


def _add_safetensors(
    writers: dict[str, FileWriter], linked: dict[str, str], capture: Capture, model: Mapping[str, Tensor]
) -> int:
    """Adds the weights as one file, or as two shards with the frozen one linked. Returns the bytes saved."""
    frozen = {name: tensor for name, tensor in capture.frozen().items() if name in model}
    total, saved = _nbytes(model), _nbytes(frozen)
    if capture.single_file or saved < max(_WORTH_SHARING_BYTES, _WORTH_SHARING_PART * total):
        writers[names.SAFETENSORS] = safetensors_file(model)
        return 0
    capture.shard = capture.shard or FrozenShard(capture.objects)
    linked[_FROZEN_SHARD] = capture.shard.digest(frozen)
    writers[_TRAINED_SHARD] = safetensors_file({name: tensor for name, tensor in model.items() if name not in frozen})
    weight_map = {name: _FROZEN_SHARD if name in frozen else _TRAINED_SHARD for name in model}
    writers[names.SAFETENSORS_INDEX] = _json({"metadata": {"total_size": total}, "weight_map": weight_map})
    return saved


def _json(value: Any) -> FileWriter:
    return _text(json.dumps(value, indent=2) + "\n")


def _text(text: str) -> FileWriter:
    def write(path: Path) -> None:
        path.write_text(text, encoding="utf-8")

    return write


def _nbytes(value: Any) -> int:
    if isinstance(value, Tensor):
        return value.nbytes
    if isinstance(value, Mapping):
        return sum(_nbytes(item) for item in value.values())
    if isinstance(value, (list, tuple)):
        return sum(_nbytes(item) for item in value)
    return 0


def _trainer_state(progress: Mapping[str, Any], config: Mapping[str, Any], best: str | None) -> dict[str, Any]:
    """trainer_state.json as transformers writes it, with our progress in `stateful_callbacks`."""
    training = config.get("training", {})
    return {
        "best_global_step": progress["best"]["step"] or None,
        "best_metric": progress["best"]["value"],
        "best_model_checkpoint": best,
        "epoch": progress["log"][-1]["epoch"] if progress["log"] else 0.0,
        "eval_steps": 500,
        "global_step": progress["step"],
        "is_hyper_param_search": False,
        "is_local_process_zero": True,
        "is_world_process_zero": True,
        "log_history": without_nan(progress["log"]),
        "logging_steps": training.get("log_every", 0),
        "max_steps": 0,
        "num_input_tokens_seen": 0,
        "num_train_epochs": training.get("epochs", 0),
        "save_steps": 0,
        "stateful_callbacks": {"trainyard": {key: value for key, value in progress.items() if key != "log"}},
        "total_flos": 0.0,
        "train_batch_size": training.get("batch_size", 0),
        "trial_name": None,
        "trial_params": None,
    }
