from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score

from trainyard.analysis.classification.differences import by_class, flips, paired
from trainyard.analysis.classification.errors import as_sets
from trainyard.analysis.classification.predictions import Predictions
from trainyard.errors import DataError

sys.path.insert(0, str(Path(__file__).parent))

from made_up import CLASSES, found, predictions


@given(first=found(items=9, multi=True), second=found(items=9, multi=True))
@settings(deadline=None)
def test_flips_of_sets_add_up(first: Predictions, second: Predictions) -> None:
    add_up(first, replace(second, labels=first.labels))


@given(first=found(items=9, multi=False), second=found(items=9, multi=False))
@settings(deadline=None)
def test_flips_of_one_label_add_up(first: Predictions, second: Predictions) -> None:
    add_up(first, replace(second, labels=first.labels))


def add_up(first: Predictions, second: Predictions) -> None:
    labels, one, other = paired(first, second)
    found = flips(labels, one, other)
    counts = {word: sum(flip.change == word for flip in found) for word in ("broken", "fixed", "other")}
    before, after = (accuracy_score(labels, each.predicted, normalize=False) for each in (one, other))
    assert counts["fixed"] - counts["broken"] == after - before
    assert [flip.change for flip in found] == sorted((flip.change for flip in found), key=list(counts).index)
    changed = [n for n in range(9) if not np.array_equal(one.predicted[n], other.predicted[n])]
    assert sorted(flip.number for flip in found) == changed
    rows = by_class(labels, one, other)
    for at, row in enumerate(rows):
        if labels.ndim == 2:
            right = [(each.predicted[:, at] == labels[:, at]).sum() for each in (one, other)]
        else:
            right = [((each.predicted == labels) & (labels == at)).sum() for each in (one, other)]
        assert row.fixed - row.broken == right[1] - right[0]
        assert row.support == as_sets(labels, 4)[:, at].sum()
    if labels.ndim == 1:
        assert sum(row.broken for row in rows) == counts["broken"]
    some = flips(labels, one, other, label=2)
    assert {flip.number for flip in some} <= set(changed)
    assert all((CLASSES[2] in flip.first) != (CLASSES[2] in flip.second) for flip in some)


@given(case=found(), data=st.data())
@settings(deadline=None)
def test_items_and_classes_in_another_order_are_paired(case: Predictions, data: st.DataObject) -> None:
    """Names that occur more than once pair up in their order."""
    n = len(case.items)
    names = data.draw(st.lists(st.sampled_from(["a", "b", "c"]), min_size=n, max_size=n))
    first = replace(case, items=tuple(names))
    rows = data.draw(st.permutations(range(n)))
    rows = sorted(rows, key=lambda row: [names[row] for row in rows].index(names[row]))  # equal names stay in order
    rows = [
        row for name in dict.fromkeys(names[row] for row in rows) for row in sorted(r for r in rows if names[r] == name)
    ]
    order = list(data.draw(st.permutations(range(4))))
    inverse = np.argsort(order)

    def moved(labels: np.ndarray) -> np.ndarray:
        return labels[rows][:, order] if labels.ndim == 2 else inverse[labels[rows]]

    assert case.labels is not None
    second = Predictions(
        tuple(names[row] for row in rows),
        "id",
        tuple(CLASSES[at] for at in order),
        moved(case.labels),
        moved(case.predicted),
        case.probabilities[rows][:, order],
    )
    labels, one, other = paired(first, second)
    np.testing.assert_array_equal(labels, case.labels)
    np.testing.assert_array_equal(other.predicted, case.predicted)
    np.testing.assert_array_equal(other.probabilities, case.probabilities)
    assert other.items == first.items
    assert flips(labels, one, other) == []


ONE = predictions(np.array([0, 1, 2]), np.array([0, 1, 1]))


@pytest.mark.parametrize(
    ("other", "value", "place"),
    [
        (replace(ONE, items=("item 0", "item 1", "item 9")), [["item 2"], ["item 9"]], None),
        (predictions(np.array([0, 1]), np.array([0, 1])), [["item 2"], []], None),
        (replace(ONE, items=("item 0", "item 1", "item 1")), [["item 2"], ["item 1"]], None),
        (replace(ONE, classes=("joy", "anger", "fear", "hate")), ["love", "hate"], None),
        (replace(ONE, labels=np.array([0, 3, 2])), ["anger", "love"], "item 1"),
        (replace(ONE, labels=None), None, "second"),
        (predictions(np.eye(3, 4, dtype=bool), np.eye(3, 4, dtype=bool)), ["one label", "several labels"], None),
    ],
)
def test_other_items_labels_or_classes_are_refused(other: Predictions, value: object, place: str | None) -> None:
    with pytest.raises(DataError) as caught:
        paired(ONE, other)
    assert caught.value.value == value
    assert caught.value.place == place
    assert caught.value.remedy
