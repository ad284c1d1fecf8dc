"""Predicting a split, and its metrics: all predictions first, then one computation over all of them.

How probabilities become labels is decided on validation and given for everything else. Knows nothing of
runs or files.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from trainyard.analysis.classification.decisions import ARGMAX, Decision
from trainyard.data.batches import Batches
from trainyard.tasks.classification import Task
from trainyard.training.forward import autocast, forward
from trainyard.training.process import Process


@dataclass(frozen=True)
class Predictions:
    """What a model said of a split, in the split's order.

    Attributes:
        indices: int64 [N], positions in the data set.
        labels: the truth: int64 [N], or bool [N, classes] where an item may have several.
        probabilities: float32 [N, classes].
        metrics: the loss and the task's metrics over all N; none when N is 0.
        decision: how labels are chosen.
    """

    indices: npt.NDArray[np.int64]
    labels: npt.NDArray[np.int64] | npt.NDArray[np.bool_]
    probabilities: npt.NDArray[np.float32]
    metrics: dict[str, float]
    decision: Decision = ARGMAX

    @property
    def chosen(self) -> npt.NDArray[np.int64] | npt.NDArray[np.bool_]:
        """The labels chosen, in the form of `labels`."""
        return self.decision.choose(self.probabilities)


def evaluate(
    model: nn.Module,
    task: Task,
    batches: Batches,
    process: Process,
    precision: str = "fp32",
    *,
    decision: Decision | None = None,
) -> Predictions:
    """Predictions for every item of `batches`, gathered from all processes; the same in each of them.

    Args:
        model: called in evaluation mode, and left as it was.
        task: what the outputs mean.
        batches: the items.
        process: this process.
        precision: fp32, bf16 or fp16.
        decision: how labels are chosen; None tunes it on these very items, which is for validation alone.
    """
    process.share_buffers(model)  # a checkpoint holds rank 0's: those are what is measured
    was_training = model.training
    model.eval()
    indices, labels, probabilities = [], [], []
    loss_sum, weight = 0.0, 0.0
    with torch.inference_mode():
        for batch in batches.epoch(0):
            if not len(batch.labels):
                continue
            with autocast(precision, process.device):
                outputs = forward(model, batch)
                loss = task.loss(outputs, batch.labels)
            share = float(task.normaliser(batch.labels))
            loss_sum += float(loss) * share
            weight += share
            indices.append(np.asarray(batch.indices))
            labels.append(batch.labels.cpu().numpy())
            probabilities.append(task.predict(outputs).float().cpu().numpy())
    model.train(was_training)
    parts = process.gather((indices, labels, probabilities, loss_sum, weight))
    if not any(part[0] for part in parts):  # a split without items has nothing to measure
        nothing, none = np.empty(0, dtype=np.int64), np.empty((0, len(task.classes)), dtype=np.float32)
        return Predictions(nothing, nothing, none, {}, decision or task.untuned())
    all_indices = np.concatenate([array for part in parts for array in part[0]])
    order = np.argsort(all_indices, kind="stable")
    all_labels = np.concatenate([array for part in parts for array in part[1]])[order]
    all_probabilities = np.concatenate([array for part in parts for array in part[2]])[order]
    loss_mean = sum(part[3] for part in parts) / max(sum(part[4] for part in parts), 1e-12)
    if all_labels.ndim == 2:
        all_labels = all_labels.astype(np.bool_)
    if decision is None:
        decision, _ = task.tune(all_probabilities, all_labels)
    metrics = task.metrics(all_probabilities, all_labels, loss_mean, decision)
    return Predictions(all_indices[order], all_labels, all_probabilities, metrics, decision)
