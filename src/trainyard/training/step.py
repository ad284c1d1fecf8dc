"""One optimizer step: forward under autocast, loss, scaled backward, unscale, clip, step.

Gradients equal those of one large batch, whatever it is cut into: by accumulation, or over
processes. Knows nothing of epochs, metrics or files.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from trainyard.data.batches import Batch
from trainyard.training.process import Process
from trainyard.training.tasks import Task

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


def autocast(precision: str, device: torch.device) -> contextlib.AbstractContextManager[object]:
    """The context that forward passes run in: nothing for fp32, autocast for bf16 and fp16."""
    if precision == "fp32":
        return contextlib.nullcontext()
    return torch.autocast(device.type, dtype=DTYPES[precision])


@dataclass
class Step:
    """Callable on the micro-batches of one optimizer step; returns their mean loss.

    `scaler` is on for fp16 alone. `grad_norm` is the norm before clipping at the last step that
    clipped. `skipped` says that the last step changed nothing, because fp16 overflowed: the scaler
    tries again with a smaller scale, and a schedule by step should wait.
    """

    model: nn.Module
    task: Task
    optimizer: torch.optim.Optimizer
    process: Process
    precision: str = "fp32"
    grad_clip: float | None = None
    scaler: torch.amp.GradScaler = field(init=False)
    grad_norm: Tensor | None = None
    skipped: bool = False

    def __post_init__(self) -> None:
        self.scaler = torch.amp.GradScaler(self.process.device.type, enabled=self.precision == "fp16")
        self._parameters = [p for group in self.optimizer.param_groups for p in group["params"]]

    def __call__(self, batches: Sequence[Batch]) -> Tensor:
        """Takes one step. Returns the loss over all micro-batches (of this process), detached, on the device."""
        self.optimizer.zero_grad(set_to_none=True)
        if len(batches) == 1 and self.process.world == 1:
            loss = self._forward(batches[0])
            self.scaler.scale(loss).backward()
            total = loss.detach()
        else:
            total = self._accumulate(batches)
        if self.grad_clip is not None:
            self.scaler.unscale_(self.optimizer)
            self.grad_norm = nn.utils.clip_grad_norm_(self._parameters, self.grad_clip)
        scale = self.scaler.get_scale()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.skipped = self.scaler.get_scale() < scale
        return total

    def is_sound(self) -> bool:
        """Whether every trained weight is a finite number. Waits for the device."""
        with torch.no_grad():
            largest = nn.utils.get_total_norm(self._parameters, math.inf)
        return bool(largest.isfinite())

    def _forward(self, batch: Batch) -> Tensor:
        with autocast(self.precision, self.process.device):
            return self.task.loss(self.model(batch.inputs), batch.labels)

    def _accumulate(self, batches: Sequence[Batch]) -> Tensor:
        """Backward over several micro-batches; each mean loss is weighted by its share of what it divides by."""
        shares = torch.stack([self.task.normaliser(batch.labels) for batch in batches])
        everywhere = self.process.sum(shares.sum())
        total = torch.zeros((), device=self.process.device)
        for number, (batch, share) in enumerate(zip(batches, shares, strict=True)):
            last = number == len(batches) - 1
            with self._synchronised_only_if(last):
                # a process left without items in the last batch still takes part, with a loss of zero
                loss = self._forward(batch) if len(batch.labels) else self.model(batch.inputs).sum() * 0.0
                # DDP averages over processes: `world` turns that average into the sum it should be
                weighted = loss * (share * self.process.world / everywhere)
                self.scaler.scale(weighted).backward()
            total += weighted.detach()
        return self.process.sum(total) / self.process.world

    def _synchronised_only_if(self, last: bool) -> contextlib.AbstractContextManager[object]:
        if last or not isinstance(self.model, DistributedDataParallel):
            return contextlib.nullcontext()
        return self.model.no_sync()
