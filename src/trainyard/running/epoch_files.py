"""The files that a training run writes at its epochs: results.json, metadata.json, validation predictions."""

from __future__ import annotations

import json
from typing import Any

from trainyard.analysis.scoring import Scoring
from trainyard.data.dataset import Dataset
from trainyard.metric import Metric, as_text
from trainyard.running.end_files import predictions_text
from trainyard.runs import RunWriter
from trainyard.training.events import EpochEnded, Event


class PredictionsSink:
    """Writes the validation predictions of every n-th epoch."""

    def __init__(self, run: RunWriter, dataset: Dataset, scoring: Scoring, every: int) -> None:
        self._run, self._dataset, self._scoring, self._every = run, dataset, scoring, every

    def emit(self, event: Event) -> None:
        """Writes one file every n-th epoch."""
        if isinstance(event, EpochEnded) and event.epoch % self._every == 0 and event.predictions and event.val:
            text = predictions_text(event.predictions, self._dataset, self._scoring)
            self._run.write("predictions", text, split="val", epoch=event.epoch)

    def close(self) -> None:
        """Nothing to close."""


class ResultsSink:
    """Writes results.json, an array with one object per epoch, and metadata.json, replaced after each epoch.

    Args:
        run: the run.
        total_steps: optimizer steps planned.
    """

    def __init__(self, run: RunWriter, total_steps: int) -> None:
        self._run, self._total = run, total_steps
        self._epochs: list[dict[str, Any]] = []
        path = run.path("results")
        if path.exists():
            self._epochs = json.loads(path.read_bytes())

    def emit(self, event: Event) -> None:
        """Adds an object per epoch."""
        if not isinstance(event, EpochEnded):
            return
        self._epochs = [epoch for epoch in self._epochs if epoch["current_epoch"] < event.epoch]
        rate = event.train["learning_rate"]
        losses = as_text({m: value for m, value in event.metrics.items() if m != Metric("train", "learning_rate")})
        self._epochs.append(
            {
                **losses,
                "best_iteration": event.best.step,
                "best_loss": event.best.value if event.best.value is not None else float("inf"),
                "current_epoch": event.epoch,
                "current_iteration": event.step,
                "epochs": event.epochs,
                "learning_rate": rate,
                "total_steps": self._total,
            }
        )
        self._run.write("results", json.dumps(self._epochs, indent=2) + "\n")
        metadata = {
            "log_iteration": event.step,
            "checkpoint_iteration": {"best": event.best.step, "recent": event.step},
        }
        self._run.write("metadata", json.dumps(metadata, indent=2) + "\n")

    def close(self) -> None:
        """Nothing to close."""
