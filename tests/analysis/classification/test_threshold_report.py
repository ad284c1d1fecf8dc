from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from sklearn.metrics import f1_score

from trainyard.analysis.classification.decisions import Decision, tune
from trainyard.analysis.classification.predictions import Predictions
from trainyard.analysis.classification.threshold_report import f1_curve, table

sys.path.insert(0, str(Path(__file__).parent))

from made_up import CLASSES, found


def f1(labels: np.ndarray, chosen: np.ndarray) -> list[float]:
    return [float(f1_score(labels[:, at], chosen[:, at], zero_division=0)) for at in range(labels.shape[1])]


@given(case=found(multi=True), other=found(multi=True))
@settings(deadline=None, max_examples=40)
def test_every_score_is_scikit_learns(case: Predictions, other: Predictions) -> None:
    decision = Decision("per_class", (0.1, 0.5, 0.9, 0.3))
    rows = table(decision, case.probabilities, case.labels, CLASSES, (other.probabilities, other.labels))
    assert [row.label for row in rows] == list(CLASSES)
    assert [row.threshold for row in rows] == list(decision.thresholds)
    chosen = case.probabilities >= np.float32(decision.thresholds)
    assert [row.f1 for row in rows] == pytest.approx(f1(case.labels, chosen))
    assert [row.f1_at_half for row in rows] == pytest.approx(f1(case.labels, case.probabilities >= 0.5))
    on_test = other.probabilities >= np.float32(decision.thresholds)
    assert [row.test_f1 for row in rows] == pytest.approx(f1(other.labels, on_test))
    assert [row.test_f1_at_half for row in rows] == pytest.approx(f1(other.labels, other.probabilities >= 0.5))
    for at, row in enumerate(rows):
        cuts = sorted(set(case.probabilities[:, at].tolist()))
        if case.labels[:, at].any() and len(cuts) > 1:
            every = [f1(case.labels[:, [at]], case.probabilities[:, [at]] >= cut)[0] for cut in cuts]
            assert row.best_f1 == pytest.approx(max(every))
        assert row.support == case.labels[:, at].sum()


@given(case=found(multi=True), other=found(multi=True))
@settings(deadline=None)
def test_the_test_split_chooses_nothing(case: Predictions, other: Predictions) -> None:
    decision, _ = tune(case.probabilities, case.labels, "global", CLASSES)
    without = table(decision, case.probabilities, case.labels, CLASSES)
    beside = table(decision, case.probabilities, case.labels, CLASSES, (other.probabilities, other.labels))
    for one, two in zip(without, beside, strict=True):
        assert one.test_f1 is None
        assert {**vars(two), "test_f1": None, "test_f1_at_half": None} == vars(one)


def test_top_k_has_no_thresholds() -> None:
    scores = np.array([[0.9, 0.8], [0.1, 0.2]], dtype=np.float32)
    rows = table(Decision("top_k", k=1), scores, np.array([[1, 0], [0, 1]], dtype=bool), ["a", "b"])
    assert [(row.threshold, row.f1) for row in rows] == [(None, 1.0), (None, 1.0)]


@given(case=found(multi=True))
@settings(deadline=None)
def test_the_curve_is_scikit_learns_at_every_score(case: Predictions) -> None:
    scores, truth = case.probabilities[:, 0], case.labels[:, 0]
    cuts, values = f1_curve(scores, truth)
    assert cuts.tolist() == sorted(set(scores.tolist()), reverse=True)
    for cut, value in zip(cuts, values, strict=True):
        assert value == pytest.approx(f1_score(truth, scores >= cut, zero_division=0))
    assert len(f1_curve(scores[:0], truth[:0])[0]) == 0
