"""Changes from one model to another on the same items: which predictions flipped, and of which classes.

Works on saved predictions; knows no runs and no files. Items are paired by name or text; equal ones by their
order.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, replace

import numpy as np

from trainyard.analysis.classification.errors import as_sets, names_of
from trainyard.analysis.classification.predictions import Labels, Predictions
from trainyard.errors import DataError
from trainyard.wording import listed


@dataclass(frozen=True)
class Flip:
    """An item for which the two models predict different labels.

    Attributes:
        number: its row in the first file, 0 for the first.
        item: its name or text.
        true: its labels, in class order.
        first: the labels that the first model predicts.
        second: the labels that the second model predicts.
        change: `broken` (only the first is right), `fixed` (only the second is right) or `other` (both are wrong).
    """

    number: int
    item: str
    true: tuple[str, ...]
    first: tuple[str, ...]
    second: tuple[str, ...]
    change: str


@dataclass(frozen=True)
class ClassFlips:
    """The changes for one class.

    With one label per item, they are counted over the items of the class. With several, they are counted over the
    decisions whether an item has the label, so a removed false positive also counts as fixed.
    """

    label: str
    support: int  # items of the class
    broken: int  # right -> wrong
    fixed: int  # wrong -> right


def paired(first: Predictions, second: Predictions) -> tuple[Labels, Predictions, Predictions]:
    """The true labels, and both predictions with the items and classes in the first one's order.

    Raises:
        DataError: their items, labels or classes differ; `value` holds the differences.
    """
    remedy = "Compare runs of the same data and split."
    if first.labels is None or second.labels is None:
        side = "first" if first.labels is None else "second"
        raise DataError("Predictions without true labels cannot be compared.", remedy, place=side)
    if first.multi_label != second.multi_label:
        kinds = ["several labels" if found.multi_label else "one label" for found in (first, second)]
        raise DataError(f"Items have {kinds[0]} in the first run, {kinds[1]} in the second.", remedy, value=kinds)
    odd = [name for name in (*first.classes, *second.classes) if (name in first.classes) != (name in second.classes)]
    if odd:
        raise DataError(
            f"The two runs have different classes: only one of them has {listed([repr(name) for name in odd], 5)}.",
            remedy,
            value=odd,
        )
    rows = _rows(first, second, remedy)
    order = [second.classes.index(name) for name in first.classes]
    aligned = replace(
        second,
        items=first.items,
        classes=first.classes,
        labels=_reordered(second.labels, rows, order),
        predicted=_reordered(second.predicted, rows, order),
        probabilities=second.probabilities[rows][:, order],
    )
    assert aligned.labels is not None
    differing = np.flatnonzero(as_sets(first.labels, len(order)) != as_sets(aligned.labels, len(order)))
    if len(differing):
        number = int(differing[0] // len(order))
        sets = [
            ", ".join(names_of(as_sets(labels, len(order))[number], first.classes)) or "no label"
            for labels in (first.labels, aligned.labels)
        ]
        raise DataError(
            f"The two runs have different true labels: {_short(first.items[number])} is {sets[0]} in the first, "
            f"{sets[1]} in the second.",
            remedy,
            value=sets,
            place=first.items[number],
        )
    return first.labels, first, aligned


def _rows(first: Predictions, second: Predictions, remedy: str) -> list[int]:
    """The row of the second file for each of the first."""
    if first.items == second.items:
        return list(range(len(first.items)))
    counts = Counter(first.items), Counter(second.items)
    unmatched = [list((one - other).elements()) for one, other in (counts, counts[::-1])]
    if unmatched[0] or unmatched[1]:
        phrases = [
            f"{len(items):,} only in the {which}, such as {_short(items[0])}"
            for items, which in zip(unmatched, ("first", "second"), strict=True)
            if items
        ]
        raise DataError(
            f"The two predictions have different items ({len(first.items):,} and {len(second.items):,}): "
            f"{'; '.join(phrases)}.",
            remedy,
            value=unmatched,
        )
    places = defaultdict[str, list[int]](list)
    for row in reversed(range(len(second.items))):
        places[second.items[row]].append(row)
    return [places[item].pop() for item in first.items]


def _reordered(labels: Labels, rows: list[int], order: list[int]) -> Labels:
    if labels.ndim == 2:
        return labels[rows][:, order]
    return np.argsort(np.array(order, dtype=np.int64))[labels[rows].astype(np.int64)]


def flips(labels: Labels, first: Predictions, second: Predictions, *, label: int | None = None) -> list[Flip]:
    """Every item whose prediction changed: broken, then fixed, then other ones; each in the file's order.

    Args:
        labels: the true labels.
        first: from `paired`.
        second: from `paired`.
        label: only items for which exactly one of the two predicts this class.
    """
    n = len(first.classes)
    truth, one, other = (as_sets(each, n) for each in (labels, first.predicted, second.predicted))
    right = [(chosen == truth).all(axis=1) for chosen in (one, other)]
    changed = (one != other).any(axis=1) if label is None else one[:, label] != other[:, label]
    found = []
    for number in np.flatnonzero(changed).tolist():
        change = "broken" if right[0][number] else "fixed" if right[1][number] else "other"
        true, before, after = (names_of(rows[number], first.classes) for rows in (truth, one, other))
        found.append(Flip(number, first.items[number], true, before, after, change))
    return sorted(found, key=lambda flip: ("broken", "fixed", "other").index(flip.change))


def by_class(labels: Labels, first: Predictions, second: Predictions) -> list[ClassFlips]:
    """The changes for each class, in class order."""
    n = len(first.classes)
    truth, one, other = (as_sets(each, n) for each in (labels, first.predicted, second.predicted))
    before, after = one == truth, other == truth
    if labels.ndim == 1:  # a prediction of an item counts for its true class
        before, after = truth & before.all(axis=1, keepdims=True), truth & after.all(axis=1, keepdims=True)
    columns = zip(
        first.classes, truth.sum(axis=0), (before & ~after).sum(axis=0), (after & ~before).sum(axis=0), strict=True
    )
    return [ClassFlips(name, int(support), int(broken), int(fixed)) for name, support, broken, fixed in columns]


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:59] + "…")
