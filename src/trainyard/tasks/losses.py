"""Loss functions built from a config, and the divisor of each one's mean: the number of items, or the sum of their
class weights.

Gradients accumulated over micro-batches or processes equal those of one large batch only if that divisor is known.
Here it is found by trying the criterion out, not by trusting its name, so that a user's own criterion is either exact
or refused. So is one for the other kind of labels: one per item (int64 [B]), or any number (float32 [B, C], 0 or 1).
"""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from trainyard.config.targets import build_target, target_accepts
from trainyard.errors import ConfigError, DataError

Weights = npt.NDArray[np.float64]
_MOST_POSITIVE_WEIGHT = 100.0
_CRITERION = "training.criterion"
_WEIGHTS = "training.class_weights"


class MeanLoss(nn.Module):
    """A criterion whose value is a weighted mean over items, together with those weights.

    `criterion` maps logits float32 [B, C] and labels, int64 [B] or float32 [B, C], to their mean loss, a scalar.
    `item_weights`, float32 [C], are the weight of an item of each class in that mean; None: 1 each.
    """

    item_weights: Tensor | None

    def __init__(self, criterion: nn.Module, item_weights: Tensor | None = None) -> None:
        super().__init__()
        self.criterion = criterion
        self.register_buffer("item_weights", item_weights)
        self._has_zero_weights = item_weights is not None and bool((item_weights == 0).any())

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The mean loss of a batch, a scalar; 0 for a batch whose items all have weight 0."""
        if self._has_zero_weights and not self.normaliser(labels) > 0:
            return logits.sum() * 0.0  # the criterion would divide 0 by 0
        loss: Tensor = self.criterion(logits, labels)
        return loss

    def normaliser(self, labels: Tensor) -> Tensor:
        """The divisor of `forward`'s mean for these labels: float32, a scalar on their device.

        However a batch is split into parts, sum(loss_i * normaliser_i) / sum(normaliser_i) is the loss
        of the whole batch.
        """
        if self.item_weights is None:
            return torch.full((), float(len(labels)), device=labels.device)
        return self.item_weights[labels].sum()


class FocalLoss(nn.Module):
    """Binary cross-entropy that gives less weight to confident, correct predictions (Lin et al., 2017).

    With p_t the probability of the true side, equation 5: -alpha_t * (1 - p_t)^gamma * log(p_t). A gamma of 0 is plain
    binary cross-entropy; the paper's best is 2. A present label has the weight alpha, an absent one 1 - alpha; None: 1.
    """

    def __init__(self, gamma: float = 2.0, alpha: float | None = None) -> None:
        super().__init__()
        if not (math.isfinite(gamma) and gamma >= 0):
            raise ValueError(f"gamma must be 0 or more, not {gamma}")
        if alpha is not None and not 0 < alpha < 1:
            raise ValueError(f"alpha must be between 0 and 1, or None, not {alpha}")
        self.gamma = float(gamma)
        self.alpha = alpha

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The mean over items and labels, of logits and labels (0 or 1), float32 [B, C] both."""
        if labels.shape != logits.shape:
            raise ValueError(f"labels have shape {list(labels.shape)}, logits {list(logits.shape)}; they must be equal")
        # The logit of the true side: p_t = sigmoid(towards), 1 - p_t = sigmoid(-towards). Computed through
        # logarithms, so that neither rounds to 0 or 1.
        towards = torch.where(labels > 0, logits, -logits)
        loss = -functional.logsigmoid(towards) * torch.exp(self.gamma * functional.logsigmoid(-towards))
        if self.alpha is not None:
            loss = loss * (self.alpha * labels + (1 - self.alpha) * (1 - labels))
        return loss.mean()


def balanced_class_weights(labels: npt.ArrayLike, classes: Sequence[str]) -> Weights:
    """Weights that give every class the same influence: items / (classes * items of the class), float64 [C].

    `labels`, int [N], are those of the training split. A class without items, whose weight would be infinite, is a
    DataError.
    """
    counts = np.bincount(np.asarray(labels, dtype=np.int64), minlength=len(classes))
    empty = [classes[index] for index in np.flatnonzero(counts == 0).tolist()]
    if empty:
        raise _not_balanced(empty, "no item of the training split has the class")
    return counts.sum() / (len(classes) * counts.astype(np.float64))


