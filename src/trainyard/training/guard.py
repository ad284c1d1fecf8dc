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
    """Checks that every trainable parameter has a gradient. Call it after backward, before gradients are cleared.

    Gradients of zeros also occur with dead units or empty inputs, so they are a fault only in a model that says
    which zeros it expects (`ExpectsZeros`).

    Raises:
        ConfigError: parameters without a gradient; `keys` holds their names.
    """
    trainable = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
    absent = [name for name, parameter in trainable if parameter.grad is None]
    zero = []
    if isinstance(model, ExpectsZeros):
        zero = [
            name
            for name, parameter in trainable
            if parameter.grad is not None and not model.expects_zero_gradient(name) and not parameter.grad.any()
        ]
    if absent or zero:
        parts = [
            f"{len(names)} {what} ({listed(names, 4)})"
            for what, names in (("got no gradient", absent), ("got a gradient of zeros", zero))
            if names
        ]
        raise ConfigError(
            [f"of {len(trainable)} trainable weights, {' and '.join(parts)}: the network does not use them"],
            "Change what is trained: for a speech encoder, model.method, model.layers or model.lora_targets; for a "
            "text encoder, model.path.",
            keys=[*absent, *zero],
        )


class GradientGuard:
    """Runs `check_gradients` the first time it is called, and does nothing after that."""

    def __init__(self) -> None:
        self._done = False

    def __call__(self, model: nn.Module) -> None:
        """Checks the bare model, not one wrapped for several processes.

        Raises:
            ConfigError: at the first call, as `check_gradients`.
        """
        if not self._done:
            check_gradients(model)
            self._done = True
