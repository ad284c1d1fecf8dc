"""What a network is trained to say, as the loop, the evaluation and the checkpoints see it: any `Task`.

A task holds no network and no data. Its torch half is here: the loss and the predictions of outputs. What
predictions are worth, how they are decided, kept and checked is its `Scoring`, which needs no torch.
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
        """What `loss` divides by: sum(loss_i * normaliser_i) / sum(normaliser_i) is the loss of all parts."""

    def predict(self, outputs: Tensor) -> dict[str, Tensor]:
        """The columns of a prediction by name, detached: each [B, ...]. Their names are the scoring's."""

    def prior(self, targets: Tensor) -> Tensor | None:
        """What the outputs of a network that has seen nothing should be, float32 [C]; None: nothing is known.

        Args:
            targets: of the training split.
        """