def balanced_positive_weights(labels: npt.ArrayLike, classes: Sequence[str]) -> Weights:
    """Weights that give present labels the same influence as absent ones, label by label: negatives / positives.

    At most 100: beyond that, one item with a rare label outweighs the rest of a batch of usual size, and the
    step follows that item alone. `labels`, bool [N, C], are those of the training split. A label that no item has, or
    every item, is a DataError: one side would have weight 0.
    """
    truth = np.asarray(labels, dtype=np.bool_)
    positives = truth.sum(axis=0)
    for one_sided, owners in ((positives == 0, "no item"), (positives == len(truth), "every item")):
        if one_sided.any():
            names = [classes[index] for index in np.flatnonzero(one_sided).tolist()]
            raise _not_balanced(names, f"{owners} of the training split has the label")
    return np.minimum((len(truth) - positives) / positives, _MOST_POSITIVE_WEIGHT)


def _not_balanced(names: list[str], why: str) -> DataError:
    what = f"{_WEIGHTS}=balanced cannot weigh {', '.join(map(repr, names))}: {why}."
    remedy = f"Add items, choose another split, or set {_WEIGHTS}=none."
    return DataError(what, remedy, value=names, place=_WEIGHTS)


def class_weights(setting: str | Sequence[float], labels: npt.ArrayLike, classes: Sequence[str]) -> Weights | None:
    """The weight of each class, float64 [C], or None for no weights.

    Args:
        setting: `none`, `balanced`, or one number per class.
        labels: of the training split, int [N], or bool [N, C]: an absent label then has weight 1.
        classes: class names in label order.

    Raises:
        ConfigError: the number of weights is not the number of classes, or a weight is negative or not finite.
        DataError: `balanced` with an empty class, or with a label that every item has.
    """
    if setting == "none":
        return None
    if setting == "balanced":
        balanced = balanced_positive_weights if np.ndim(labels) == 2 else balanced_class_weights
        return balanced(labels, classes)
    if isinstance(setting, str):
        why, remedy = "is not none, balanced or a list of numbers", "Use none, balanced, or one number for each class."
        raise ConfigError.of(_WEIGHTS, setting, why, remedy)
    weights = np.asarray(setting, dtype=np.float64)
    if len(weights) != len(classes):
        why = f"has {len(weights)} numbers, the data has {len(classes)} classes"
        remedy = f"Give one for each class, in this order: {', '.join(classes)}."
        raise ConfigError.of(_WEIGHTS, weights.tolist(), why, remedy)
    if not np.isfinite(weights).all() or (weights < 0).any() or not weights.any():
        why = "are not finite numbers of 0 or more, at least one above 0"
        remedy = f"Give numbers of 0 or more, or set {_WEIGHTS}=none."
        raise ConfigError.of(_WEIGHTS, weights.tolist(), why, remedy)
    return weights


def build_criterion(
    target: Mapping[str, Any],
    *,
    n_classes: int,
    weights: Weights | None = None,
    label_smoothing: float = 0.0,
    multi_label: bool = False,
    trust: bool = False,
) -> MeanLoss:
    """The criterion of a `_target_` section, with what an exact average over micro-batches needs.

    Args:
        target: `{"_target_": "torch.nn.CrossEntropyLoss", **arguments}`; any module that maps logits
            float32 [B, C] and labels to a mean over the items.
        n_classes: C.
        weights: float [C], passed as `weight`, or as `pos_weight` with `multi_label`.
        label_smoothing: passed when above 0.
        multi_label: labels are float32 [B, C], not int64 [B].
        trust: accept a target outside the allow-list.

    Raises:
        ConfigError: a criterion that does not take the given arguments or labels, or that is not a mean.
        UnsafeTargetError: a target outside the allow-list.
    """
    name = target.get("_target_", "")
    weight = "pos_weight" if multi_label else "weight"
    usual = "training/criterion=bce" if multi_label else "training/criterion=cross_entropy"
    given: dict[str, Any] = {}
    if weights is not None:
        given[weight] = torch.as_tensor(weights, dtype=torch.float32)
    if label_smoothing:
        given["label_smoothing"] = float(label_smoothing)
    settings = {weight: "training.class_weights", "label_smoothing": "training.label_smoothing"}
    problems, keys = [], []
    for argument in given:
        setting, own = settings[argument], f"{_CRITERION}.{argument}"
        if argument in target:
            problems.append(f"{setting} and {own} are both set; keep one")
            keys += [setting, own]
        elif not target_accepts(target, argument, trust=trust):
            problems.append(f"{setting} is set, but {name} has no argument {argument!r}")
            keys += [setting, _CRITERION]
    if problems:
        raise ConfigError(problems, f"Unset it, or use {usual}.", keys=keys)
    # YAML has lists where criteria need tensors.
    for argument in ("weight", "pos_weight"):
        if isinstance(target.get(argument), list | tuple):
            given[argument] = torch.tensor(target[argument], dtype=torch.float32)
    criterion = build_target(target, trust=trust, **given)
    if not isinstance(criterion, nn.Module):
        remedy = f"Use {usual}, or another subclass of torch.nn.Module."
        raise ConfigError.of(_CRITERION, name, "is not a torch.nn.Module", remedy)
    if isinstance(criterion, nn.NLLLoss):
        # It would pass every check below, and train on logits as if they were log-probabilities.
        remedy = "Use torch.nn.CrossEntropyLoss, which is NLLLoss after a log-softmax."
        raise ConfigError.of(_CRITERION, name, "needs log-probabilities, but models return logits", remedy)
    if any(True for _ in criterion.parameters()):
        remedy = f"Use {usual}, or make the parameters buffers."
        raise ConfigError.of(_CRITERION, name, "has parameters of its own, which would not be trained", remedy)
    trial = copy.deepcopy(criterion)  # trials must not change the state of the criterion that trains
    if multi_label:
        _try_label_sets(trial, name, n_classes)
        return MeanLoss(criterion)
    return MeanLoss(criterion, _item_weights(trial, name, n_classes))


