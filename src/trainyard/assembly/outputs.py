"""Whether a network of the user's own fits the data: seen on one item, before there is a run."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from trainyard.data.batches import Batches
from trainyard.data.dataset import Dataset
from trainyard.errors import ConfigError
from trainyard.training.evaluate import infer


def check_outputs(model: nn.Module, dataset: Dataset, device: torch.device, *, classes: int | None) -> None:
    """Raises ConfigError where the model refuses the first item, or has another number of outputs than classes.

    Args:
        model: on `device`.
        dataset: what it is for.
        device: where it computes.
        classes: how many there are; None: the task is the user's own, and says itself what it takes.
    """
    batches = Batches(dataset, dataset.indices("train")[:1], 1, shuffle=False, seed=0, device=device)
    taken = f"an item of shape {dataset.item_shape}"
    try:
        found: list[Any] = [outputs for _, outputs in infer(model, batches.epoch(0), "fp32", device)]
    except (RuntimeError, TypeError, ValueError) as error:
        raise ConfigError(
            [f"the model refuses {taken}: {(str(error).splitlines() or ['?'])[0]}"],
            "Change its arguments, or the shape and the type of the items.",
            keys=["model"],
        ) from error
    for outputs in found:  # of the one item; none where there is no train split
        shape = tuple(outputs.shape) if isinstance(outputs, torch.Tensor) else type(outputs).__name__
        if isinstance(shape, str) or (classes is not None and shape != (1, classes)):
            wanted = "a tensor" if classes is None else f"a tensor of shape (1, {classes}), one output for each class"
            raise ConfigError(
                [f"the model returns {shape} for {taken}, expected {wanted}"],
                "Change its last layer, or the classes; other outputs need a task of your own.",
                keys=["model"],
            )
