"""What a network is trained to say: the loss of its outputs, predictions from them, and their metrics.

The loop, the evaluation and the checkpoints take any `Task`, and are the same for all. A task holds no
network and no data, and knows nothing of devices beyond where its loss lies.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from trainyard.analysis.classification.decisions import ARGMAX, Decision, Mode, tune
from trainyard.analysis.classification.metrics import multi_label_metrics, single_label_metrics
from trainyard.errors import ConfigError
from trainyard.tasks.losses import MeanLoss


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

    def tune(self, probabilities: npt.ArrayLike, labels: npt.ArrayLike) -> tuple[Decision, list[str]]:
        """How to make labels of probabilities, from all of validation, and what validation could not decide."""

    def untuned(self) -> Decision:
        """How to make labels of probabilities where there is no validation."""

    def metrics(
        self, probabilities: npt.ArrayLike, labels: npt.ArrayLike, loss: float, decision: Decision | None = None
    ) -> dict[str, float]:
        """Every metric of a split, `loss` among them, from all of its predictions; `untuned` without a decision."""


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

    def tune(self, probabilities: npt.ArrayLike, labels: npt.ArrayLike) -> tuple[Decision, list[str]]:
        """The most probable class, always."""
        return ARGMAX, []

    def untuned(self) -> Decision:
        """The most probable class."""
        return ARGMAX

    def metrics(
        self, probabilities: npt.ArrayLike, labels: npt.ArrayLike, loss: float, decision: Decision | None = None
    ) -> dict[str, float]:
        """`loss`, and what `single_label_metrics` measures."""
        if decision not in (None, ARGMAX):
            raise ValueError(f"items with exactly one label cannot be decided by {decision}")
        return {"loss": float(loss), **single_label_metrics(probabilities, labels)}


class MultiLabel:
    """Each item has any number of the labels, or none.

    Args:
        classes: label names, in the order of the outputs.
        criterion: the loss, a mean over items; labels are float32 [B, C].
        mode: how `tune` makes labels of probabilities: per_class, global, top_k or fixed.
        value: the threshold of fixed.
        k: how many labels top_k chooses; None: tuned.

    Raises:
        ConfigError: more labels an item than there are, or fewer than one.
    """

    def __init__(
        self,
        classes: Sequence[str],
        criterion: MeanLoss,
        *,
        mode: Mode = "per_class",
        value: float = 0.5,
        k: int | None = None,
    ) -> None:
        if k is not None and not 1 <= k <= len(classes):
            raise ConfigError(
                [f"training.thresholds.k is {k}, it must be from 1 to {len(classes)}, the labels there are"]
            )
        self.classes = tuple(classes)
        self.criterion = criterion
        self._mode, self._value, self._k = mode, value, k

    def to(self, device: torch.device | str) -> Self:
        """Itself, with the weights of its loss on `device`."""
        self.criterion.to(device)
        return self

    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """The criterion's mean over a batch: logits and labels, [B, C] both; computed in float32."""
        loss: Tensor = self.criterion(outputs.float(), labels.float())
        return loss

    def normaliser(self, labels: Tensor) -> Tensor:
        """The number of items."""
        return self.criterion.normaliser(labels)

    def predict(self, outputs: Tensor) -> Tensor:
        """The sigmoid of the logits: float32 [B, C], detached, each between 0 and 1."""
        return torch.sigmoid(outputs.detach().float())

    def tune(self, probabilities: npt.ArrayLike, labels: npt.ArrayLike) -> tuple[Decision, list[str]]:
        """Thresholds, or the number of labels, as the constructor was asked for; see `decisions.tune`."""
        return tune(probabilities, labels, self._mode, self.classes, value=self._value, k=self._k)

    def untuned(self) -> Decision:
        """Thresholds of 0.5, or the one of fixed; for top_k the number asked for, else one label an item."""
        nothing = np.empty((0, len(self.classes)))
        return self.tune(nothing, nothing)[0]

    def metrics(
        self, probabilities: npt.ArrayLike, labels: npt.ArrayLike, loss: float, decision: Decision | None = None
    ) -> dict[str, float]:
        """`loss`, and what `multi_label_metrics` measures of the labels that `decision` chooses."""
        chosen = (decision or self.untuned()).choose(probabilities)
        return {"loss": float(loss), **multi_label_metrics(probabilities, chosen, labels)}
