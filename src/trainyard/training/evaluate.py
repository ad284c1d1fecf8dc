"""Predicting a split, and its metrics: all predictions first, then one computation over all of them.

The only inference loop: training, evaluation, prediction of new items and exports all use `infer`. The decision
rule is tuned on validation and passed in for everything else. Knows nothing of runs or files.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from trainyard.analysis.scoring import Rule
from trainyard.data.batches import Batch, Batches
from trainyard.tasks.task import Task
from trainyard.training.forward import autocast, forward
from trainyard.training.process import Process


@dataclass(frozen=True)
class Predictions:
    """The predictions of a model for a split, in the split's order; no columns or metrics for a split without items."""

    indices: npt.NDArray[np.int64]  # [N], positions in the data set
    targets: npt.NDArray[Any]  # the true target of each item, as the data set holds it
    columns: Mapping[str, npt.NDArray[Any]]  # the predictions by name, N rows each
    metrics: dict[str, float]  # the loss and the task's metrics over all N
    rule: Rule | None = None  # how predictions become decisions; None for a task without decisions


def infer(
    model: nn.Module, batches: Iterable[Batch], precision: str, device: torch.device
) -> Iterator[tuple[Batch, Tensor]]:
    """Each batch that has items, with the model's outputs for it, without gradients.

    The model is put into evaluation mode, and back into its former mode at the end.
    """
    was_training = model.training
    model.eval()
    try:
        for batch in batches:
            if len(batch):
                with torch.inference_mode(), autocast(precision, device):
                    outputs = forward(model, batch)
                yield batch, outputs
    finally:
        model.train(was_training)


def evaluate(
    model: nn.Module,
    task: Task,
    batches: Batches,
    process: Process,
    precision: str = "fp32",
    *,
    rule: Rule | None = None,
    tune: bool = False,
) -> Predictions:
    """Predictions for every item of `batches`, gathered from all processes; the same in each of them.

    The model is put back into its former mode. `rule` is how predictions become decisions, by default the task's
    untuned rule; with `tune` it is found on these items, which is for the validation split only.
    """
    process.share_buffers(model)  # a checkpoint holds rank 0's, so those are evaluated
    indices: list[npt.NDArray[np.int64]] = []
    predicted: list[dict[str, npt.NDArray[Any]]] = []
    loss_sum, weight = 0.0, 0.0
    for batch, outputs in infer(model, batches.epoch(0), precision, process.device):
        with torch.inference_mode():
            with autocast(precision, process.device):
                loss = task.loss(outputs, batch.labels)
            share = float(task.normaliser(batch.labels))
            loss_sum += float(loss) * share
            weight += share
            indices.append(np.asarray(batch.indices))
            predicted.append({name: column.cpu().numpy() for name, column in task.predict(outputs).items()})
    parts = process.gather((indices, predicted, loss_sum, weight))
    scoring = task.scoring
    found = [array for part in parts for array in part[0]]
    if not found:  # a split without items has nothing to measure
        nothing = np.empty(0, dtype=np.int64)
        return Predictions(nothing, batches.targets(nothing), {}, {}, scoring.untuned() if rule is None else rule)
    order = np.argsort(np.concatenate(found), kind="stable")
    every = np.concatenate(found)[order]
    batches_of = [columns for part in parts for columns in part[1]]
    columns = {name: np.concatenate([each[name] for each in batches_of])[order] for name in batches_of[0]}
    targets = batches.targets(every)
    if tune:
        rule, _ = scoring.tune(columns, targets)
    if rule is None:
        rule = scoring.untuned()
    loss_mean = sum(part[2] for part in parts) / max(sum(part[3] for part in parts), 1e-12)
    metrics = {"loss": float(loss_mean), **scoring.metrics(columns, targets, rule)}
    return Predictions(every, targets, columns, metrics, rule)
