"""The sinks of a run's training: its history, logs, tables and plots, the console, and trackers."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from typing import Any

from rich.console import Console

from trainyard import durable
from trainyard.analysis.scoring import Scoring
from trainyard.assembly.setup import Setup
from trainyard.data.dataset import Dataset
from trainyard.metric import Metric, as_text
from trainyard.running.end_files import predictions_text
from trainyard.running.logs import tell
from trainyard.runs import RunWriter, environment
from trainyard.tracking.tensorboard import TensorBoardSink
from trainyard.tracking.wandb import WandbSink
from trainyard.training.checkpoint.checkpointer import Checkpointer
from trainyard.training.events import EpochEnded, Event, Sink
from trainyard.training.progress import Progress
from trainyard.training.sinks import ConsoleSink, HistorySink, LogSink


def sinks_of(
    setup: Setup, run: RunWriter, checkpointer: Checkpointer, logger: Any, console: Console, progress: Progress
) -> list[Sink]:
    """The sinks of a run except its tracker, in the order in which they get events; the caller closes them."""
    config, headline = setup.config, setup.task.scoring.headline
    batches = setup.batches("train", training=True)
    steps = -(-len(batches) // config.training.grad_accumulation)
    sinks: list[Sink] = [HistorySink(run, setup.monitor, checkpointer.write_event), LogSink(logger, headline)]
    if config.tracker != "none" and run.keeps("tensorboard"):
        purge = progress.step if len(run.snapshot.attempts) > 1 else None
        sinks.append(TensorBoardSink(run.path("tensorboard"), purge_after=purge))
    if run.keeps("performance_log"):
        sinks.append(_SpeedSink(run, len(setup.dataset.indices("train"))))
    if run.keeps("results"):
        sinks.append(_ResultsSink(run, steps * config.training.epochs))
    if every := config.outputs.val_predictions_every:
        sinks.append(_PredictionsSink(run, setup.dataset, setup.task.scoring, every))
    sinks.append(ConsoleSink(console, headline, steps, config.training.epochs, start=progress.step))
    return sinks


@contextlib.contextmanager
def tracking(setup: Setup, run: RunWriter, logger: Any, console: Console) -> Iterator[WandbSink | None]:
    """The tracker that the config selects in addition to TensorBoard; its errors become warnings of the run."""
    if setup.config.tracker != "wandb":
        yield None
        return

    def warn(text: str) -> None:
        run.warn(text)
        tell(console, text, label="warning: ", logger=logger)

    snapshot, git = run.snapshot, environment.git()
    shown: dict[str, Any] = {"project": snapshot.project, "name": run.name, "id": run.id, "config": snapshot.config}
    shown |= {"tags": snapshot.tags, "notes": snapshot.note, "commit": git.get("commit"), "remote": git.get("remote")}
    with WandbSink(run.home / ".run", on_trouble=warn, **shown) as sink:
        yield sink


class _SpeedSink:
    """Appends a line of seconds and items per second for each epoch to the run's performance log."""

    def __init__(self, run: RunWriter, items_per_epoch: int) -> None:
        self._run, self._items = run, items_per_epoch
        self._stream = durable.open_log(run.path("performance_log"))

    def emit(self, event: Event) -> None:
        """Writes one line per epoch."""
        if isinstance(event, EpochEnded):
            self._stream.write(
                f"{time.strftime('%Y-%m-%d %H:%M:%S')} epoch {event.epoch} step {event.step} "
                f"seconds {event.seconds:.3f} items_per_s {self._items / event.seconds:.1f} "
                f"waiting_for_data {event.waited_s / event.seconds:.4f}\n"
            )

    def close(self) -> None:
        """Closes the file."""
        self._stream.close()
        self._run.note_record("performance_log", self._run.path("performance_log"))


class _PredictionsSink:
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


class _ResultsSink:
    """Writes results.json, an array with one object per epoch, and metadata.json, replaced after each epoch."""

    def __init__(self, run: RunWriter, total_steps: int) -> None:
        self._run, self._total = run, total_steps
        path = run.path("results")
        self._epochs: list[dict[str, Any]] = json.loads(path.read_bytes()) if path.exists() else []

    def emit(self, event: Event) -> None:
        """Adds an object per epoch."""
        if not isinstance(event, EpochEnded):
            return
        self._epochs = [epoch for epoch in self._epochs if epoch["current_epoch"] < event.epoch]
        values, best = as_text(event.metrics), event.best
        rate = values.pop(str(Metric("train", "learning_rate")))
        known = {
            "best_iteration": best.step,
            "best_loss": best.value if best.value is not None else float("inf"),
            "current_epoch": event.epoch,
            "current_iteration": event.step,
            "epochs": event.epochs,
            "learning_rate": rate,
            "total_steps": self._total,
        }
        self._epochs.append(values | known)
        self._run.write("results", json.dumps(self._epochs, indent=2) + "\n")
        steps = {"best": best.step, "recent": event.step}
        metadata = {"log_iteration": event.step, "checkpoint_iteration": steps}
        self._run.write("metadata", json.dumps(metadata, indent=2) + "\n")

    def close(self) -> None:
        """Nothing to close."""
