"""What the loop tells its sinks, and what a sink is. Events go one way: no sink can change the training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from trainyard.metric import Metric, on
from trainyard.training.evaluate import Predictions
from trainyard.training.stopping import Best


@dataclass(frozen=True)
class StepLogged:
    """Every `log_every` steps: values since the last one."""

    step: int
    epoch: float
    values: Mapping[str, float]


@dataclass(frozen=True)
class EpochEnded:
    """After the evaluation of an epoch, before its checkpoint.

    `train` and `val` hold values by the metric's name; `metrics` both of them.
    """

    step: int
    epoch: int  # epochs done
    epochs: int  # epochs planned
    train: Mapping[str, float]
    val: Mapping[str, float]
    best: Best
    improved: bool
    predictions: Predictions | None
    seconds: float
    waited_s: float  # of those, waiting for data
    checkpoint_follows: bool = False  # one of this very step, as soon as every sink has been told

    @property
    def metrics(self) -> dict[Metric, float]:
        """The values of both splits."""
        return on("train", self.train) | on("val", self.val)


Event = StepLogged | EpochEnded


class Sink(Protocol):
    """Takes events: keeps, shows or sends them."""

    def emit(self, event: Event) -> None:
        """Takes one event; must return quickly."""

    def close(self) -> None:
        """Called once, after the last event."""
