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
    """Minimises `task.loss(margin(outputs))`, or `(1 - alpha)` of it plus `alpha` of the distance to a teacher.

    Attributes:
        task: what the network is trained for.
        margin: maps logits and labels to harder logits, used in the task's loss only.
        distillation: the teacher.
    """

    task: Task
    margin: nn.Module | None = None
    distillation: Distillation | None = None

    def __call__(self, outputs: Tensor, batch: Batch) -> Tensor:
        """The mean of each part over a batch that is not empty, with a gradient; their sum is the loss.

        Args:
            outputs: logits [B, C] of the student.
            batch: the items of the outputs.

        Returns:
            float32: a scalar without a teacher; [2] with one: the task's part and the teacher's.
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
