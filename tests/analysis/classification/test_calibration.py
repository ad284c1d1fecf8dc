from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss

from trainyard.analysis.classification import calibration
from trainyard.errors import DivergedError


@st.composite
def forecasts(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities on the edges of bins and between, and label sets."""
    shape = draw(st.integers(1, 15)), draw(st.integers(1, 4))
    scores = st.sampled_from([0.0, 0.2, 0.5, 1 / 3, 1.0]).map(lambda score: float(np.float32(score)))
    probabilities = draw(hnp.arrays(np.float32, shape, elements=scores | st.floats(0, 1, width=32)))
    return probabilities, draw(hnp.arrays(np.bool_, shape))


@given(forecasts(), st.integers(1, 12), st.sampled_from(["width", "mass"]))
@settings(deadline=None)
def test_the_table_is_scikit_learns_curve_with_counts(
    case: tuple[np.ndarray, np.ndarray], bins: int, by: calibration.Bins
) -> None:
    probabilities, labels = case
    every, events = probabilities.ravel().astype(np.float64), labels.ravel()
    rows = calibration.reliability(probabilities, labels, bins=bins, by=by)
    assert len(rows) == bins
    assert sum(row["count"] for row in rows) == len(every)
    assert all(row["high"] == after["low"] for row, after in pairwise(rows))
    filled = [row for row in rows if row["count"]]
    assert all((row["share"] is None) == (row["count"] == 0) for row in rows)
    for row in filled:
        low, high = row["low"], row["high"]
        inside = (every <= high) & (every > low) if row is not rows[0] else every <= high
        assert row["count"] == inside.sum()
        assert row["share"] == pytest.approx(events[inside].mean())
        assert row["mean_probability"] == pytest.approx(every[inside].mean())
    if by == "width" and events.any() and not events.all():  # scikit-learn wants both kinds of events
        shares, means = calibration_curve(events, every, n_bins=bins)
        np.testing.assert_allclose([row["share"] for row in filled], shares, rtol=1e-12)
        np.testing.assert_allclose([row["mean_probability"] for row in filled], means, rtol=1e-12)
    if by == "mass" and len(np.unique(every)) == len(every):
        counts = [row["count"] for row in rows]
        assert max(counts) - min(counts) <= 1
    error = sum(row["count"] * abs(row["share"] - row["mean_probability"]) for row in filled) / len(every)
    assert calibration.ece(probabilities, labels, bins=bins, by=by) == pytest.approx(error, abs=1e-12)


def test_ece_by_hand() -> None:
    probabilities = np.array([[0.05, 0.05], [0.95, 0.55]])
    labels = np.array([[False, True], [True, True]])
    # 15 bins: two forecasts of .05 of which one came true, one of .95 and one of .55 that did.
    assert calibration.ece(probabilities, labels) == pytest.approx((2 * 0.45 + 0.05 + 0.45) / 4, abs=1e-7)
    assert calibration.ece(probabilities, labels, bins=1) == pytest.approx(abs(1.6 / 4 - 0.75), abs=1e-7)
    assert calibration.ece(labels.astype(float), labels) == 0


def test_of_one_label_an_item_the_top_class_is_the_forecast() -> None:
    probabilities = np.array([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.3, 0.3, 0.4]])
    rows = [row for row in calibration.reliability(probabilities, [0, 2, 2], bins=10) if row["count"]]
    assert [(row["count"], row["share"]) for row in rows] == [(1, 1.0), (1, 1.0), (1, 0.0)]
    np.testing.assert_allclose([row["mean_probability"] for row in rows], [0.4, 0.7, 0.8], rtol=1e-6)
    assert calibration.ece(probabilities, [0, 2, 2]) == pytest.approx((0.3 + 0.8 + 0.6) / 3, rel=1e-6)


@given(st.integers(1, 12), st.integers(3, 5), st.integers(0, 99))
@settings(deadline=None)
def test_brier_scores_are_scikit_learns(items: int, n_classes: int, seed: int) -> None:
    draws = np.random.default_rng(seed)
    probabilities = draws.dirichlet(np.ones(n_classes), size=items).astype(np.float32)
    labels = draws.integers(n_classes, size=items)
    exact = probabilities.astype(np.float64)
    exact /= exact.sum(axis=1, keepdims=True)
    expected = brier_score_loss(labels, exact, labels=range(n_classes), scale_by_half=False)
    assert calibration.brier(probabilities, labels) == pytest.approx(expected, rel=1e-5)
    sets = draws.random(probabilities.shape) < 0.5
    expected = brier_score_loss(sets.ravel(), probabilities.ravel().astype(np.float64), pos_label=True)
    assert calibration.brier(probabilities, sets) == pytest.approx(expected, rel=1e-12)


def test_what_cannot_be_binned_is_refused() -> None:
    with pytest.raises(ValueError, match="bins"):
        calibration.ece([[0.5]], [[True]], bins=0)
    with pytest.raises(ValueError, match=r"\(0, 2\)"):
        calibration.ece(np.zeros((0, 2)), np.zeros((0, 2)))
    with pytest.raises(ValueError, match=r"\(2, 2\).* \(3,\)"):
        calibration.reliability(np.zeros((2, 2)), [0, 1, 0])
    with pytest.raises(DivergedError):
        calibration.brier([[math.nan]], [[True]])
