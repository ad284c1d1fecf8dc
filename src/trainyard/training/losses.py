"""Loss functions as a config asks for them, and what each divides its mean by.

A mean over a batch is a sum divided by something: by the number of items, or by the sum of their
class weights. Gradients that are accumulated over micro-batches or processes equal those of one large
batch only if that something is known. Here it is found by trying the criterion out, not by trusting
its name, so that a user's own criterion is exact too, or is refused. Knows nothing of tasks or runs.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from trainyard.config.targets import build_target, target_accepts
from trainyard.errors import ConfigError, DataError

Weights = npt.NDArray[np.float64]


class MeanLoss(nn.Module):
    """A criterion whose value is a weighted mean over items, together with those weights.

    Args:
        criterion: takes logits float32 [B, C] and labels int64 [B] to a mean, a scalar.
        item_weights: float32 [C], how much an item of each class counts in that mean; None: all count 1.
    """

    item_weights: Tensor | None

    def __init__(self, criterion: nn.Module, item_weights: Tensor | None = None) -> None:
        super().__init__()
        self.criterion = criterion
        self.register_buffer("item_weights", item_weights)
        self._some_count_nothing = item_weights is not None and bool((item_weights == 0).any())

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The mean loss of a batch, a scalar; 0 for a batch of which nothing counts."""
        if self._some_count_nothing and not self.normaliser(labels) > 0:
            return logits.sum() * 0.0  # the criterion would divide 0 by 0
        loss: Tensor = self.criterion(logits, labels)
        return loss

    def normaliser(self, labels: Tensor) -> Tensor:
        """What `forward` divides by for these labels: float32, a scalar on their device.

        For any cut of a batch into parts, sum(loss_i * normaliser_i) / sum(normaliser_i) is the loss
        of the whole.
        """
        if self.item_weights is None:
            return torch.full((), float(len(labels)), device=labels.device)
        return self.item_weights[labels].sum()


def balanced_class_weights(labels: npt.ArrayLike, classes: Sequence[str]) -> Weights:
    """Weights that give every class the same say: items / (classes * items of the class), float64 [C].

    Args:
        labels: int [N], the training labels.
        classes: class names in label order.

    Raises:
        DataError: a class without a single item; its weight would be infinite.
    """
    counts = np.bincount(np.asarray(labels, dtype=np.int64), minlength=len(classes))
    empty = [classes[index] for index in np.flatnonzero(counts == 0).tolist()]
    if empty:
        raise DataError(
            f"training.class_weights=balanced has no weight for {', '.join(map(repr, empty))}: "
            "the training split has no item of it.",
            "Add items, choose another split, or set training.class_weights=none.",
        )
    return counts.sum() / (len(classes) * counts.astype(np.float64))


def class_weights(setting: str | Sequence[float], labels: npt.ArrayLike, classes: Sequence[str]) -> Weights | None:
    """The weight of each class, float64 [C], or None for no weights.

    Args:
        setting: `none`, `balanced`, or one number a class.
        labels: int [N], the training labels.
        classes: class names in label order.

    Raises:
        ConfigError: as many numbers as there are classes were not given, or one is no weight.
        DataError: `balanced` with an empty class.
    """
    if setting == "none":
        return None
    if setting == "balanced":
        return balanced_class_weights(labels, classes)
    if isinstance(setting, str):
        raise ConfigError([f"training.class_weights={setting!r} is not none, balanced or a list of numbers"])
    weights = np.asarray(setting, dtype=np.float64)
    if len(weights) != len(classes):
        raise ConfigError(
            [f"training.class_weights has {len(weights)} numbers, the data has {len(classes)} classes"],
            f"Give one for each class, in this order: {', '.join(classes)}.",
        )
    if not np.isfinite(weights).all() or (weights < 0).any() or not weights.any():
        raise ConfigError([f"training.class_weights={weights.tolist()} must be numbers of 0 or more, not all 0"])
    return weights


