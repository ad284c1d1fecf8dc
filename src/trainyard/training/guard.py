"""Proof that what should train does: every trainable weight gets a gradient at the first step.

A weight that the network never uses is not noticed otherwise: the loss falls, and a run reports the
figures of a fine-tuning that did not happen. It knows nothing of how weights came to be trainable.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from torch import nn

from trainyard.errors import ConfigError


@runtime_checkable
class ExpectsZeros(Protocol):
    """A model that knows which of its gradients are zero at first, because of how it was initialised."""

    def expects_zero_gradient(self, name: str) -> bool:
        """Whether the first gradient of this parameter is rightly zero."""


def check_gradients(model: nn.Module) -> None:
    """Returns when every trainable parameter has a gradient. Call it after a backward, before the gradients go.

    A gradient of zeros is one where units are dead or an input is empty; it is held against a model only
    if that says which zeros it expects (`ExpectsZeros`).

    Raises:
        ConfigError: parameters without a gradient; names them.
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
            f"{len(names)} {what} ({', '.join(names[:4])}{', …' if len(names) > 4 else ''})"
            for what, names in (("got no gradient", absent), ("got a gradient of zeros", zero))
            if names
        ]
        raise ConfigError(
            [f"of {len(trainable)} weights that should train, {' and '.join(parts)}: the network does not use them"],
            "Change what is trained: for a speech encoder model.method, model.layers or model.lora_targets; for a text "
            "encoder, another model.path.",
        )


class GradientGuard:
    """`check_gradients` the first time it is called, and nothing after that."""

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
