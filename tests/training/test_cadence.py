from __future__ import annotations

import math

import pytest
from scipy.special import lambertw

from trainyard.training.cadence import LARGEST_SHARE, TIME_BETWEEN_FAILURES_S, Cadence, best_interval_s

COSTS_S = [1e-4, 1e-3, 0.01, 0.05, 0.5, 5.0, 19.0]


def young_1974(cost_s: float, failures_s: float) -> float:
    return math.sqrt(2 * cost_s * failures_s)


def daly_2006(cost_s: float, failures_s: float) -> float:
    """Equation 37, as it is printed: the root is of delta / 2M, and it holds below 2M."""
    if cost_s >= 2 * failures_s:
        return failures_s
    x = cost_s / (2 * failures_s)
    return (2 * cost_s * failures_s) ** 0.5 * (1 + x**0.5 / 3 + x / 9) - cost_s


def exact(cost_s: float, failures_s: float) -> float:
    """Where Daly's complete cost function (exp((tau + delta) / M) - 1) / tau is smallest, in closed form."""
    return failures_s * (1 + lambertw(-math.exp(-cost_s / failures_s - 1)).real)


@pytest.mark.parametrize("failures_s", [60.0, 3600.0, 1e6])
@pytest.mark.parametrize("share", [1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1.0, 1.99, 2.0, 5.0])
def test_without_a_cap_it_is_equation_37_of_daly(share: float, failures_s: float) -> None:
    cost_s = share * failures_s
    assert best_interval_s(cost_s, failures_s, 1.0) == pytest.approx(daly_2006(cost_s, failures_s), rel=1e-12)


@pytest.mark.parametrize("share", [1e-5, 1e-4, 1e-3, 1e-2, 0.1])
def test_it_loses_least_time(share: float) -> None:
    assert best_interval_s(share * 3600, 3600, 1.0) == pytest.approx(exact(share * 3600, 3600), rel=2e-3)


@pytest.mark.parametrize("cost_s", COSTS_S)
def test_where_checkpoints_are_cheap_it_is_close_to_young(cost_s: float) -> None:
    young = young_1974(cost_s, TIME_BETWEEN_FAILURES_S)
    assert young - cost_s < best_interval_s(cost_s) < young


@pytest.mark.parametrize("cost_s", [*COSTS_S, 21.0, 60.0, 600.0, 7199.0, 7200.0, 1e5])
def test_checkpoints_take_at_most_five_percent_of_the_time(cost_s: float) -> None:
    interval_s = best_interval_s(cost_s)
    assert LARGEST_SHARE == 0.05
    assert cost_s / (interval_s + cost_s) <= 0.05 + 1e-12
    assert interval_s == pytest.approx(max(daly_2006(cost_s, 3600), 19 * cost_s), rel=1e-12)


def test_the_cap_matters_from_nineteen_seconds_on() -> None:
    """sqrt(2 * C * M) < 19 * C + C from about M / 200 on."""
    assert best_interval_s(18) > 19 * 18
    assert best_interval_s(21) == pytest.approx(19 * 21)
    assert best_interval_s(21, largest_share=0.5) < 19 * 21


@pytest.mark.parametrize("cost_s", [0.0, -1.0])
def test_what_costs_nothing_may_be_done_at_any_time(cost_s: float) -> None:
    assert best_interval_s(cost_s) == 0


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def next_due_s(cadence: Cadence, clock: Clock) -> float:
    """How long it takes from now until a checkpoint is due, by eighths of a second."""
    began = clock.now
    while not cadence.is_due():
        clock.now += 0.125
    return clock.now - began


def test_a_checkpoint_is_due_when_the_interval_is_over() -> None:
    clock = Clock()
    cadence = Cadence(clock)
    assert next_due_s(cadence, clock) == pytest.approx(daly_2006(0.05, 3600), abs=0.125), "assumed before any"
    assert cadence.is_due(), "until one begins"
    cadence.began()
    assert not cadence.is_due()
    for cost_s in (2.0, 0.01, 30.0):
        clock.now += cost_s
        cadence.took(cost_s)
        wanted_s = max(daly_2006(cost_s, 3600), 19 * cost_s)
        assert next_due_s(cadence, clock) + cost_s == pytest.approx(wanted_s, abs=0.125), "since it began"
        cadence.began()


def test_the_more_often_it_fails_the_more_often_a_checkpoint_is_due() -> None:
    intervals = []
    for failures_s in (600.0, 3600.0, 86400.0):
        clock = Clock()
        cadence = Cadence(clock, failures_s)
        cadence.took(1.0)
        intervals.append(next_due_s(cadence, clock))
    assert intervals == sorted(set(intervals))
    assert intervals == pytest.approx([daly_2006(1.0, failures_s) for failures_s in (600, 3600, 86400)], abs=0.125)
