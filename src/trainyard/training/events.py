"""The events that the loop sends to its sinks, and the sink protocol. No sink can change the training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from trainyard.metric import Metric, on
from trainyard.training.evaluate import Predictions
from trainyard.training.progress import Best


@dataclass(frozen=True)
class StepLogged:
    """Sent every `log_every` steps: the values since the last one."""

    step: int
    epoch: float
    values: Mapping[str, float]

    @property
    def metrics(self) -> dict[Metric, float]:
        """The values, all of the train split."""
        return on("train", self.values)


@dataclass(frozen=True)
class EpochEnded:
    """Sent after the evaluation of an epoch, before its checkpoint."""

    step: int
    epoch: int  # epochs done
    epochs: int  # epochs planned
    train: Mapping[str, float]  # by the metric's name
    val: Mapping[str, float]
    best: Best
    improved: bool
    predictions: Predictions | None
    seconds: float
    waited_s: float  # part of `seconds` spent waiting for data
    checkpoint_follows: bool = False  # a checkpoint of this step is written once every sink has this event

    @property
    def metrics(self) -> dict[Metric, float]:
        """The values of both splits."""
        return on("train", self.train) | on("val", self.val)


Event = StepLogged | EpochEnded


class Sink(Protocol):
    """Receives events, to store, show or send them."""

    def emit(self, event: Event) -> None:
        """Receives one event; must return quickly."""

    def close(self) -> None:
        """Called once, after the last event."""
