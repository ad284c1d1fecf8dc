"""The errors of a model: its most confident mistakes, and the labels that it confuses.

An item has one label or a set of labels, and is a mistake when they are not exactly right.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from trainyard.analysis.classification.predictions import Labels, Predictions

Sets = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Mistake:
    """An item whose labels are not right."""

    number: int  # the item's row in the file, 0 for the first
    item: str  # its name or text
    true: tuple[str, ...]  # in class order
    predicted: tuple[str, ...]
    label: str  # with the most confident wrong decision
    probability: float  # of that label


@dataclass(frozen=True)
class Mixup:
    """How often a label was missed and another was predicted instead."""

    true: str | None  # the missed label; None: nothing was missed
    predicted: str | None  # the wrongly predicted label; None: nothing was
    count: int  # items with both
    share: float | None  # of the items that have `true`; None if `true` is None


def as_sets(labels: Labels, n: int) -> Sets:
    """Labels as bool [N, n], whether an item has one label or a set."""
    return labels.astype(np.bool_) if labels.ndim == 2 else labels[:, None] == np.arange(n)


def names_of(row: npt.NDArray[np.bool_], classes: tuple[str, ...]) -> tuple[str, ...]:
    """The labels of one item."""
    return tuple(classes[index] for index in np.flatnonzero(row))


def mistakes(labels: Labels, found: Predictions, *, label: int | None = None) -> list[Mistake]:
    """Every wrong item, the most confident mistake first; equal ones in the order of the file.

    With one label per item, the confidence is the probability of the wrong class. With several, it is that of the
    worst decision: the probability of a wrongly predicted label, or 1 minus that of a missed label. With `label`, only
    items for which this class was wrongly predicted or missed.
    """
    truth, chosen = (as_sets(each, len(found.classes)) for each in (labels, found.predicted))
    extra, missed = chosen & ~truth, truth & ~chosen
    confidence = np.where(extra, found.probabilities, -np.inf)
    if found.multi_label:
        confidence = np.where(missed, 1 - found.probabilities, confidence)
    worst, most = confidence.argmax(axis=1), confidence.max(axis=1)
    wrong = (extra | missed).any(axis=1) if label is None else (extra | missed)[:, label]
    numbers = np.flatnonzero(wrong)
    ordered = numbers[np.argsort(-most[numbers], kind="stable")]
    mistaken = []
    for number in ordered.tolist():
        true, predicted = (names_of(each[number], found.classes) for each in (truth, chosen))
        at = worst[number]
        probability = float(str(found.probabilities[number, at]))  # in the digits of the file
        mistaken.append(Mistake(number, found.items[number], true, predicted, found.classes[at], probability))
    return mistaken


def mixups(labels: Labels, found: Predictions, *, label: int | None = None) -> list[Mixup]:
    """The pairs of labels that are confused, the most frequent first; equal ones in class order.

    An item counts for every pair of a missed and a wrongly predicted label. A label missed without a wrong one, or
    wrongly predicted without a missed one, is paired with None. With `label`, only pairs with this class.
    """
    n = len(found.classes)
    truth, chosen = as_sets(labels, n), as_sets(found.predicted, n)
    extra, missed = chosen & ~truth, truth & ~chosen
    # A last column for "nothing", so that one product counts all pairs.
    missed, extra = (np.column_stack([each, ~each.any(axis=1)]) for each in (missed, extra))
    counts = missed.astype(np.int64).T @ extra.astype(np.int64)
    counts[n, n] = 0
    support = truth.sum(axis=0)
    names: tuple[str | None, ...] = (*found.classes, None)
    pairs = [
        Mixup(names[a], names[b], int(counts[a, b]), None if a == n else float(counts[a, b] / support[a]))
        for a, b in np.argwhere(counts).tolist()
        if label is None or label in (a, b)
    ]
    return sorted(pairs, key=lambda pair: -pair.count)
