from __future__ import annotations

import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from trainyard.analysis.classification.errors import Mixup, mistakes, mixups
from trainyard.analysis.classification.predictions import Predictions

sys.path.insert(0, str(Path(__file__).parent))

from made_up import CLASSES, found, predictions


def sets(labels: np.ndarray) -> list[set[str]]:
    if labels.ndim == 1:
        return [{CLASSES[index]} for index in labels]
    return [{name for name, there in zip(CLASSES, row, strict=True) if there} for row in labels]


@given(case=found(), label=st.sampled_from([None, 0, 3]))
@settings(deadline=None)
def test_mistakes_are_all_that_is_wrong_and_ordered_by_confidence(case: Predictions, label: int | None) -> None:
    truth, chosen = sets(case.labels), sets(case.predicted)
    wrong = [
        number
        for number in range(len(case.items))
        if (truth[number] != chosen[number] if label is None else CLASSES[label] in truth[number] ^ chosen[number])
    ]
    listed = mistakes(case.labels, case, label=label)
    assert sorted(mistake.number for mistake in listed) == wrong
    confidence = []
    for mistake in listed:
        assert mistake.item == case.items[mistake.number]
        assert (set(mistake.true), set(mistake.predicted)) == (truth[mistake.number], chosen[mistake.number])
        given = dict(zip(CLASSES, case.probabilities[mistake.number].tolist(), strict=True))
        assert np.float32(mistake.probability) == np.float32(given[mistake.label])
        errors = [given[name] for name in chosen[mistake.number] - truth[mistake.number]]
        if case.multi_label:
            errors += [1 - given[name] for name in truth[mistake.number] - chosen[mistake.number]]
        own = mistake.probability if mistake.label in mistake.predicted else 1 - mistake.probability
        np.testing.assert_allclose(own, max(errors), rtol=1e-6)
        confidence.append(own)
    assert all(one >= other - 1e-6 for one, other in pairwise(confidence))


@given(case=found(multi=False))
@settings(deadline=None)
def test_mixups_of_one_label_are_the_confusion_matrix_without_its_diagonal(case: Predictions) -> None:
    table = pd.crosstab(case.labels, case.predicted)
    expected = {
        (CLASSES[a], CLASSES[b]): int(table.loc[a, b])
        for a in table.index
        for b in table.columns
        if a != b and table.loc[a, b]
    }
    pairs = mixups(case.labels, case)
    assert {(pair.true, pair.predicted): pair.count for pair in pairs} == expected
    assert [pair.count for pair in pairs] == sorted(expected.values(), reverse=True)
    for pair in pairs:
        assert pair.share == pair.count / (case.labels == CLASSES.index(str(pair.true))).sum()


@given(case=found(multi=True), label=st.sampled_from([None, 1]))
@settings(deadline=None)
def test_mixups_of_sets_count_what_was_lost_with_what_came_instead(case: Predictions, label: int | None) -> None:
    counts: dict[tuple[str | None, str | None], int] = {}
    for truth, chosen in zip(sets(case.labels), sets(case.predicted), strict=True):
        for lost in truth - chosen or {None}:
            for got in chosen - truth or {None}:
                if (lost or got) and (label is None or CLASSES[label] in (lost, got)):
                    counts[lost, got] = counts.get((lost, got), 0) + 1
    assert {(pair.true, pair.predicted): pair.count for pair in mixups(case.labels, case, label=label)} == counts


def test_an_example() -> None:
    truth = np.array([[1, 0, 0, 1], [0, 1, 0, 0], [0, 0, 0, 0]], dtype=bool)
    chosen = np.array([[1, 0, 1, 0], [0, 1, 0, 0], [1, 0, 0, 0]], dtype=bool)
    scores = np.array([[0.9, 0.1, 0.6, 0.05], [0, 1, 0, 0], [0.7, 0, 0, 0]])
    case = predictions(truth, chosen, scores)
    first, second = mistakes(truth, case)
    assert (first.number, first.label, first.probability, first.true) == (0, "love", 0.05, ("joy", "love"))
    assert (second.number, second.label, second.probability, second.true) == (2, "joy", 0.7, ())
    assert mixups(truth, case) == [Mixup("love", "fear", 1, 1.0), Mixup(None, "joy", 1, None)]
    assert mistakes(truth, predictions(truth, truth)) == []
