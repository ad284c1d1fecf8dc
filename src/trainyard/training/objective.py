"""What a training step minimises: the task's loss, with a margin and a teacher where there are any.

A mean over several micro-batches or processes is exact only if each part is weighted by what it divides
by, and the task's loss may divide by something else than a teacher's does. So both are returned apart,
each with its own normaliser. Validation knows none of this: it measures the task's loss alone.
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
        task: what the network is trained to say.
        margin: takes logits and labels to harder logits; only the task's loss sees them.
        distillation: the teacher.
    """

    task: Task
    margin: nn.Module | None = None
    distillation: Distillation | None = None

    def __call__(self, outputs: Tensor, batch: Batch) -> Tensor:
        """The mean of each part over a batch that has items, with a gradient; their sum is the loss.

        Args:
            outputs: logits [B, C] of the student.
            batch: what they are of.

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
        """What each part divides by, in the shape of `__call__`'s: the task's normaliser, and the number of items."""
        divisor = self.task.normaliser(batch.labels)
        if self.distillation is None:
            return divisor
        return torch.stack([divisor, torch.full_like(divisor, len(batch.labels))])
