"""The sinks of a run's training: its history, logs, tables and plots, the console, and trackers."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from rich.console import Console

from trainyard.assembly.setup import Setup
from trainyard.running import epoch_files
from trainyard.running.logs import SpeedSink, tell
from trainyard.runs import RunWriter, environment
from trainyard.tracking.tensorboard import TensorBoardSink
from trainyard.tracking.wandb import WandbSink
from trainyard.training.checkpoint.checkpointer import Checkpointer
from trainyard.training.events import Sink
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
        sinks.append(SpeedSink(run, len(setup.dataset.indices("train"))))
    if run.keeps("results"):
        sinks.append(epoch_files.ResultsSink(run, steps * config.training.epochs))
    if config.outputs.val_predictions_every:
        every = config.outputs.val_predictions_every
        sinks.append(epoch_files.PredictionsSink(run, setup.dataset, setup.task.scoring, every))
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
    with WandbSink(
        run.home / ".run",
        project=snapshot.project,
        name=run.name,
        id=run.id,
        config=snapshot.config,
        tags=snapshot.tags,
        note=snapshot.note,
        commit=git.get("commit"),
        remote=git.get("remote"),
        on_trouble=warn,
    ) as sink:
        yield sink
