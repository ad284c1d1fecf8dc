"""Bounds of single values: the type of a row, and the tests that rows use.

Keys that a section lacks and values that are null are not tested.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Test = Callable[[Any], bool]
Bound = tuple[str, Test, str]  # a dotted key, the test of its value, and the expectation that an error states


def at_least(low: float) -> Test:
    """A number that is `low` or more."""
    return lambda value: bool(value >= low)


def each(test: Test) -> Test:
    """A list whose items all pass the test."""
    return lambda values: all(map(test, values))


def below_one(value: float) -> bool:
    """From 0 to 1, without 1."""
    return 0 <= value < 1


def share(value: float) -> bool:
    """From 0 to 1."""
    return 0 <= value <= 1


def above_zero(value: float) -> bool:
    """More than 0."""
    return value > 0
