"""This process among those that train together: one, or several under torchrun.

Wraps the few collective operations that training needs, so that the loop is the same for one and for several.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from trainyard.errors import ConfigError

_DEVICE = "run.device"


@dataclass(frozen=True)
class Process:
    """One of `world` processes, working on `device`. Rank 0 writes the run."""

    rank: int
    world: int
    device: torch.device

    @property
    def is_main(self) -> bool:
        """Whether this process writes the run."""
        return self.rank == 0

    def wrap(self, model: nn.Module) -> nn.Module:
        """The model, averaging its gradients over all processes when there are several."""
        if self.world == 1:
            return model
        ids = [self.device.index] if self.device.type == "cuda" else None
        return DistributedDataParallel(model, device_ids=ids)

    def share_buffers(self, model: nn.Module) -> None:
        """Gives `model` rank 0's buffers (running statistics), which differ between processes after a step."""
        if self.world > 1:
            for buffer in model.buffers():
                dist.broadcast(buffer, 0)

    def sum(self, value: Tensor) -> Tensor:
        """`value` summed over all processes."""
        if self.world > 1:
            dist.all_reduce(value)
        return value

    def gather(self, value: Any) -> list[Any]:
        """Every process's `value` (picklable), in rank order."""
        if self.world == 1:
            return [value]
        values: list[Any] = [None] * self.world
        dist.all_gather_object(values, value)
        return values

    def share(self, value: Any) -> Any:
        """Rank 0's `value`, in every process."""
        values = [value]
        if self.world > 1:
            dist.broadcast_object_list(values)
        return values[0]


def start(device: str = "auto") -> Process:
    """This process, joined to its group when torchrun started it.

    `device` is auto (the first available accelerator), cpu, cuda, cuda:N or mps; a ConfigError if it is unavailable.
    """
    world, rank = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("RANK", "0"))
    local = int(os.environ.get("LOCAL_RANK", "0"))
    chosen = _device(device, local if world > 1 else None)
    if world > 1 and not dist.is_initialized():
        dist.init_process_group("nccl" if chosen.type == "cuda" else "gloo")
    return Process(rank, world, chosen)


def meet() -> None:
    """Waits until every process of the group gets here: torchrun kills the others when one fails."""
    if dist.is_initialized():
        dist.barrier()


def stop() -> None:
    """Leaves the group, if there is one."""
    if dist.is_initialized():
        dist.destroy_process_group()


def _device(name: str, local: int | None) -> torch.device:
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        what, remedy = f"{_DEVICE}={name!r} is not a device", "Use auto, cpu, cuda, cuda:N or mps."
        raise ConfigError([what], remedy, keys=[_DEVICE], value=name) from None
    if device.type == "cuda" and torch.cuda.is_available():
        count, index = torch.cuda.device_count(), device.index if ":" in name else (local or 0)
        if index >= count:
            why = f"does not exist: PyTorch finds {count} GPUs, numbered from 0"
            raise ConfigError.of(_DEVICE, name, why, "Use one of those, or auto.")
        device = torch.device("cuda", index)
        torch.cuda.set_device(device)
    elif device.type == "cuda" or (device.type == "mps" and not torch.backends.mps.is_available()):
        why, remedy = "is not available: PyTorch finds no such GPU", "Use cpu, or auto for the best available device."
        raise ConfigError.of(_DEVICE, name, why, remedy)
    return device
