from __future__ import annotations

import json
import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.metrics import f1_score

from trainyard.analysis.classification.decisions import ARGMAX, Decision, predicted_labels, tune
from trainyard.errors import DataError, DivergedError

_HALF = np.float32(0.5)
# Ties, both ends, neighbouring floats (between which no float lies), and the smallest numbers there are.
_CHOSEN = [0.0, 1e-45, 0.1, 0.25, float(np.nextafter(_HALF, np.float32(0))), 0.5, float(np.nextafter(_HALF, 1)), 0.7]
_SCORES = st.sampled_from([float(np.float32(score)) for score in [*_CHOSEN, 1.0]]) | st.floats(0, 1, width=32)


@st.composite
def splits(draw: st.DrawFn, fewest: int = 1) -> tuple[np.ndarray, np.ndarray, list[str]]:
    shape = draw(st.integers(fewest, 14)), draw(st.integers(1, 4))
    scores = draw(hnp.arrays(np.float32, shape, elements=_SCORES))
    return scores, draw(hnp.arrays(np.bool_, shape)), [f"label {index}" for index in range(shape[1])]


def cuts(scores: np.ndarray) -> dict[float, float]:
    """Every distinct score, and the threshold midway between it and the next lower one."""
    distinct = [0.0, *np.unique(scores).astype(np.float64).tolist()]
    return {upper: (lower + upper) / 2 for lower, upper in pairwise(distinct)}


def f1(truth: np.ndarray, chosen: np.ndarray, average: str) -> float:
    return float(f1_score(truth, chosen, average=average, zero_division=0))


@given(splits())
@settings(deadline=None)
def test_per_class_finds_the_highest_f1_and_of_equals_the_threshold_nearest_to_a_half(
    case: tuple[np.ndarray, np.ndarray, list[str]],
) -> None:
    scores, truth, classes = case
    decision, notes = tune(scores, truth, "per_class", classes)
    chosen = decision.choose(scores)
    for index, (column, there) in enumerate(zip(scores.T, truth.T, strict=True)):
        threshold = decision.thresholds[index]
        if not there.any() or len(np.unique(column)) == 1:
            assert threshold == 0.5
            assert any(repr(classes[index]) in note for note in notes)
            continue
        assert not any(repr(classes[index]) in note for note in notes)
        by_cut = {middle: f1(there, column >= score, "binary") for score, middle in cuts(column).items()}
        best = max(by_cut.values())
        assert f1(there, chosen[:, index], "binary") == pytest.approx(best, abs=1e-12)
        nearest = min(abs(middle - 0.5) for middle, value in by_cut.items() if value >= best - 1e-12)
        assert abs(threshold - 0.5) == pytest.approx(nearest, abs=1e-7)


@given(splits())
@settings(deadline=None)
def test_global_finds_the_highest_macro_f1(case: tuple[np.ndarray, np.ndarray, list[str]]) -> None:
    scores, truth, classes = case
    decision, notes = tune(scores, truth, "global", classes)
    assert len(set(decision.thresholds)) == 1
    if not truth.any() or len(np.unique(scores)) == 1:
        assert decision.thresholds[0] == 0.5
        assert len(notes) == 1
        return
    assert notes == []
    average = "macro" if len(classes) > 1 else "binary"
    by_cut = {middle: f1(truth, scores >= score, average) for score, middle in cuts(scores).items()}
    best = max(by_cut.values())
    assert f1(truth, decision.choose(scores), average) == pytest.approx(best, abs=1e-12)
    nearest = min(abs(middle - 0.5) for middle, value in by_cut.items() if value >= best - 1e-12)
    assert abs(decision.thresholds[0] - 0.5) == pytest.approx(nearest, abs=1e-7)


@given(splits())
@settings(deadline=None)
def test_top_k_finds_the_least_k_of_the_highest_micro_f1(case: tuple[np.ndarray, np.ndarray, list[str]]) -> None:
    scores, truth, classes = case
    decision, notes = tune(scores, truth, "top_k", classes)
    assert decision.k is not None
    if not truth.any():
        assert (decision.k, len(notes)) == (1, 1)
        return
    tried = []
    for k in range(1, len(classes) + 1):
        chosen = Decision("top_k", k=k).choose(scores)
        assert (chosen.sum(axis=1) == k).all()
        for row, picked in zip(scores, chosen, strict=True):
            assert row[picked].min() >= row[~picked].max(initial=-1)
        tried.append(f1(truth, chosen, "micro" if len(classes) > 1 else "binary"))
    assert decision.k == 1 + int(np.flatnonzero(np.array(tried) >= max(tried) - 1e-12)[0])


@given(splits(), st.sampled_from(["per_class", "global", "fixed", "top_k"]))
@settings(deadline=None)
def test_the_numbers_of_files_choose_the_same_labels(case: tuple[np.ndarray, np.ndarray, list[str]], mode: Any) -> None:
    scores, truth, classes = case
    decision, _ = tune(scores, truth, mode, classes, value=0.7)
    written = json.dumps(decision.to_dict(classes), sort_keys=True)
    again = Decision.from_dict(json.loads(written), classes)
    assert again == decision
    read = np.array([[float(str(score)) for score in row] for row in scores])  # float64, from the fewest digits
    chosen = decision.choose(scores)
    np.testing.assert_array_equal(again.choose(read), chosen)
    if mode != "top_k":
        np.testing.assert_array_equal(read >= np.array(decision.thresholds), chosen)


def test_a_threshold_parts_neighbouring_floats() -> None:
    below = np.nextafter(np.float32(0.3), np.float32(0))
    scores = np.array([[below], [0.3], [below], [0.3]], dtype=np.float32)
    truth = scores == np.float32(0.3)
    decision, _ = tune(scores, truth, "per_class", ["a"])
    assert decision.thresholds == (0.3,)
    np.testing.assert_array_equal(decision.choose(scores), truth)