def _item_weights(criterion: nn.Module, name: str, n_classes: int) -> Tensor | None:
    """The weight of an item of each class in the criterion's mean, found by trying; None: 1 each.

    A batch is split into three parts with different classes in them: with the right weights, the losses of the
    parts add up to the loss of the whole. If no candidate does that, the criterion is not a mean over items.
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
    with torch.no_grad(), _refusing(name, f"int labels [B] where C is {n_classes}", "cross_entropy"):
        whole = criterion(torch.cat(logits), torch.cat(parts))
        losses = [criterion(*part) for part in zip(logits, parts, strict=True)]
    for candidate in (counts, None):
        each = torch.ones(n_classes) if candidate is None else candidate
        if _add_up(whole, losses, [each[part].sum() for part in parts]):
            return None if candidate is None or bool((candidate == 1).all()) else candidate
    raise _not_a_mean(name)


def _try_label_sets(criterion: nn.Module, name: str, n_classes: int) -> None:
    """Checks that a criterion is a mean over items with float32 labels [B, C], and is made for them.

    Cross-entropy and squared errors accept such labels too, but optimise something else: with them, raising the
    logit of a present label, or lowering that of an absent one, can raise the loss. That must never happen here.
    """
    generator = torch.Generator().manual_seed(0)
    sizes = (3, 8, 21)
    logits = 3 * torch.rand(sum(sizes), n_classes, generator=generator) - 1.5
    labels = (torch.rand(sum(sizes), n_classes, generator=generator) < 0.5).float()
    labels[0], labels[-1] = 0.0, 1.0  # any number of labels: none, and all
    logits.requires_grad_()
    taken = f"float labels [B, C] where C is {n_classes}"
    with torch.enable_grad(), _refusing(name, taken, "bce"):
        whole = criterion(logits, labels)
        losses = [criterion(*part) for part in zip(logits.split(sizes), labels.split(sizes), strict=True)]
    if not _add_up(whole, losses, [torch.tensor(float(size)) for size in sizes]):
        raise _not_a_mean(name)
    with _refusing(name, taken, "bce"):
        (slope,) = torch.autograd.grad(whole, logits)
    present, absent = slope[labels > 0], slope[labels == 0]
    if (present > 0).any() or (absent < 0).any() or not (present.any() and absent.any()):
        why = "is not made for items with several labels, as this data has"
        raise ConfigError.of(_CRITERION, name, why, "Use training/criterion=bce or training/criterion=focal.")


@contextmanager
def _refusing(name: str, labels: str, usual: str) -> Iterator[None]:
    """Turns what a criterion raises for labels that it cannot take into a ConfigError."""
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    except (RuntimeError, TypeError, ValueError, IndexError) as error:
        why = f"cannot take logits [B, C] and {labels}: {str(error).splitlines()[0]}"
        remedy = f"Use training/criterion={usual}, or a criterion with the same call signature."
        raise ConfigError.of(_CRITERION, name, why, remedy) from error


def _add_up(whole: object, losses: Sequence[Tensor], shares: Sequence[Tensor]) -> bool:
    """Whether the losses of the parts, weighted by their shares, give the loss of the whole."""
    if not isinstance(whole, Tensor) or whole.ndim:
        return False
    weights = torch.stack(list(shares))
    together = (torch.stack(list(losses)) * weights).sum() / weights.sum()
    return torch.allclose(together, whole, rtol=1e-5, atol=1e-6)


def _not_a_mean(name: str) -> ConfigError:
    remedy = (
        "Accumulated gradients would differ from those of one batch. Set its reduction to mean, or use a "
        "criterion that averages over its items."
    )
    return ConfigError.of(_CRITERION, name, "is not a mean over the items of a batch", remedy)
