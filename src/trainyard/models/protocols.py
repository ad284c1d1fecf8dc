"""Optional abilities of a network in addition to `forward`, as protocols to test with isinstance.

Callers test for an ability, never for the class of a network.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

from torch import Tensor, nn


@runtime_checkable
class SavesItself(Protocol):
    """A model whose checkpoints other libraries read, with the tensor names and further files that they expect.

    The names in files differ from those of the model's own `state_dict`.
    """

    def saved_name(self, name: str) -> str:
        """The name of a tensor in a file."""

    def is_adapter(self, name: str) -> bool:
        """Whether a tensor belongs to an adapter, which is saved in a separate file."""

    def extra_files(self) -> Mapping[str, str]:
        """Further files of a checkpoint that is a directory: name to text."""


@runtime_checkable
class HasHead(Protocol):
    """A model with a head on top of an encoder, which may have another learning rate."""

    def head_parameters(self) -> list[nn.Parameter]:
        """The parameters of the head."""


@runtime_checkable
class StartsAtPrior(Protocol):
    """A model whose initial outputs can be set to the frequency of each label."""

    def start_at_prior(self, log_odds: Tensor) -> None:
        """Sets the output's bias to the log-odds of each label, float [C]; for one label an item, to `log(p)`."""


@runtime_checkable
class HasLayerWeights(Protocol):
    """A model whose head is a weighted sum over the layers of its encoder."""

    def layer_weights(self) -> list[float]:
        """The weight of the input of the first layer and of the output of each; they sum to 1."""
