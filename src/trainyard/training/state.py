"""Between tensors and the files of a checkpoint: what is captured, how it is written, how it is restored.

`Capture` copies the tensors into memory of its own, so that training goes on while they are
written; frozen weights never change and are not copied. Every file loads with
`torch.load(weights_only=True)` or safetensors. A model may say how it is kept (`SavesItself`). Which
files make a checkpoint, and when it exists, is `checkpoints`' matter.
The file is longer than most because what one half writes the other reads: they change together.
"""

from __future__ import annotations

import contextlib
import copy
import json
import os
import pickle
import random
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from trainyard import durable
from trainyard.checkpoints import FileWriter, Format
from trainyard.checkpoints import formats as names
from trainyard.errors import CheckpointError
from trainyard.jsonl import without_nan
from trainyard.objects import Objects
from trainyard.training.progress import Progress

_WORTH_SHARING_BYTES = 1 << 16  # below this, a second shard costs more than it saves
_FROZEN_SHARD = "model-frozen.safetensors"
_TRAINED_SHARD = "model-trained.safetensors"
_ADAPTER = "adapter_model.safetensors"  # peft's name
_OWN = (names.CONFIG, names.METRICS, names.MANIFEST, names.TRAINER_STATE, names.SAFETENSORS_INDEX)


@runtime_checkable
class SavesItself(Protocol):
    """A model whose checkpoints other libraries read: under the names, and beside the files, that they expect.

    Names of the model's own `state_dict` are told apart from those in files; one is kept under one other.
    """

    def saved_name(self, name: str) -> str:
        """What a tensor is called in a file."""

    def is_adapter(self, name: str) -> bool:
        """Whether a tensor was added to a model that is whole without it: it lies in a file of its own."""

    def extra_files(self) -> Mapping[str, str]:
        """Further files of a checkpoint that is a directory: name to text."""


def _saved_name(model: nn.Module, name: str) -> str:
    return model.saved_name(name) if isinstance(model, SavesItself) else name


def rng_state(device: torch.device) -> dict[str, Any]:
    """The state of every random generator training draws from, as tensors and plain values."""
    version, internal, gauss = random.getstate()
    legacy = np.random.get_state(legacy=False)
    assert isinstance(legacy, dict)
    return {
        "python": {"version": version, "state": torch.tensor(internal, dtype=torch.int64), "gauss": gauss},
        "numpy": {
            "key": torch.from_numpy(legacy["state"]["key"].astype(np.int64)),
            "pos": int(legacy["state"]["pos"]),
            "has_gauss": int(legacy["has_gauss"]),
            "gauss": float(legacy["gauss"]),
        },
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state(device) if device.type == "cuda" else None,
    }


def restore_rng(state: Mapping[str, Any], device: torch.device) -> None:
    """Puts every random generator back to `state`."""
    python, numpy_ = state["python"], state["numpy"]
    random.setstate((python["version"], tuple(python["state"].tolist()), python["gauss"]))
    np.random.set_state(
        ("MT19937", numpy_["key"].numpy().astype(np.uint32), numpy_["pos"], numpy_["has_gauss"], numpy_["gauss"])
    )
    torch.set_rng_state(state["torch"].cpu())
    if device.type == "cuda" and state["cuda"] is not None:
        torch.cuda.set_rng_state(state["cuda"].cpu(), device)


def seed_everything(seed: int, rank: int = 0) -> None:
    """Seeds python, numpy and torch; each rank draws its own numbers."""
    random.seed(seed + rank)
    np.random.seed((seed + rank) % 2**32)
    torch.manual_seed(seed + rank)


