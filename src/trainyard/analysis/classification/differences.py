"""What changed from one model to another on the same items: which predictions flipped, and of which classes.

Works on predictions as they were saved; knows no runs and no files. Items are paired by name or text; where
several have the same, by their order.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, replace

import numpy as np

from trainyard.analysis.classification.errors import as_sets, names_of
from trainyard.analysis.classification.predictions import Labels, Predictions
from trainyard.errors import DataError


@dataclass(frozen=True)
class Flip:
    """An item that the two models do not predict alike.

    Attributes:
        number: its row in the first file, 0 for the first.
        item: its name or text.
        true: its labels, in class order.
        first: those that the first model chose.
        second: those that the second chose.
        change: `broken` (right before), `fixed` (right now) or `other` (wrong in another way).
    """

    number: int
    item: str
    true: tuple[str, ...]
    first: tuple[str, ...]
    second: tuple[str, ...]
    change: str


@dataclass(frozen=True)
class ClassFlips:
    """What changed for one class.

    With one label an item these are items of the class. With several they are decisions whether an item has the
    label: a false alarm that is gone counts as fixed, too.
    """

    label: str
    support: int  # items of the class
    broken: int  # right -> wrong
    fixed: int  # wrong -> right


def paired(first: Predictions, second: Predictions) -> tuple[Labels, Predictions, Predictions]:
    """The true labels, and both predictions over the same items in the first one's order, of classes in its order.

    Raises:
        DataError: they are not of the same items, labels or classes; says what differs.
    """
    remedy = "Compare runs of the same data and split."
    if first.labels is None or second.labels is None:
        raise DataError("Predictions without true labels cannot be compared.", remedy)
    if first.multi_label != second.multi_label:
        kinds = ["several labels" if found.multi_label else "one label" for found in (first, second)]
        raise DataError(f"The first run gives an item {kinds[0]}, the second {kinds[1]}.", remedy)
    odd = [name for name in (*first.classes, *second.classes) if (name in first.classes) != (name in second.classes)]
    if odd:
        raise DataError(f"The two runs have other classes: only one of them has {_listed(odd)}.", remedy)
    rows = _rows(first, second, remedy)
    order = [second.classes.index(name) for name in first.classes]
    there = replace(
        second,
        items=first.items,
        classes=first.classes,
        labels=_reordered(second.labels, rows, order),
        predicted=_reordered(second.predicted, rows, order),
        probabilities=second.probabilities[rows][:, order],
    )
    assert there.labels is not None
    differing = np.flatnonzero(as_sets(first.labels, len(order)) != as_sets(there.labels, len(order)))
    if len(differing):
        number = int(differing[0] // len(order))
        sets = [
            ", ".join(names_of(as_sets(labels, len(order))[number], first.classes)) or "no label"
            for labels in (first.labels, there.labels)
        ]
        raise DataError(
            f"The two runs have other true labels: {_short(first.items[number])} is {sets[0]} in the first, "
            f"{sets[1]} in the second.",
            remedy,
        )
    return first.labels, first, there


def _rows(first: Predictions, second: Predictions, remedy: str) -> list[int]:
    """The row of the second file for each of the first."""
    if first.items == second.items:
        return list(range(len(first.items)))
    counts = Counter(first.items), Counter(second.items)
    lacking = [list((one - other).elements()) for one, other in (counts, counts[::-1])]
    if lacking[0] or lacking[1]:
        said = [
            f"{len(items):,} only in the {which}, such as {_short(items[0])}"
            for items, which in zip(lacking, ("first", "second"), strict=True)
            if items
        ]
        raise DataError(
            f"The two predictions are not of the same items ({len(first.items):,} and {len(second.items):,}): "
            f"{'; '.join(said)}.",
            remedy,
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
    """Every item whose prediction changed: what broke, then what was fixed, then the others; in the file's order.

    Args:
        labels: the truth.
        first: as from `paired`.
        second: likewise.
        label: only items for which this class was chosen by one of the two alone.
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
    """What changed for each class, in class order."""
    n = len(first.classes)
    truth, one, other = (as_sets(each, n) for each in (labels, first.predicted, second.predicted))
    before, after = one == truth, other == truth
    if labels.ndim == 1:  # a decision is an item's, and counts for its class
        before, after = truth & before.all(axis=1, keepdims=True), truth & after.all(axis=1, keepdims=True)
    columns = zip(
        first.classes, truth.sum(axis=0), (before & ~after).sum(axis=0), (after & ~before).sum(axis=0), strict=True
    )
    return [ClassFlips(name, int(support), int(broken), int(fixed)) for name, support, broken, fixed in columns]


def _listed(names: list[str]) -> str:
    return ", ".join(map(repr, names[:5])) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:59] + "…")
