"""The sinks of the loop's events: the history, the log and the console."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from trainyard.metric import Metric, as_text
from trainyard.runs import BestStep, RunWriter
from trainyard.runs.events import Progressed
from trainyard.training.events import EpochEnded, Event, StepLogged


class HistorySink:
    """Writes every value as a row of the run's history, and each epoch to its journal.

    `write` is called with the event for the journal, and whether a checkpoint of its step follows; `monitor` is the
    metric that chooses the best epoch.
    """

    def __init__(self, run: RunWriter, monitor: Metric, write: Callable[[Progressed, bool], None]) -> None:
        self._run = run
        self._monitor = monitor
        self._write = write

    def emit(self, event: Event) -> None:
        """Writes the rows."""
        if isinstance(event, StepLogged):
            self._run.log(event.values, step=event.step, epoch=event.epoch)
            return
        self._run.log(event.train, step=event.step, epoch=event.epoch)
        self._run.log(event.val, step=event.step, epoch=event.epoch, split="val")
        best = None
        if event.best.value is not None:
            best = BestStep(event.best.step, event.best.epoch, event.best.value, str(self._monitor))
        self._write(Progressed(event.step, event.epoch, as_text(event.metrics), best), event.checkpoint_follows)

    def close(self) -> None:
        """Does nothing: the run flushes its own history."""


class LogSink:
    """Writes a line for each epoch, and for each logged step at debug level, to a logger."""

    def __init__(self, logger: logging.Logger, headline: Sequence[str]) -> None:
        self._logger = logger
        self._headline = headline

    def emit(self, event: Event) -> None:
        """Writes one line."""
        if isinstance(event, StepLogged):
            values = "  ".join(f"{key} {value:.4g}" for key, value in event.values.items())
            self._logger.debug("step %d  %s", event.step, values)
            return
        self._logger.info("%s", epoch_line(event, self._headline))

    def close(self) -> None:
        """Does nothing: the logger belongs to the caller."""


def epoch_line(event: EpochEnded, headline: Sequence[str]) -> str:
    """One epoch in one line: losses, the task's main metrics, time, a star when it is the best so far."""
    val = "  ".join(f"{Metric('val', name)} {event.val[name]:.4f}" for name in headline if name in event.val)
    width = len(str(event.epochs))
    waited = event.waited_s / event.seconds if event.seconds else 0.0
    return (
        f"epoch {event.epoch:>{width}}/{event.epochs}  step {event.step}  train_loss {event.train['loss']:.4f}  "
        f"{val}  {event.seconds:.1f} s ({waited:.0%} waiting for data){'  *' if event.improved else ''}"
    )


class ConsoleSink:
    """A progress bar over all epochs on a terminal; one plain line per epoch elsewhere, with the `headline` metrics.

    `start` is the number of optimizer steps already done.
    """

    def __init__(
        self, console: Console, headline: Sequence[str], steps_per_epoch: int, epochs: int, *, start: int = 0
    ) -> None:
        self._console = console
        self._headline = headline
        self._bar: Progress | None = None
        if console.is_terminal:
            done = TextColumn("step {task.completed}/{task.total}")
            columns = (TextColumn("{task.description}"), BarColumn(), done, TimeRemainingColumn())
            self._bar = Progress(*columns, console=console, transient=True)
            self._task = self._bar.add_task("training", total=steps_per_epoch * epochs, completed=start)
            self._bar.start()

    def emit(self, event: Event) -> None:
        """Moves the bar; prints a line per epoch."""
        if self._bar is not None:
            self._bar.update(self._task, completed=event.step)
        if isinstance(event, EpochEnded):
            self._console.print(epoch_line(event, self._headline), highlight=False, soft_wrap=True, markup=False)

    def close(self) -> None:
        """Removes the bar."""
        if self._bar is not None:
            self._bar.stop()
