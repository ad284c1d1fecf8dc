"""How often a checkpoint is worth its cost. Pure arithmetic, and a clock.

A checkpoint costs time, and a failure costs the time since the last one. Young (1974) gives the interval that
minimises the sum of both, Daly (2006, equation 37) the better approximation used here. That interval is lengthened
where checkpoints would otherwise take more than a given share of the time.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

TIME_BETWEEN_FAILURES_S = 3600.0  # assumed: a closed laptop, a preempted machine, a full disk
LARGEST_SHARE = 0.05  # of the time that checkpoints may take
_FIRST_COST_S = 0.05  # assumed until one has been measured


def best_interval_s(
    cost_s: float, failures_s: float = TIME_BETWEEN_FAILURES_S, largest_share: float = LARGEST_SHARE
) -> float:
    """Seconds of training between two checkpoints that take `cost_s` each, with a failure every `failures_s`.

    Checkpoints take at most `largest_share` of the time together.
    """
    if cost_s <= 0:
        return 0.0
    if cost_s >= 2 * failures_s:
        optimum = failures_s
    else:
        root = math.sqrt(cost_s / (2 * failures_s))
        optimum = math.sqrt(2 * cost_s * failures_s) * (1 + root / 3 + root**2 / 9) - cost_s
    return max(optimum, cost_s / largest_share - cost_s)


class Cadence:
    """Decides when the next checkpoint is due, from the cost of the last one; `clock` counts seconds."""

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, failures_s: float = TIME_BETWEEN_FAILURES_S
    ) -> None:
        self.clock = clock
        self._failures_s = failures_s
        self._interval_s = best_interval_s(_FIRST_COST_S, failures_s)
        self._last = clock()

    def is_due(self) -> bool:
        """Whether enough time has passed since the last checkpoint."""
        return self.clock() - self._last >= self._interval_s

    def began(self) -> None:
        """Records that a checkpoint begins now."""
        self._last = self.clock()

    def took(self, cost_s: float) -> None:
        """Records how many seconds the last checkpoint took, in the background or not."""
        self._interval_s = best_interval_s(cost_s, self._failures_s)
