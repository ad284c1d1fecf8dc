"""The progress of a training: everything the loop needs to continue as if it had never stopped.

Plain numbers that survive JSON exactly. Tensors and random states are in `training.checkpoint`.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field, replace
from typing import Any

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


@dataclass
class Progress:
    """The position and the running sums of a training.

    `epoch` epochs are done, and `batch` batches of the next one. The sums are of each step's loss times its number
    of items, in the order of the steps, so that a resume reproduces them to the last bit.
    """

    epoch: int = 0
    batch: int = 0
    step: int = 0
    epoch_loss: float = 0.0
    epoch_items: int = 0
    window_loss: float = 0.0
    window_items: int = 0
    best: Best = field(default_factory=Best)
    stopped_early: bool = False
    decision: dict[str, Any] | None = None  # the rule tuned at the last validation, for tasks with decisions
    log: list[dict[str, Any]] = field(default_factory=list)  # in the shape of transformers' log_history

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON; `from_dict` restores it."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Progress:
        """The inverse of `to_dict`."""
        return cls(**{**data, "best": Best(**data["best"])})

    def add(self, loss: float, items: int) -> None:
        """Adds the loss of one step to the sums."""
        self.epoch_loss += loss * items
        self.epoch_items += items
        self.window_loss += loss * items
        self.window_items += items
