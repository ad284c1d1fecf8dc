"""Which epoch is the best so far, and when to stop early. Pure functions of numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from trainyard.metric import Direction


@dataclass(frozen=True)
class Best:
    """The best epoch so far by the monitored metric; survives a resume."""

    value: float | None = None
    step: int = 0
    epoch: int = 0
    without_improvement: int = 0  # epochs since then

    def after(self, value: float, step: int, epoch: int, *, mode: Direction, min_delta: float = 0.0) -> Best:
        """The best after another epoch whose metric is `value`. NaN is never an improvement."""
        if self.value is None:
            improved = not math.isnan(value)
        elif mode == "min":
            improved = value < self.value - min_delta
        else:
            improved = value > self.value + min_delta
        if improved:
            return Best(value, step, epoch)
        return replace(self, without_improvement=self.without_improvement + 1)

    def is_time_to_stop(self, patience: int | None) -> bool:
        """Whether `patience` epochs in a row brought no improvement. None: never."""
        return patience is not None and self.without_improvement >= patience
