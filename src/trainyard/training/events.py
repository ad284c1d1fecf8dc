"""What the loop tells its sinks, and what a sink is. Events go one way: no sink can change the training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

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

    `metrics` holds both splits under their prefixes: train_loss, val_loss, val_accuracy …
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
    def metrics(self) -> dict[str, float]:
        """Both splits' values under `train_` and `val_`."""
        return {f"train_{k}": v for k, v in self.train.items()} | {f"val_{k}": v for k, v in self.val.items()}


Event = StepLogged | EpochEnded


class Sink(Protocol):
    """Takes events: keeps, shows or sends them."""

    def emit(self, event: Event) -> None:
        """Takes one event; must return quickly."""

    def close(self) -> None:
        """Called once, after the last event."""
