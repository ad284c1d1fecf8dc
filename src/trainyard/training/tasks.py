"""What a network is trained to say: the loss of its outputs, predictions from them, and their metrics.

The loop, the evaluation and the checkpoints take any `Task`, and are the same for all. A task holds no
network and no data, and knows nothing of devices beyond where its loss lies.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, Self

import numpy.typing as npt
import torch
from torch import Tensor

from trainyard.analysis.metrics import single_label_metrics
from trainyard.training.losses import MeanLoss


class Task(Protocol):
    """Everything in training that depends on the kind of labels.

    Attributes:
        classes: class names, in the order of the outputs.
    """

    classes: tuple[str, ...]

    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """The mean loss of a batch, a scalar with a gradient."""

    def normaliser(self, labels: Tensor) -> Tensor:
        """What `loss` divides by: sum(loss_i * normaliser_i) / sum(normaliser_i) is the loss of all parts."""

    def predict(self, outputs: Tensor) -> Tensor:
        """Probabilities: float32 [B, C]."""

    def metrics(self, probabilities: npt.ArrayLike, labels: npt.ArrayLike, loss: float) -> dict[str, float]:
        """Every metric of a split, `loss` among them, from all of its predictions."""


class SingleLabel:
    """Each item belongs to exactly one of the classes.

    Args:
        classes: class names, in the order of the outputs.
        criterion: the loss, a mean over items.
    """

    def __init__(self, classes: Sequence[str], criterion: MeanLoss) -> None:
        self.classes = tuple(classes)
        self.criterion = criterion

    def to(self, device: torch.device | str) -> Self:
        """Itself, with the class weights of its loss on `device`."""
        self.criterion.to(device)
        return self

    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """The criterion's mean over a batch: logits [B, C], int64 labels [B]; computed in float32."""
        loss: Tensor = self.criterion(outputs.float(), labels)
        return loss

    def normaliser(self, labels: Tensor) -> Tensor:
        """The number of items, or the sum of their class weights where the criterion divides by that."""
        return self.criterion.normaliser(labels)

    def predict(self, outputs: Tensor) -> Tensor:
        """The softmax of the logits: float32 [B, C], detached, rows summing to 1."""
        return torch.softmax(outputs.detach().float(), dim=1)

    def metrics(self, probabilities: npt.ArrayLike, labels: npt.ArrayLike, loss: float) -> dict[str, float]:
        """`loss`, and what `single_label_metrics` measures."""
        return {"loss": float(loss), **single_label_metrics(probabilities, labels)}
