"""Classes, in torch: items with exactly one label each, and items with any number of labels."""

from __future__ import annotations

from typing import Self

import torch
from torch import Tensor

from trainyard.analysis.classification import scoring
from trainyard.analysis.classification.scoring import PROBABILITIES
from trainyard.tasks.losses import MeanLoss


class _Classification:
    """The base of both tasks; `criterion` is the loss, a mean over items, or None for a task that only predicts."""

    def __init__(self, criterion: MeanLoss | None) -> None:
        self.criterion = criterion

    def to(self, device: torch.device | str) -> Self:
        """Itself, with the class weights of its loss on `device`."""
        if self.criterion is not None:
            self.criterion.to(device)
        return self

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The criterion's mean over a batch, computed in float32."""
        assert self.criterion is not None
        loss: Tensor = self.criterion(outputs.float(), targets)
        return loss

    def normaliser(self, targets: Tensor) -> Tensor:
        """The number of items, or the sum of their class weights where the criterion divides by that."""
        assert self.criterion is not None
        return self.criterion.normaliser(targets)


class SingleLabel(_Classification):
    """Each item belongs to exactly one of the classes. Outputs are logits [B, C], targets int64 [B]."""

    def __init__(self, scoring: scoring.SingleLabel, criterion: MeanLoss | None = None) -> None:
        super().__init__(criterion)
        self.scoring = scoring

    def predict(self, outputs: Tensor) -> dict[str, Tensor]:
        """`probabilities`: the softmax of the logits, float32 [B, C], rows summing to 1."""
        return {PROBABILITIES: torch.softmax(outputs.detach().float(), dim=1)}

    def prior(self, targets: Tensor) -> Tensor:
        """The logarithm of each class's share. One item of each class is added, so that no share is 0."""
        counts = torch.bincount(targets, minlength=len(self.scoring.classes)) + 1
        return (counts.double() / counts.sum()).log().float()


class MultiLabel(_Classification):
    """Each item has any number of the labels, or none. Outputs are logits, targets 0 or 1, [B, C] both."""

    def __init__(self, scoring: scoring.MultiLabel, criterion: MeanLoss | None = None) -> None:
        super().__init__(criterion)
        self.scoring = scoring

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The criterion's mean over a batch, computed in float32."""
        return super().loss(outputs, targets.float())

    def predict(self, outputs: Tensor) -> dict[str, Tensor]:
        """`probabilities`: the sigmoid of the logits, float32 [B, C], each between 0 and 1."""
        return {PROBABILITIES: torch.sigmoid(outputs.detach().float())}

    def prior(self, targets: Tensor) -> Tensor:
        """The log-odds of each label. One item with and one without each label are added: no share is 0 or 1."""
        shares = (targets.double().sum(dim=0) + 1) / (len(targets) + 2)
        return (shares / (1 - shares)).log().float()
