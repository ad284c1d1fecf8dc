"""The errors of a model: its most confident mistakes, and the labels that it confuses.

Works on saved predictions, with one label per item or a set of labels; knows no runs and no files. An item is a
mistake when its labels are not exactly right.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from trainyard.analysis.classification.predictions import Labels, Predictions

Sets = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Mistake:
    """An item whose labels are not right.

    Attributes:
        number: the item's row in the file, 0 for the first.
        item: its name or text.
        true: its labels, in class order.
        predicted: the predicted labels.
        label: the label with the most confident wrong decision.
        probability: its probability.
    """

    number: int
    item: str
    true: tuple[str, ...]
    predicted: tuple[str, ...]
    label: str
    probability: float


@dataclass(frozen=True)
class Mixup:
    """How often a label was missed and another was predicted instead.

    Attributes:
        true: the missed label; None: nothing was missed.
        predicted: the wrongly predicted label; None: nothing was.
        count: items with both.
        share: of the items that have `true`; None if `true` is None.
    """

    true: str | None
    predicted: str | None
    count: int
    share: float | None


def as_sets(labels: Labels, n: int) -> Sets:
    """Labels as bool [N, n], whether an item has one label or a set."""
    return labels.astype(np.bool_) if labels.ndim == 2 else labels[:, None] == np.arange(n)


def names_of(row: npt.NDArray[np.bool_], classes: tuple[str, ...]) -> tuple[str, ...]:
    """The labels of one item."""
    return tuple(classes[index] for index in np.flatnonzero(row))


def mistakes(labels: Labels, found: Predictions, *, label: int | None = None) -> list[Mistake]:
    """Every wrong item, the most confident mistake first; equal ones in the order of the file.

    With one label per item, the confidence is the probability of the wrong class. With several, it is that of the
    worst decision: the probability of a wrongly predicted label, or 1 minus that of a missed label.

    Args:
        labels: the true labels, in the form of `found`.
        found: the predictions.
        label: only items for which this class was wrongly predicted or missed.
    """
    n = len(found.classes)
    truth, chosen = as_sets(labels, n), as_sets(found.predicted, n)
    extra, missed = chosen & ~truth, truth & ~chosen
    confidence = np.where(extra, found.probabilities, -np.inf)
    if found.multi_label:
        confidence = np.where(missed, 1 - found.probabilities, confidence)
    worst, most = confidence.argmax(axis=1), confidence.max(axis=1)
    wrong = (extra | missed).any(axis=1) if label is None else (extra | missed)[:, label]
    numbers = np.flatnonzero(wrong)
    ordered = numbers[np.argsort(-most[numbers], kind="stable")]
    return [
        Mistake(
            number,
            found.items[number],
            names_of(truth[number], found.classes),
            names_of(chosen[number], found.classes),
            found.classes[worst[number]],
            float(str(found.probabilities[number, worst[number]])),
        )
        for number in ordered.tolist()
    ]


def mixups(labels: Labels, found: Predictions, *, label: int | None = None) -> list[Mixup]:
    """The pairs of labels that are confused, the most frequent first; equal ones in class order.

    An item counts for every pair of a missed and a wrongly predicted label. A label missed without a wrong one, or
    wrongly predicted without a missed one, is paired with None.

    Args:
        labels: the true labels, in the form of `found`.
        found: the predictions.
        label: only pairs with this class.
    """
    n = len(found.classes)
    truth, chosen = as_sets(labels, n), as_sets(found.predicted, n)
    extra, missed = chosen & ~truth, truth & ~chosen
    # A last column for "nothing", so that one product counts all pairs.
    missed_or_none = np.column_stack([missed, ~missed.any(axis=1)]).astype(np.int64)
    extra_or_none = np.column_stack([extra, ~extra.any(axis=1)]).astype(np.int64)
    counts = missed_or_none.T @ extra_or_none
    counts[n, n] = 0
    support = truth.sum(axis=0)
    names: tuple[str | None, ...] = (*found.classes, None)
    pairs = [
        Mixup(names[a], names[b], int(counts[a, b]), None if a == n else float(counts[a, b] / support[a]))
        for a, b in np.argwhere(counts).tolist()
        if label is None or label in (a, b)
    ]
    return sorted(pairs, key=lambda pair: -pair.count)
