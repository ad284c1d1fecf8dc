"""Changes from one model to another on the same items: which predictions flipped, and of which classes.

Items are paired by name or text; equal ones by their order.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from trainyard.analysis.classification.errors import as_sets, names_of
from trainyard.analysis.classification.predictions import Labels, Predictions
from trainyard.errors import DataError
from trainyard.wording import listed

_REMEDY = "Compare runs of the same data and split."


@dataclass(frozen=True)
class Flip:
    """An item for which the two models predict different labels; labels are in class order."""

    number: int  # its row in the first file, 0 for the first
    item: str  # its name or text
    true: tuple[str, ...]
    first: tuple[str, ...]  # what the first model predicts
    second: tuple[str, ...]
    change: str  # `broken`: only the first is right; `fixed`: only the second is; `other`: both are wrong


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
    if first.labels is None or second.labels is None:
        side = "first" if first.labels is None else "second"
        raise DataError("Predictions without true labels cannot be compared.", _REMEDY, place=side)
    if first.multi_label != second.multi_label:
        kinds = ["several labels" if found.multi_label else "one label" for found in (first, second)]
        raise DataError(f"Items have {kinds[0]} in the first run, {kinds[1]} in the second.", _REMEDY, value=kinds)
    odd = [name for name in (*first.classes, *second.classes) if (name in first.classes) != (name in second.classes)]
    if odd:
        what = f"The two runs have different classes: only one of them has {listed([repr(name) for name in odd], 5)}."
        raise DataError(what, _REMEDY, value=odd)
    rows = _rows(first.items, second.items)
    order = [second.classes.index(name) for name in first.classes]
    labels, predicted = (_reordered(each, rows, order) for each in (second.labels, second.predicted))
    probabilities = second.probabilities[rows][:, order]
    one, other = (as_sets(each, len(order)) for each in (first.labels, labels))
    differing = np.flatnonzero((one != other).any(axis=1))
    if len(differing):
        item = first.items[differing[0]]
        sets = [", ".join(names_of(each[differing[0]], first.classes)) or "no label" for each in (one, other)]
        difference = f"{_short(item)} is {sets[0]} in the first, {sets[1]} in the second"
        raise DataError(f"The two runs have different true labels: {difference}.", _REMEDY, value=sets, place=item)
    return first.labels, first, replace(first, labels=labels, predicted=predicted, probabilities=probabilities)


def _rows(first: Sequence[str], second: Sequence[str]) -> list[int]:
    """The row of the second file for each of the first, by their items."""
    counts = Counter(first), Counter(second)
    unmatched = [list((one - other).elements()) for one, other in (counts, counts[::-1])]
    if unmatched[0] or unmatched[1]:
        sides = zip(unmatched, ("first", "second"), strict=True)
        only = [f"{len(odd):,} only in the {side}, such as {_short(odd[0])}" for odd, side in sides if odd]
        what = f"The two predictions have different items ({len(first):,} and {len(second):,}): {'; '.join(only)}."
        raise DataError(what, _REMEDY, value=unmatched)
    places = defaultdict[str, list[int]](list)
    for row in reversed(range(len(second))):
        places[second[row]].append(row)
    return [places[item].pop() for item in first]


def _reordered(labels: Labels, rows: list[int], order: list[int]) -> Labels:
    if labels.ndim == 2:
        return labels[rows][:, order]
    return np.argsort(np.array(order, dtype=np.int64))[labels[rows].astype(np.int64)]


def flips(labels: Labels, first: Predictions, second: Predictions, *, label: int | None = None) -> list[Flip]:
    """Every item whose prediction changed: broken, then fixed, then other ones; each in the file's order.

    The arguments are from `paired`. With `label`, only items for which exactly one of the two predicts this class.
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
    columns = [events.sum(axis=0).tolist() for events in (truth, before & ~after, after & ~before)]
    return [ClassFlips(*row) for row in zip(first.classes, *columns, strict=True)]


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:59] + "…")
