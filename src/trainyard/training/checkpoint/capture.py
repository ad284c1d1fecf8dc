"""What a training consists of, copied at one moment and put back: weights, optimizer, scheduler, random numbers.

`Capture` copies the tensors into memory of its own, so that training goes on while they are written; frozen
weights never change and are not copied. A model may say how it is kept (`SavesItself`). Knows no files: how the
copies become some, and files tensors again, is `encoding`'s and `loading`'s matter.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from trainyard.errors import CheckpointError
from trainyard.models.protocols import SavesItself
from trainyard.objects import Objects
from trainyard.training.checkpoint.read import Loaded
from trainyard.training.progress import Progress

if TYPE_CHECKING:
    from trainyard.training.checkpoint.write import FrozenShard


def saved_name(model: nn.Module, name: str) -> str:
    """What a tensor of the model is called in files."""
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
    """Copies of a trainee's tensors at one moment, in memory that is used again for the next moment.

    `objects`, `single_file` and `shard` are for `encoding`, whose checkpoints of one trainee share files.
    """

    trainee: Trainee
    objects: Objects
    single_file: bool = False
    shard: FrozenShard | None = None
    _buffers: dict[str, Tensor] = field(default_factory=dict)

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
            saved = saved_name(self.trainee.model, name)
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

    def frozen(self) -> dict[str, Tensor]:
        """The frozen weights themselves, no copies, under the names they have in files."""
        names, model = self._frozen_names(), self.trainee.model
        return {saved_name(model, name): tensor for name, tensor in model.state_dict().items() if name in names}


def load_weights(model: nn.Module, weights: Mapping[str, Tensor], where: str) -> None:
    """Puts `weights` into `model`; tensors tied to a loaded one may be absent.

    Args:
        model: filled in place.
        weights: under the names they have in files.
        where: they come from, for the error.

    Raises:
        CheckpointError: names or shapes do not fit.
    """
    live = {saved_name(model, name): name for name in model.state_dict()}
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
            value={"missing": missing, "unexpected": unexpected, "shapes": shapes},
            place=where,
        )
    model.load_state_dict({live[name]: tensor for name, tensor in weights.items()}, strict=False)


def restore(trainee: Trainee, loaded: Loaded, where: str, *, rank: int = 0) -> Progress:
    """Puts a trainee back to a checkpoint; returns where its training stood.

    Raises:
        CheckpointError: the checkpoint does not fit, or lacks what resuming needs.
    """
    if loaded.optimizer is None or loaded.progress is None or loaded.rng is None:
        raise CheckpointError(
            f"{where} holds no optimizer state.", "Resume from another checkpoint with --step.", place=where
        )
    load_weights(trainee.model, loaded.model, where)
    trainee.optimizer.load_state_dict(loaded.optimizer)
    if trainee.scheduler is not None and loaded.scheduler is not None:
        trainee.scheduler.load_state_dict(loaded.scheduler)
    if loaded.scaler is not None:
        trainee.scaler.load_state_dict(loaded.scaler)
    restore_rng(loaded.rng[min(rank, len(loaded.rng) - 1)], trainee.device)
    return loaded.progress
