"""One optimizer step: forward under autocast, loss, scaled backward, unscale, clip, step.

Gradients equal those of one large batch, however it is split by accumulation or over processes. Knows nothing
of epochs, metrics or files.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from trainyard.data.batches import Batch
from trainyard.tasks.task import Task
from trainyard.training.forward import autocast, forward
from trainyard.training.objective import Objective
from trainyard.training.process import Process


@dataclass
class Step:
    """Callable on the micro-batches of one optimizer step; returns their mean loss.

    `skipped` is True if the last step changed nothing because fp16 overflowed: the scaler tries again with a smaller
    scale, and a schedule by step should wait. `after_first_backward` is called with the bare model and the gradients
    of the first step of this process (scaled, under fp16), before they are used.
    """

    model: nn.Module
    task: Task
    optimizer: torch.optim.Optimizer
    process: Process
    precision: str = "fp32"
    grad_clip: float | None = None
    scaler: torch.amp.GradScaler = field(init=False)  # enabled for fp16 only
    grad_norm: Tensor | None = None  # before clipping, at the last step that clipped
    skipped: bool = False
    objective: Objective | None = None  # what is minimised; None: the task's loss
    after_first_backward: Callable[[nn.Module], None] | None = None

    def __post_init__(self) -> None:
        self.scaler = torch.amp.GradScaler(self.process.device.type, enabled=self.precision == "fp16")
        self._minimised = self.objective or Objective(self.task)
        self._parameters = [p for group in self.optimizer.param_groups for p in group["params"]]

    def __call__(self, batches: Sequence[Batch]) -> Tensor:
        """Performs one step. Returns the loss over all micro-batches (of this process), detached, on the device."""
        for parameter in self._parameters:  # what zero_grad does, without its hooks: a tenth of the time
            parameter.grad = None
        if len(batches) == 1 and self.process.world == 1:
            loss = self._forward(batches[0])
            if loss.ndim:
                loss = loss.sum()
            self.scaler.scale(loss).backward()
            total = loss.detach()
        else:
            total = self._accumulate(batches)
        if self.after_first_backward is not None:
            check, self.after_first_backward = self.after_first_backward, None
            check(self.model.module if isinstance(self.model, DistributedDataParallel) else self.model)
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
        """The mean of each part of the objective: a scalar, or [parts]."""
        with autocast(self.precision, self.process.device):
            return self._minimised(forward(self.model, batch), batch)

    def _accumulate(self, batches: Sequence[Batch]) -> Tensor:
        """Backward over several micro-batches; each mean loss is weighted by its share of the total divisor."""
        shares = torch.stack([self._minimised.normaliser(batch) for batch in batches])
        # never 0: a step whose items all have weight 0 has a loss of 0, not 0/0
        everywhere = self.process.sum(shares.sum(0)).clamp_min_(torch.finfo(shares.dtype).tiny)
        total = torch.zeros((), device=self.process.device)
        for number, (batch, share) in enumerate(zip(batches, shares, strict=True)):
            last = number == len(batches) - 1
            with self._synchronised_only_if(last):
                # a process without items in the last batch still takes part, with a loss of zero
                loss = self._forward(batch) if len(batch.labels) else forward(self.model, batch).sum() * 0.0
                # DDP averages over processes: `world` turns that average into the sum it should be
                weighted = loss * (share * self.process.world / everywhere)
                if weighted.ndim:
                    weighted = weighted.sum()
                self.scaler.scale(weighted).backward()
            total += weighted.detach()
        return self.process.sum(total) / self.process.world

    def _synchronised_only_if(self, last: bool) -> contextlib.AbstractContextManager[object]:
        if last or not isinstance(self.model, DistributedDataParallel):
            return contextlib.nullcontext()
        return self.model.no_sync()
