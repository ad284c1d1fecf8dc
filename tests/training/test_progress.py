from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from trainyard.metric import Direction
from trainyard.training.progress import Best

VALUES = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=30)


def after_all(values: list[float], mode: Direction, min_delta: float = 0.0) -> Best:
    best = Best()
    for epoch, value in enumerate(values, 1):
        best = best.after(value, epoch * 10, epoch, mode=mode, min_delta=min_delta)
    return best


@given(VALUES)
def test_without_a_delta_the_best_is_the_first_of_the_extremes(values: list[float]) -> None:
    for mode, extreme in (("min", min(values)), ("max", max(values))):
        best = after_all(values, mode)
        epoch = values.index(extreme) + 1
        assert best == Best(extreme, epoch * 10, epoch, len(values) - epoch)


@given(VALUES, st.floats(0, 10))
def test_min_and_max_mirror_each_other(values: list[float], min_delta: float) -> None:
    low, high = after_all(values, "min", min_delta), after_all([-value for value in values], "max", min_delta)
    assert (low.epoch, low.without_improvement) == (high.epoch, high.without_improvement)


def test_nan_is_never_an_improvement() -> None:
    best = after_all([math.nan, math.nan], "min")
    assert (best.value, best.without_improvement) == (None, 2)
    best = after_all([math.nan, 3.0, math.nan], "max")
    assert (best.value, best.epoch, best.without_improvement) == (3.0, 2, 1)


def test_a_change_of_exactly_the_delta_does_not_count() -> None:
    assert after_all([2.0, 1.5], "min", 0.5).epoch == 1
    assert after_all([2.0, 1.25], "min", 0.5).epoch == 2


def test_patience() -> None:
    best = after_all([1.0, 2.0, 2.0], "min")
    assert best.is_time_to_stop(2)
    assert not best.is_time_to_stop(3)
    assert not best.is_time_to_stop(None)