def test_a_probability_at_the_threshold_is_chosen_however_it_is_stored() -> None:
    decision, notes = tune(np.zeros((0, 2)), np.zeros((0, 2)), "fixed", ["a", "b"], value=0.7)
    assert (decision.thresholds, notes) == ((0.7, 0.7), [])
    for dtype in (np.float32, np.float64):
        assert decision.choose(np.array([[0.7, 0.69]], dtype=dtype)).tolist() == [[True, False]]


def test_what_validation_cannot_decide_is_reported() -> None:
    scores = np.array([[0.9, 0.2, 0.4], [0.1, 0.2, 0.6]])
    truth = np.array([[True, True, False], [False, False, False]])
    decision, notes = tune(scores, truth, "per_class", ["joy", "grief", "relief"])
    assert decision.thresholds == (0.5, 0.5, 0.5)
    assert notes == [
        "No validation item has the label 'relief': the threshold is 0.5, not tuned.",
        "All validation scores of 'grief' are equal: the threshold is 0.5, not tuned.",
    ]
    assert "no validation item has a label" in tune(scores, np.zeros((2, 3)), "global", ["a", "b", "c"])[1][0]
    assert "scores are equal" in tune(np.full((2, 3), 0.2), truth, "global", ["a", "b", "c"])[1][0]


@pytest.mark.parametrize("mode", ["per_class", "global", "top_k"])
def test_without_validation_nothing_is_tuned(mode: Any) -> None:
    names = [f"label {index}" for index in range(9)]
    decision, notes = tune(np.zeros((0, 9)), np.zeros((0, 9), dtype=bool), mode, names)
    assert decision.k == 1 if mode == "top_k" else set(decision.thresholds) == {0.5}
    assert len(notes) == 1
    assert mode != "per_class" or "'label 4' and 4 more" in notes[0]


def test_a_given_k_is_kept() -> None:
    decision, notes = tune([[0.1, 0.9, 0.9]], [[True, False, False]], "top_k", "abc", k=2)
    assert (decision, notes) == (Decision("top_k", k=2), [])
    assert decision.choose([[0.9, 0.9, 0.9]]).tolist() == [[True, True, False]], "of equals the first"


def test_argmax_is_the_first_of_the_most_probable() -> None:
    chosen = ARGMAX.choose([[0.5, 0.5], [0.2, 0.8]])
    assert chosen.dtype == np.int64
    assert chosen.tolist() == [0, 1]
    assert Decision.from_dict(json.loads(json.dumps(ARGMAX.to_dict("ab"))), "ab") == ARGMAX


@pytest.mark.parametrize("decision", [ARGMAX, Decision("top_k", k=1), Decision("fixed", (0.5, 0.5))])
def test_nan_is_a_divergence(decision: Decision) -> None:
    with pytest.raises(DivergedError) as caught:
        decision.choose([[0.1, 0.9], [0.1, math.nan]])
    assert (caught.value.value, caught.value.place) == ([1], "item 1")
    assert "training.learning_rate" in caught.value.remedy
    with pytest.raises(DivergedError):
        tune([[0.1, math.nan]], [[True, False]], "per_class", "ab")


@pytest.mark.parametrize(
    ("thresholds", "odd"), [({"joy": 0.5}, ["grief"]), ({"joy": 0.5, "grief": 0.2, "pride": 0.1}, ["pride"])]
)
def test_thresholds_of_other_labels_are_named(thresholds: dict[str, float], odd: list[str]) -> None:
    with pytest.raises(DataError) as caught:
        Decision.from_dict({"mode": "per_class", "thresholds": thresholds}, ["joy", "grief"])
    assert caught.value.value == odd
    assert caught.value.place == "decision.thresholds"
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("value", "cause"),
    [
        ({"mode": "per_class", "thresholds": {"joy": 0.5, "grief": "high"}}, None),
        ({"mode": "per_class", "thresholds": {"joy": 0.5, "grief": math.nan}}, "finite"),
        ({"mode": "per_class", "thresholds": [0.5, 0.5]}, None),
        ({"mode": "per_class"}, "0 thresholds"),
        ({"mode": "argmax", "k": 2}, "k=2"),
        ({"mode": "top_k", "k": 0}, "k=0"),
        ({"mode": "top_k", "k": True}, None),
        ({"mode": "best"}, "'best'"),
        ({}, "None"),
        (None, None),
        ("argmax", None),
    ],
)
def test_decisions_that_are_none(value: object, cause: str | None) -> None:
    with pytest.raises(DataError) as caught:
        Decision.from_dict(value, ["joy", "grief"])
    assert caught.value.value is value
    assert caught.value.place == "decision"
    assert caught.value.remedy
    if cause is None:
        assert caught.value.__cause__ is None
    else:
        assert cause in str(caught.value.__cause__)


def test_thresholds_are_read_by_label_whatever_their_order() -> None:
    value = {"mode": "fixed", "thresholds": {"grief": 0.25, "joy": 1}}
    assert Decision.from_dict(value, ["joy", "grief"]).thresholds == (1.0, 0.25)


def test_shapes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match=r"2 thresholds.* 3 classes"):
        Decision("fixed", (0.5, 0.5)).choose(np.zeros((1, 3)))
    with pytest.raises(ValueError, match="2 classes"):
        tune(np.zeros((1, 3)), np.zeros((1, 3)), "global", "ab")
    with pytest.raises(ValueError, match="argmax"):
        tune(np.zeros((1, 2)), np.zeros((1, 2)), "argmax", "ab")
    with pytest.raises(ValueError, match=r"\[N, C\]"):
        predicted_labels([0.1, 0.9])