@dataclass
class Trainee:
    """The parts whose state a checkpoint holds.

    `model` is the bare one, not wrapped for several processes.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    scheduler: Any | None
    scaler: torch.amp.GradScaler
    device: torch.device
    model_config: dict[str, Any]  # config.json
    config: dict[str, Any]  # the run's resolved configuration


@dataclass
class Capture:
    """Copies of a trainee's tensors at one moment, in memory that is used again for the next moment."""

    trainee: Trainee
    objects: Objects
    single_file: bool = False
    _buffers: dict[str, Tensor] = field(default_factory=dict)
    _frozen: tuple[list[int], str] | None = None  # versions of the frozen tensors, digest of their object

    def take(self) -> dict[str, Any]:
        """The state now: {"model", "optimizer", "scheduler", "scaler"}, safe until the next `take`.

        Tensors of the model are under the names they have in files.
        """
        trainee = self.trainee
        state = {
            "model": self._model_state(),
            "optimizer": self._copied(trainee.optimizer.state_dict(), "optimizer"),
            "scheduler": self._copied(trainee.scheduler.state_dict(), "scheduler") if trainee.scheduler else None,
            "scaler": copy.deepcopy(trainee.scaler.state_dict()) if trainee.scaler.is_enabled() else None,
        }
        if trainee.device.type == "cuda":
            torch.cuda.synchronize(trainee.device)
        return state

    def _frozen_names(self) -> set[str]:
        return {name for name, parameter in self.trainee.model.named_parameters() if not parameter.requires_grad}

    def _model_state(self) -> dict[str, Tensor]:
        frozen = self._frozen_names()
        seen: set[tuple[int, int, tuple[int, ...]]] = set()
        state: dict[str, Tensor] = {}
        for name, tensor in self.trainee.model.state_dict().items():
            identity = (tensor.data_ptr(), tensor.storage_offset(), tuple(tensor.shape))
            if tensor.numel() and identity in seen:
                continue  # tied to one that is in already
            seen.add(identity)
            keep = name in frozen and tensor.device.type == "cpu" and tensor.is_contiguous()
            saved = _saved_name(self.trainee.model, name)
            state[saved] = tensor.detach() if keep else self._copy(tensor, f"model/{name}")
        return state

    def _copied(self, value: Any, key: str) -> Any:
        if isinstance(value, Tensor):
            return self._copy(value, key)
        if isinstance(value, dict):
            return {k: self._copied(v, f"{key}/{k}") for k, v in value.items()}
        if isinstance(value, (list, tuple)):
            return type(value)(self._copied(v, f"{key}/{i}") for i, v in enumerate(value))
        return copy.deepcopy(value)

    def _copy(self, tensor: Tensor, key: str) -> Tensor:
        tensor = tensor.detach()
        buffer = self._buffers.get(key)
        if buffer is None or buffer.shape != tensor.shape or buffer.dtype != tensor.dtype:
            buffer = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=tensor.device.type == "cuda")
            self._buffers[key] = buffer
        return buffer.copy_(tensor, non_blocking=True)

    def frozen_object(self) -> tuple[str, set[str]] | None:
        """Digest and names in files of the frozen weights, kept as one object of the yard; None if too few.

        Written again only if a frozen tensor was changed in place since.
        """
        if self.single_file:
            return None
        frozen = self._frozen_names()
        model = self.trainee.model
        tensors = {_saved_name(model, k): v for k, v in self._model_state_references().items() if k in frozen}
        if sum(t.nbytes for t in tensors.values()) < _WORTH_SHARING_BYTES:
            return None
        versions = [tensor._version for tensor in tensors.values()]
        if self._frozen is None or self._frozen[0] != versions:
            written = {k: v.detach().cpu().contiguous() for k, v in tensors.items()}
            digest = self.objects.create(safetensors_file(written))
            self._frozen = (versions, digest)
        return self._frozen[1], set(tensors)

    def _model_state_references(self) -> dict[str, Tensor]:
        return dict(self.trainee.model.state_dict())


