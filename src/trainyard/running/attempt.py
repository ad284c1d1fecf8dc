"""One attempt at a run, new or resumed: trains, tests and writes the final files."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch
from rich.console import Console

from trainyard.assembly.setup import Setup
from trainyard.errors import Interrupted, TrainyardError
from trainyard.objects import Objects
from trainyard.retention import KeepPolicy
from trainyard.running import start_files
from trainyard.running.finishing import finish
from trainyard.running.lineage import UsedSteps
from trainyard.running.logs import kept_in, logging_to, tell
from trainyard.running.sinks import sinks_of, tracking
from trainyard.runs import RunWriter, environment
from trainyard.training import process as processes
from trainyard.training.cadence import Cadence
from trainyard.training.checkpoint.capture import Capture
from trainyard.training.checkpoint.checkpointer import Checkpointer
from trainyard.training.events import Sink
from trainyard.training.loop import fit
from trainyard.training.process import Process
from trainyard.training.progress import Progress

StopRequest = Callable[[], bool]


def never() -> bool:
    """No request to stop."""
    return False


@contextlib.contextmanager
def starting_processes(device: str) -> Iterator[Process]:
    """This process among those of torchrun; all of them leave the block together."""
    try:
        yield processes.start(device)
        processes.meet()  # the main process writes the run's files and takes longer than the others
    finally:
        processes.stop()


@contextlib.contextmanager
def _stop_requests() -> Iterator[threading.Event]:
    """An event set by the first SIGINT or SIGTERM; a second one raises KeyboardInterrupt.

    Outside the main thread, where Python delivers no signals, it is never set.
    """
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return

    def on_signal(number: int, _frame: object) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()

    before = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def attempt(
    setup: Setup,
    run: RunWriter | None,
    progress: Progress,
    *,
    resumed: bool,
    console: Console,
    overrides: Sequence[str] = (),
    messages: Sequence[str] = (),
    sinks: Sequence[Sink] = (),
    should_stop: StopRequest = never,
) -> None:
    """Trains the steps that remain after `progress`, then tests and writes the final files.

    `run` is None in processes that write no run. Its log has what is printed on `console`, and before that
    `messages`, which were printed earlier; the command line's `overrides` are saved with it. `sinks` get the events
    after the run's own; `should_stop` is asked after each step, and stops the training like a signal.

    Raises:
        Interrupted: a stop was requested; a checkpoint is written.
        TrainyardError: it failed.
    """
    trains = setup.config.run.train
    if run is None:
        if trains:
            with _stop_requests() as asked:
                _fit(setup, _checkpointer(setup, None), (), progress, lambda: asked.is_set() or should_stop())
        finish(setup, None, console)
        return
    with logging_to(run, "log", "error_log") as logger, _stop_requests() as asked:
        try:
            if not start_files.is_complete(run):
                cuda = {"cuda": torch.version.cuda} if setup.process.device.type == "cuda" else {}
                start_files.write_start(run, run.snapshot.config, overrides, environment.capture() | cuda)
            logger.info("%s %s (%s) in %s", "resuming" if resumed else "training", run.name, run.id, run.home)
            for message in messages:
                logger.info("%s", message)
            for note in setup.notes:
                tell(console, note, logger=logger)
            for warning in run.snapshot.warnings:
                tell(console, warning, label="warning: ", logger=logger)
            with tracking(setup, run, logger, console) as tracker:
                if trains:
                    checkpointer = _checkpointer(setup, run)
                    if resumed:
                        checkpointer.catch_up(done=False)
                    own = sinks_of(setup, run, checkpointer, logger, console, progress)
                    try:
                        every = [*own, *([tracker] if tracker else []), *sinks]
                        _fit(setup, checkpointer, every, progress, lambda: asked.is_set() or should_stop())
                    except Interrupted:
                        checkpointer.wait()  # Interrupted guarantees a checkpoint
                        raise
                    else:
                        checkpointer.wait()
                    finally:
                        for sink in own:
                            sink.close()
                        checkpointer.close()
                    checkpointer.catch_up(done=True)
                summary = finish(setup, run, console, logger)
                if tracker:
                    tracker.summary(summary)
            logger.info("finished %s", run.name)
            logger.info("%s", kept_in(run.home))
        except BaseException as error:
            logger.error("%s: %s", type(error).__name__, error, exc_info=not isinstance(error, TrainyardError))
            raise


def _checkpointer(setup: Setup, run: RunWriter | None) -> Checkpointer:
    keep = setup.config.checkpoint
    objects = run.yard.objects if run is not None else Objects(Path())
    return Checkpointer(
        run,
        Capture(setup.trainee, objects, keep.single_file),
        setup.process,
        KeepPolicy(keep.keep_last, keep.keep_best, keep.keep_every, optimizer=keep.keep_optimizer),
        monitor=str(setup.monitor),
        mode=setup.mode,
        protected=UsedSteps(run.yard, run.id) if run is not None else dict,
        background=keep.background,
        cadence=Cadence() if keep.every_epochs is None and keep.every_steps is None else None,
    )


def _fit(
    setup: Setup, checkpointer: Checkpointer, sinks: Sequence[Sink], progress: Progress, asked: StopRequest
) -> None:
    def should_stop() -> bool:
        checkpointer.check()
        return bool(setup.process.share(asked()))

    fit(
        setup.step,
        setup.batches("train", training=True),
        lambda: setup.predict("val"),
        setup.plan(),
        progress,
        scheduler=setup.scheduler,
        sinks=sinks,
        save=checkpointer.save,
        should_stop=should_stop,
        is_due=lambda: bool(setup.process.share(checkpointer.is_due())),
        describe=setup.describe,
    )
