from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import bootstrap
from sklearn.metrics import accuracy_score, f1_score

from trainyard.analysis.classification.significance import METRICS, _item_counts, _measured, paired_bootstrap


def flipped(draws: np.random.Generator, labels: np.ndarray, share: float) -> np.ndarray:
    return labels ^ (draws.random(labels.shape) < share)


@given(st.integers(1, 30), st.integers(2, 5), st.booleans(), st.integers(0, 99))
@settings(deadline=None)
def test_a_draw_is_measured_as_scikit_learn_measures_the_drawn_items(
    items: int, n_classes: int, single: bool, seed: int
) -> None:
    draws = np.random.default_rng(seed)
    drawn = draws.integers(items, size=items)
    truth, guess = draws.integers(n_classes, size=(2, items))
    sets = [np.eye(n_classes, dtype=bool)[labels] for labels in (truth, guess)]
    if not single:
        truth, guess = sets = [draws.random((items, n_classes)) < 0.3 for _ in range(2)]
    times = np.bincount(drawn, minlength=items)[None].astype(np.float64)
    measured = _measured(times @ _item_counts(*sets), items, single)[0]
    expected = [
        f1_score(truth[drawn], guess[drawn], average="macro", zero_division=0),
        f1_score(truth[drawn], guess[drawn], average="micro", zero_division=0),
        accuracy_score(truth[drawn], guess[drawn]),
    ]
    np.testing.assert_allclose(measured, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("single", [True, False])
def test_intervals_are_scipys(single: bool) -> None:
    draws = np.random.default_rng(3)
    if single:
        truth = draws.integers(4, size=300)
        first, second = (np.where(draws.random(300) < share, truth, (truth + 1) % 4) for share in (0.7, 0.8))
    else:
        truth = draws.random((300, 4)) < 0.3
        first, second = flipped(draws, truth, 0.1), flipped(draws, truth, 0.07)
    rows = {row.metric: row for row in paired_bootstrap(truth, first, second, resamples=4000)}
    assert tuple(rows) == METRICS

    def difference(*indices: np.ndarray) -> float:
        at = indices[0].astype(int)
        one, other = (f1_score(truth[at], guess[at], average="macro", zero_division=0) for guess in (first, second))
        return float(other - one)

    every = np.arange(300)
    found = rows["f1_macro"]
    assert found.difference == pytest.approx(difference(every), abs=1e-12)
    assert found.difference == pytest.approx(found.second - found.first)
    theirs = bootstrap((every,), difference, n_resamples=400, vectorized=False, method="percentile", rng=1)
    spread = theirs.confidence_interval.high - theirs.confidence_interval.low
    assert found.low == pytest.approx(theirs.confidence_interval.low, abs=0.15 * spread)
    assert found.high == pytest.approx(theirs.confidence_interval.high, abs=0.15 * spread)
    assert found.mean == pytest.approx(theirs.bootstrap_distribution.mean(), abs=0.1 * spread)


def test_a_model_against_itself_differs_in_nothing() -> None:
    draws = np.random.default_rng(0)
    truth = draws.random((50, 3)) < 0.3
    guess = flipped(draws, truth, 0.2)
    for row in paired_bootstrap(truth, guess, guess, resamples=100):
        assert (row.difference, row.mean, row.low, row.high, row.p_value) == (0, 0, 0, 0, 1)


def test_what_is_plain_is_significant_and_has_a_sign() -> None:
    draws = np.random.default_rng(0)
    truth = draws.random((500, 5)) < 0.3
    good, bad = flipped(draws, truth, 0.05), flipped(draws, truth, 0.3)
    for row, turned in zip(paired_bootstrap(truth, bad, good), paired_bootstrap(truth, good, bad), strict=True):
        assert row.low > 0
        assert row.p_value == 2 / 2001, "never 0"
        assert (turned.difference, turned.mean, turned.p_value) == (-row.difference, -row.mean, row.p_value)


def test_chance_is_called_significant_about_one_time_in_twenty() -> None:
    draws = np.random.default_rng(0)
    called = np.zeros(len(METRICS))
    for trial in range(300):
        truth = draws.random((200, 3)) < 0.4
        rows = paired_bootstrap(
            truth, flipped(draws, truth, 0.2), flipped(draws, truth, 0.2), resamples=300, seed=trial
        )
        called += [row.p_value < 0.05 for row in rows]
        assert all((row.low > 0 or row.high < 0) or row.p_value > 0.03 for row in rows), "p agrees with the interval"
    assert (called >= 5).all()
    assert (called <= 27).all(), called


def test_the_seed_decides_the_draws_and_pieces_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    draws = np.random.default_rng(0)
    truth = draws.integers(3, size=40)
    first, second = draws.integers(3, size=(2, 40))
    rows = paired_bootstrap(truth, first, second, resamples=90, seed=5)
    assert paired_bootstrap(truth, first, second, resamples=90, seed=6) != rows
    monkeypatch.setattr("trainyard.analysis.classification.significance._AT_ONCE", 40 * 7)
    assert paired_bootstrap(truth, first, second, resamples=90, seed=5) == rows


def test_predictions_of_other_items_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(3,\) and \(2,\) .* labels \(3,\)"):
        paired_bootstrap([0, 1, 2], [0, 1, 2], [0, 1])
    with pytest.raises(ValueError, match="0 items"):
        paired_bootstrap([], [], [])