@dataclass(frozen=True)
class Files:
    """What `checkpoints.commit` takes: writers by file name, objects to link, bytes to expect."""

    writers: dict[str, FileWriter]
    linked: dict[str, str]
    expected_bytes: int


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
    """The files of a checkpoint of `state`.

    Args:
        capture: where `state` was taken.
        state: what `Capture.take` returned.
        progress: `Progress.to_dict()` at that moment.
        rng: `rng_state` of every process, in rank order.
        format_: which files.
        step: optimizer steps done.
        epoch: epochs done.
        metrics: validation metrics.
        best_checkpoint: path of the best checkpoint so far, for trainer_state.json.
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
    writers[names.OPTIMIZER] = torch_file(state["optimizer"])
    if state["scheduler"] is not None:
        writers[names.SCHEDULER] = torch_file(state["scheduler"])
    if state["scaler"] is not None:
        writers[names.SCALER] = torch_file(state["scaler"])
    writers[names.RNG_STATE] = torch_file(rng)
    writers[names.TRAINING_ARGS] = torch_file(trainee.config)
    writers[names.TRAINER_STATE] = _json(_trainer_state(progress, trainee.config, best_checkpoint))
    return Files(writers, linked, size)


def _without_adapter(
    writers: dict[str, FileWriter], model: nn.Module, weights: Mapping[str, Tensor]
) -> Mapping[str, Tensor]:
    """The weights of the model that other libraries load; adds the files that a model has besides."""
    if not isinstance(model, SavesItself):
        return weights
    added = {model.saved_name(name) for name in model.state_dict() if model.is_adapter(name)}
    if added:
        writers[_ADAPTER] = safetensors_file({name: weights[name] for name in weights if name in added})
    writers |= {name: _text(text) for name, text in model.extra_files().items()}
    return {name: tensor for name, tensor in weights.items() if name not in added}


def _add_safetensors(
    writers: dict[str, FileWriter], linked: dict[str, str], capture: Capture, model: Mapping[str, Tensor]
) -> int:
    """Adds the weights as one file, or as two shards of which the frozen one is linked. Returns bytes saved."""
    frozen = capture.frozen_object()
    if frozen is None:
        writers[names.SAFETENSORS] = safetensors_file(model)
        return 0
    digest, frozen_names = frozen
    trained = {name: tensor for name, tensor in model.items() if name not in frozen_names}
    weight_map = {name: _FROZEN_SHARD if name in frozen_names else _TRAINED_SHARD for name in model}
    total = sum(tensor.nbytes for tensor in model.values())
    writers[_TRAINED_SHARD] = safetensors_file(trained)
    writers[names.SAFETENSORS_INDEX] = _json({"metadata": {"total_size": total}, "weight_map": weight_map})
    linked[_FROZEN_SHARD] = digest
    return total - sum(tensor.nbytes for tensor in trained.values())


def torch_file(value: Any) -> FileWriter:
    """A writer of what `torch.load` reads. Its bytes do not depend on the path it is written to."""

    def write(path: Path) -> None:
        with _system_errors(path), path.open("wb") as file:
            torch.save(value, file)

    return write


def safetensors_file(tensors: Mapping[str, Tensor]) -> FileWriter:
    """A writer of tensors that safetensors and transformers read."""

    def write(path: Path) -> None:
        with _system_errors(path):
            save_file(dict(tensors), path, metadata={"format": "pt"})

    return write


@contextlib.contextmanager
def _system_errors(path: Path) -> Iterator[None]:
    """Brings out what the system said, such as that the disk is full; torch and safetensors wrap it in their own."""
    with durable.explained(path):
        try:
            yield
        except Exception as error:
            said: BaseException | None = error
            while said is not None and not isinstance(said, OSError):
                said = said.__context__
            number = re.search(r"os error (\d+)", str(error))
            if said is None and number is not None:
                said = OSError(int(number[1]), os.strerror(int(number[1])), str(path))
            if said is None or said is error:
                raise
            raise said from error


def _json(value: Any) -> FileWriter:
    return _text(json.dumps(value, indent=2) + "\n")


def _text(text: str) -> FileWriter:
    return lambda path: _write(path, text)


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


def _nbytes(value: Any) -> int:
    if isinstance(value, Tensor):
        return value.nbytes
    if isinstance(value, Mapping):
        return sum(_nbytes(item) for item in value.values())
    if isinstance(value, (list, tuple)):
        return sum(_nbytes(item) for item in value)
    return 0


def _trainer_state(progress: Mapping[str, Any], config: Mapping[str, Any], best: str | None) -> dict[str, Any]:
    """trainer_state.json as transformers writes it; ours rides in `stateful_callbacks`."""
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
        raise CheckpointError(f"{path} holds no checkpoint of Trainyard's (no entry 'model').", "Choose another file.")
    progress = whole.get("progress")
    return Loaded(
        whole["model"], whole.get("model_config") or {}, whole.get("optimizer"), whole.get("scheduler"),
        whole.get("scaler"), whole.get("rng"), Progress.from_dict(progress) if progress else None,
        whole.get("files") or {}, whole.get("decision"),
    )  # fmt: skip


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
        raise CheckpointError(f"{path} holds no model weights.", "Choose another checkpoint.")
    if (path / _ADAPTER).exists():
        model = {**model, **load_file(path / _ADAPTER)}
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
        model, model_config, _read(path / names.OPTIMIZER), _read(path / names.SCHEDULER),
        _read(path / names.SCALER), _read(path / names.RNG_STATE), progress, files, decision,
    )  # fmt: skip


def load_weights(model: nn.Module, weights: Mapping[str, Tensor], where: str) -> None:
    """Puts `weights` into `model`; tensors tied to a loaded one may be absent.

    Args:
        model: filled in place.
        weights: under the names they have in files.
        where: they come from, for the error.

    Raises:
        CheckpointError: names or shapes do not fit.
    """
    live = {_saved_name(model, name): name for name in model.state_dict()}
    own = dict(zip(live, model.state_dict().values(), strict=True))
    loaded = {own[name].data_ptr() for name in weights if name in own}
    missing = [name for name in own if name not in weights and own[name].data_ptr() not in loaded]
    unexpected = [name for name in weights if name not in own]
    shapes = [
        f"{name} is {tuple(weights[name].shape)}, the model's is {tuple(own[name].shape)}"
        for name in own
        if name in weights and weights[name].shape != own[name].shape
    ]
    if missing or unexpected or shapes:
        parts = [
            f"{len(found)} {label} ({', '.join(found[:3])}{', …' if len(found) > 3 else ''})"
            for label, found in (("missing", missing), ("unexpected", unexpected), ("of another shape", shapes))
            if found
        ]
        raise CheckpointError(
            f"The weights in {where} do not fit the model: {'; '.join(parts)}.",
            "Use the model.* settings they were trained with.",
        )
    model.load_state_dict({live[name]: tensor for name, tensor in weights.items()}, strict=False)


def restore(trainee: Trainee, loaded: Loaded, where: str, *, rank: int = 0) -> Progress:
    """Puts a trainee back to a checkpoint; returns where its training stood.

    Raises:
        CheckpointError: the checkpoint does not fit, or lacks what resuming needs.
    """
    if loaded.optimizer is None or loaded.progress is None or loaded.rng is None:
        raise CheckpointError(f"{where} holds no optimizer state.", "Resume from another checkpoint with --step.")
    load_weights(trainee.model, loaded.model, where)
    trainee.optimizer.load_state_dict(loaded.optimizer)
    if trainee.scheduler is not None and loaded.scheduler is not None:
        trainee.scheduler.load_state_dict(loaded.scheduler)
    if loaded.scaler is not None:
        trainee.scaler.load_state_dict(loaded.scaler)
    restore_rng(loaded.rng[min(rank, len(loaded.rng) - 1)], trainee.device)
    return loaded.progress
