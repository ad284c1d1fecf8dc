"""What a network is trained for, as the loop, the evaluation and the checkpoints see it: a `Task`.

A task holds no network and no data. Its torch half is here: the loss and the predictions of outputs. Metrics,
decisions, and how predictions are stored and verified belong to its `Scoring`, which does not import torch.
"""

from __future__ import annotations

from typing import Protocol, Self

import torch
from torch import Tensor

from trainyard.analysis.scoring import Scoring


class Task(Protocol):
    """Everything in training that depends on what the outputs mean."""

    @property
    def scoring(self) -> Scoring:
        """The half that needs no torch."""

    def to(self, device: torch.device | str) -> Self:
        """Itself, with any tensors of its loss on `device`."""

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The mean loss of a batch, a scalar with a gradient."""

    def normaliser(self, targets: Tensor) -> Tensor:
        """The divisor of `loss`'s mean: sum(loss_i * normaliser_i) / sum(normaliser_i) is the loss of all parts."""

    def predict(self, outputs: Tensor) -> dict[str, Tensor]:
        """The columns of a prediction by name, detached: each [B, ...]. Their names are the scoring's."""

    def prior(self, targets: Tensor) -> Tensor | None:
        """The outputs, float32 [C], of an untrained network, from the training split's targets; None: unknown."""
