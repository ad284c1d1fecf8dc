"""A check that every trainable weight gets a gradient at the first step.

Otherwise a weight that the network never uses goes unnoticed: the loss falls, and a run reports metrics of a
fine-tuning that did not happen. Knows nothing of how weights were chosen for training.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from torch import nn

from trainyard.errors import ConfigError
from trainyard.wording import listed


@runtime_checkable
class ExpectsZeros(Protocol):
    """A model that knows which of its gradients are zero at first, because of how it was initialised."""

    def expects_zero_gradient(self, name: str) -> bool:
        """Whether the first gradient of this parameter should be zero."""


def check_gradients(model: nn.Module) -> None:
    """Checks that every trainable parameter of the bare model has a gradient, after backward.

    Gradients of zeros also occur with dead units or empty inputs, so they are a fault only in a model that says
    which zeros it expects (`ExpectsZeros`).

    Raises:
        ConfigError: parameters without a gradient; `keys` holds their names.
    """
    trainable = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
    absent = [name for name, parameter in trainable if parameter.grad is None]
    zero = []
    if isinstance(model, ExpectsZeros):
        zeros = [name for name, parameter in trainable if parameter.grad is not None and not parameter.grad.any()]
        zero = [name for name in zeros if not model.expects_zero_gradient(name)]
    if absent or zero:
        found = (("got no gradient", absent), ("got a gradient of zeros", zero))
        parts = " and ".join(f"{len(names)} {what} ({listed(names, 4)})" for what, names in found if names)
        raise ConfigError(
            [f"of {len(trainable)} trainable weights, {parts}: the network does not use them"],
            "Change what is trained: for a speech encoder, model.method, model.layers or model.lora_targets; for a "
            "text encoder, model.path.",
            keys=[*absent, *zero],
        )
