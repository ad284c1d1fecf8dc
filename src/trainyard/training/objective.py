"""What a training step minimises: the task's loss, optionally with a margin and a teacher.

A mean over several micro-batches or processes is exact only if each part is weighted by its divisor, and the
task's loss may have another divisor than the teacher's. So both are returned separately, each with its own
normaliser. Validation measures the task's loss alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from trainyard.data.batches import Batch
from trainyard.tasks.task import Task
from trainyard.training.distill import Distillation


@dataclass(frozen=True)
class Objective:
    """Minimises `task.loss(margin(outputs))`, or `(1 - alpha)` of it plus `alpha` of the distance to a teacher."""

    task: Task
    margin: nn.Module | None = None  # maps logits and labels to harder logits, for the task's loss only
    distillation: Distillation | None = None

    def __call__(self, outputs: Tensor, batch: Batch) -> Tensor:
        """The loss of logits [B, C] of a batch that is not empty, with a gradient: a float32 scalar.

        With a teacher, [2], the means of the task's part and of the teacher's, whose sum is the loss.
        """
        harder = outputs if self.margin is None else self.margin(outputs, batch.labels)
        loss = self.task.loss(harder, batch.labels)
        if self.distillation is None:
            return loss
        alpha = self.distillation.alpha
        return torch.stack([(1 - alpha) * loss, alpha * self.distillation(outputs, batch)])

    def normaliser(self, batch: Batch) -> Tensor:
        """The divisor of each part, in the shape of `__call__`'s result: the task's normaliser, the number of items."""
        divisor = self.task.normaliser(batch.labels)
        if self.distillation is None:
            return divisor
        return torch.stack([divisor, torch.full_like(divisor, len(batch.labels))])
