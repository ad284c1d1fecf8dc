"""The state of a training, copied at one moment: weights, optimizer, scheduler, random states.

`Capture` copies the tensors into its own memory, so that training continues while they are written; frozen
weights never change and are not copied. Knows no files: `write` turns the copies into files, `read` files into
tensors, and `restore` puts those back.
"""

from __future__ import annotations

import copy
import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from trainyard.models.protocols import SavesItself
from trainyard.objects import Objects

if TYPE_CHECKING:
    from trainyard.training.checkpoint.write import FrozenShard


def saved_name(model: nn.Module, name: str) -> str:
    """The name of a model's tensor in files."""
    return model.saved_name(name) if isinstance(model, SavesItself) else name


def rng_state(device: torch.device) -> dict[str, Any]:
    """The state of every random generator that training uses, as tensors and plain values."""
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


def seed_everything(seed: int, rank: int = 0) -> None:
    """Seeds python, numpy and torch; each rank draws its own numbers."""
    random.seed(seed + rank)
    np.random.seed((seed + rank) % 2**32)
    torch.manual_seed(seed + rank)


@dataclass
class Trainee:
    """The parts whose state a checkpoint holds."""

    model: nn.Module  # the bare one, not wrapped for several processes
    optimizer: torch.optim.Optimizer
    scheduler: Any | None
    scaler: torch.amp.GradScaler
    device: torch.device
    model_config: dict[str, Any]  # config.json
    config: dict[str, Any]  # the run's resolved configuration


@dataclass
class Capture:
    """Copies of a trainee's tensors at one moment, in memory that is reused for the next copy.

    `objects`, `single_file` and `shard` are used by `write`, where the checkpoints of one trainee share files.
    """

    trainee: Trainee
    objects: Objects
    single_file: bool = False
    shard: FrozenShard | None = None
    _buffers: dict[str, Tensor] = field(default_factory=dict)

    def take(self) -> dict[str, Any]:
        """The state now: {"model", "optimizer", "scheduler", "scaler"}, safe until the next `take`.

        Tensors of the model are under their names in files.
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
                continue  # tied to a tensor already copied
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
        """The frozen weights themselves, not copies, under their names in files."""
        names, model = self._frozen_names(), self.trainee.model
        return {saved_name(model, name): tensor for name, tensor in model.state_dict().items() if name in names}