def build_criterion(
    target: Mapping[str, Any],
    *,
    n_classes: int,
    weights: Weights | None = None,
    label_smoothing: float = 0.0,
    trust: bool = False,
) -> MeanLoss:
    """The criterion of a `_target_` section, ready to be averaged exactly.

    Args:
        target: `{"_target_": "torch.nn.CrossEntropyLoss", **arguments}`; any module that takes logits
            float32 [B, C] and labels int64 [B] to a mean over the items.
        n_classes: C.
        weights: float [C], passed as `weight`.
        label_smoothing: passed when above 0.
        trust: accept a target outside the allow-list.

    Raises:
        ConfigError: a criterion that does not take what is asked of it, or that is not a mean.
        UnsafeTargetError: a target outside the allow-list.
    """
    name = target.get("_target_", "")
    given: dict[str, Any] = {}
    if weights is not None:
        given["weight"] = torch.as_tensor(weights, dtype=torch.float32)
    if label_smoothing:
        given["label_smoothing"] = float(label_smoothing)
    settings = {"weight": "training.class_weights", "label_smoothing": "training.label_smoothing"}
    problems = []
    for argument in given:
        if argument in target:
            problems.append(f"{settings[argument]} and training.criterion.{argument} are both set; keep one")
        elif not target_accepts(target, argument, trust=trust):
            problems.append(f"{settings[argument]} is set, but {name} takes no {argument!r}")
    if problems:
        raise ConfigError(problems, "Unset it, or use training.criterion._target_=torch.nn.CrossEntropyLoss.")
    # YAML has lists where criteria want tensors.
    if isinstance(target.get("weight"), list | tuple):
        given["weight"] = torch.tensor(target["weight"], dtype=torch.float32)
    criterion = build_target(target, trust=trust, **given)
    if not isinstance(criterion, nn.Module):
        raise ConfigError([f"training.criterion={name} is no torch.nn.Module"])
    if isinstance(criterion, nn.NLLLoss):
        # It would pass every test below, and train on numbers that are no log-probabilities.
        raise ConfigError(
            ["training.criterion=torch.nn.NLLLoss wants log-probabilities, models here give logits"],
            "Use torch.nn.CrossEntropyLoss, which is NLLLoss after a log-softmax.",
        )
    if any(True for _ in criterion.parameters()):
        raise ConfigError([f"training.criterion={name} has parameters of its own, which nothing would train"])
    return MeanLoss(criterion, _item_weights(criterion, name, n_classes))


def _item_weights(criterion: nn.Module, name: str, n_classes: int) -> Tensor | None:
    """What an item of each class counts in the criterion's mean, found by trying; None: 1 each.

    A batch is cut into three parts with different classes in them: the right weights put the losses of
    the parts together to the loss of the whole. If no candidate does, it is no mean over items.
    """
    weight = getattr(criterion, "weight", None)
    ignored = getattr(criterion, "ignore_index", None)
    counts = torch.ones(n_classes)
    if isinstance(weight, Tensor) and weight.shape == (n_classes,):
        counts = weight.detach().float().clone()
    if isinstance(ignored, int) and 0 <= ignored < n_classes:
        counts[ignored] = 0.0

    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(n_classes).repeat_interleave(5)
    heaviest = counts.argmax().reshape(1)  # in every part, so that none divides by 0
    cuts = (0, len(labels) // 6, len(labels) // 2, len(labels))
    parts = [torch.cat([heaviest, labels[start:stop]]) for start, stop in pairwise(cuts)]
    logits = [torch.randn(len(part), n_classes, generator=generator) for part in parts]
    trial = copy.deepcopy(criterion)  # a criterion with state must not have seen this
    try:
        with torch.no_grad(), warnings.catch_warnings(action="ignore"):
            whole = trial(torch.cat(logits), torch.cat(parts))
            losses = [trial(*part) for part in zip(logits, parts, strict=True)]
    except (RuntimeError, TypeError, ValueError, IndexError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(
            [f"training.criterion={name} cannot take logits [B, {n_classes}] and int labels [B]: {reason}"],
            "Use torch.nn.CrossEntropyLoss, or a criterion that is called like it.",
        ) from error
    if isinstance(whole, Tensor) and not whole.ndim:
        for candidate in (counts, None):
            each = torch.ones(n_classes) if candidate is None else candidate
            shares = torch.stack([each[part].sum() for part in parts])
            if torch.allclose((torch.stack(losses) * shares).sum() / shares.sum(), whole, rtol=1e-5, atol=1e-6):
                return None if candidate is None or bool((candidate == 1).all()) else candidate
    raise ConfigError(
        [f"training.criterion={name} is not a mean over the items of a batch"],
        "Accumulated gradients would not be those of one batch. Set its reduction to mean, or use a "
        "criterion that averages over its items.",
    )
