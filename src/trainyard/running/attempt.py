"""One attempt at a run: trains, tests and writes the final files.

Used by new runs, by resumed ones, and by those of a user's own model and data.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from rich.console import Console

from trainyard.assembly.setup import Setup
from trainyard.errors import Interrupted, TrainyardError
from trainyard.objects import Objects
from trainyard.retention import KeepPolicy
from trainyard.running import start_files
from trainyard.running.finishing import finish
from trainyard.running.lineage import UsedSteps
from trainyard.running.logs import kept_in, logging_to, tell
from trainyard.running.signals import stop_requests
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

ShouldStop = Callable[[], bool]


@contextlib.contextmanager
def starting_processes(device: str) -> Iterator[Process]:
    """This process among those of torchrun; all of them leave the block together."""
    try:
        yield processes.start(device)
        processes.meet()  # the main process writes the run's files and takes longer than the others
    finally:
        processes.stop()


def attempt(
    setup: Setup,
    run: RunWriter | None,
    progress: Progress,
    *,
    resumed: bool,
    overrides: Sequence[str] = (),
    console: Console,
    messages: Sequence[str] = (),
    sinks: Sequence[Sink] = (),
    should_stop: ShouldStop = lambda: False,
) -> None:
    """Trains the remaining steps, then tests and writes the final files.

    Args:
        setup: the training.
        run: where to write; None in processes that write no run.
        progress: the current state of the training.
        resumed: whether earlier attempts left records.
        overrides: the command line's overrides, saved with the run.
        console: everything printed here is also in the run's log.
        messages: lines printed before the log was open.
        sinks: further sinks, in addition to the run's own.
        should_stop: called after each step, like the check for signals; True stops with a checkpoint.

    Raises:
        Interrupted: a stop was requested; a checkpoint is written.
        TrainyardError: it failed.
    """
    config = setup.config
    if run is None:
        checkpointer = _checkpointer(setup, None)
        if config.run.train:
            with stop_requests() as asked:
                _fit(setup, checkpointer, (), progress, lambda: asked.is_set() or should_stop())
        finish(setup, None, console)
        return
    with logging_to(run, "log", "error_log") as logger, stop_requests() as asked:
        try:
            if not start_files.is_complete(run):
                start_files.write_start(run, run.snapshot.config, overrides, _environment(setup.process))
            logger.info("%s %s (%s) in %s", "resuming" if resumed else "training", run.name, run.id, run.home)
            for message in messages:
                logger.info("%s", message)
            for note in setup.notes:
                tell(console, note, logger=logger)
            for warning in run.snapshot.warnings:
                tell(console, warning, label="warning: ", logger=logger)
            with tracking(setup, run, logger, console) as tracker:
                if config.run.train:
                    checkpointer = _checkpointer(setup, run)
                    if resumed:
                        checkpointer.catch_up(done=False)
                    own = sinks_of(setup, run, checkpointer, logger, console, progress)
                    all_sinks = [*own, *([tracker] if tracker else []), *sinks]
                    try:
                        try:
                            _fit(setup, checkpointer, all_sinks, progress, lambda: asked.is_set() or should_stop())
                        except Interrupted:
                            checkpointer.wait()  # Interrupted guarantees a checkpoint
                            raise
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


def _environment(process: Process) -> dict[str, object]:
    captured = environment.capture()
    if process.device.type == "cuda":
        import torch

        captured["cuda"] = torch.version.cuda
    return captured


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
    setup: Setup, checkpointer: Checkpointer, sinks: Sequence[Sink], progress: Progress, asked: ShouldStop
) -> None:
    process = setup.process

    def should_stop() -> bool:
        checkpointer.check()
        return bool(process.share(asked())) if process.world > 1 else asked()

    def is_due() -> bool:
        return bool(process.share(checkpointer.is_due())) if process.world > 1 else checkpointer.is_due()

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
        is_due=is_due,
        describe=setup.describe,
    )
