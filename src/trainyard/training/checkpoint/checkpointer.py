"""Keeping checkpoints while training goes on: capture now, write behind, one in flight, then make room.

A failed write fails the training at its next step. The events of a checkpoint are one append to the
journal where nothing has to be durable in between. Joins `state` (tensors), `checkpoints` (files)
and `retention` (what may go); decides nothing about when.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from trainyard.checkpoints import FORMATS, commit, publish
from trainyard.metric import as_text
from trainyard.retention import KeepPolicy, rotate
from trainyard.runs import Event, RunWriter
from trainyard.training.cadence import Cadence
from trainyard.training.checkpoint.capture import Capture, rng_state
from trainyard.training.checkpoint.write import encode
from trainyard.training.loop import SaveRequest
from trainyard.training.process import Process

_EVENTS_S = 1.0  # with a cadence: how far the journal may be behind the epochs


class Checkpointer:
    """Saves checkpoints of one run; `save` returns as soon as the tensors are copied.

    Args:
        run: the run; None in processes that do not keep it.
        capture: copies the tensors.
        process: this process; every one must call `save`.
        policy: what to keep; applied after each checkpoint.
        monitor: the metric that says which are best.
        mode: min or max.
        protected: steps that other runs use, and why; asked before each rotation.
        background: write in a thread of its own; otherwise `save` returns when all is on disk.
        cadence: says when a checkpoint is due; then the best one since is held in memory until the next is
            written, `flush` or the end. None: everything is written that is offered.
    """

    def __init__(
        self,
        run: RunWriter | None,
        capture: Capture,
        process: Process,
        policy: KeepPolicy,
        *,
        monitor: str,
        mode: str,
        protected: Callable[[], Mapping[int, str]] = dict,
        background: bool = True,
        cadence: Cadence | None = None,
    ) -> None:
        self._run = run
        self._cadence = cadence
        self._clock = time.monotonic if cadence is None else cadence.clock
        self._best_capture: Capture | None = None  # memory of its own: the best outlives the next checkpoint
        self._best: Callable[[], None] | None = None  # writes the best so far, which is only in memory
        self._newest: Event | None = None  # the last event of an epoch, where epochs are too short to write each
        self._last_event = -math.inf
        self._capture = capture
        self._process = process
        self._policy = policy
        self._monitor = monitor
        self._mode = mode
        self._protected = protected
        self._background = background
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="trainyard-checkpoint")
        self._jobs: list[Future[None]] = []
        self._waiting: list[Event] = []  # for the next checkpoint, to be in the journal with it

    def do(self, job: Callable[[], None]) -> None:
        """Runs `job` after everything asked for so far, in the background if that is on.

        Raises:
            whatever an earlier job failed with.
        """
        self.check()
        self._jobs.append(self._worker.submit(job))
        if not self._background:
            self.wait()

    def write_event(self, event: Event, with_next: bool = False) -> None:
        """Has `event` written to the journal behind the training; `with_next`: together with the next checkpoint.

        With a cadence, of the events that come faster than one a second the last one is written, by `check` at the
        latest.

        Raises:
            whatever an earlier job failed with.
        """
        run = self._run
        assert run is not None
        if with_next:
            self.check()
            self._waiting.append(event)
        elif self._cadence is None:
            self.do(lambda: run.event(event))
        else:
            self._newest = event
            self.check()

    def check(self) -> None:
        """Raises what a finished job failed with, and writes an event held back for a second; costs next to nothing."""
        while self._jobs and self._jobs[0].done():
            self._jobs.pop(0).result()
        run, newest, now = self._run, self._newest, self._clock()
        if run is not None and newest is not None and now - self._last_event >= _EVENTS_S:
            self._last_event, self._newest = now, None
            self.do(lambda: run.event(newest))

    def wait(self) -> None:
        """Returns when everything asked for so far is on disk, or raises what it failed with."""
        while self._jobs:
            self._jobs.pop(0).result()

    def close(self) -> None:
        """Ends the thread, after everything asked for so far; raises nothing."""
        best, self._best = self._best, None
        if best is not None:  # the training failed: what was best before is kept
            self._worker.submit(best)
        run, waiting = self._run, self._take_waiting()
        if run is not None and waiting:  # the checkpoint that they waited for never came
            self._worker.submit(_write_events, run, waiting)
        self._worker.shutdown(wait=True)

    def save(self, request: SaveRequest) -> None:
        """Captures a checkpoint, waiting only for the one before it to be written."""
        rng = self._process.gather(rng_state(self._process.device))
        if self._run is None:
            return
        self.wait()
        if not request.due and self._cadence is not None:
            self._hold(request, rng)
            return
        if request.improved:
            self._best = None  # this one is better
        self.flush()
        if self._cadence is not None:
            self._cadence.began()
        began = self._clock()
        state = self._capture.take()
        progress = request.progress.to_dict()
        waiting = self._take_waiting()

        def write() -> None:
            self._write(request, state, progress, rng, waiting)
            if self._cadence is not None:
                self._cadence.took(self._clock() - began)

        self.do(write)

    def is_due(self) -> bool:
        """Whether the cadence asks for a checkpoint now; False without one."""
        return self._cadence is not None and self._cadence.is_due()

    def _hold(self, request: SaveRequest, rng: list[Any]) -> None:
        """Keeps a copy of the best so far in memory."""
        if self._best_capture is None:
            self._best_capture = Capture(self._capture.trainee, self._capture.objects, self._capture.single_file)
        state, progress = self._best_capture.take(), request.progress.to_dict()
        self._best = lambda: self._write(request, state, progress, rng, ())

    def flush(self) -> None:
        """Has the best checkpoint written that is only in memory, behind the training."""
        best, self._best = self._best, None
        if best is not None:
            self.do(best)
            self.wait()  # its memory is used again for the next one

    def _take_waiting(self) -> list[Event]:
        newest = [] if self._newest is None else [self._newest]
        waiting, self._waiting, self._newest = [*newest, *self._waiting], [], None
        return waiting

    def _write(
        self,
        request: SaveRequest,
        state: dict[str, Any],
        progress: dict[str, Any],
        rng: list[Any],
        waiting: Sequence[Event],
    ) -> None:
        run = self._run
        assert run is not None
        with run.batch():
            _write_events(run, waiting)
            self._commit(run, request, state, progress, rng)
            self._make_room(run)

    def _commit(
        self, run: RunWriter, request: SaveRequest, state: dict[str, Any], progress: dict[str, Any], rng: list[Any]
    ) -> None:
        format_ = FORMATS[run.layout.checkpoint_format]
        step, best_step = progress["step"], progress["best"]["step"]
        best_checkpoint = None
        if format_.is_directory and progress["best"]["value"] is not None:
            best_checkpoint = run.yard.relative(run.path("checkpoint", step=best_step, epoch=progress["best"]["epoch"]))
        files = encode(
            self._capture,
            state,
            progress,
            rng,
            format_=format_,
            step=step,
            epoch=request.epoch,
            metrics=as_text(request.metrics),
            best_checkpoint=best_checkpoint,
        )
        checkpoint = commit(
            run,
            files.writers,
            step=step,
            epoch=request.epoch,
            metrics=as_text(request.metrics),
            linked=files.linked,
            expected_bytes=files.expected_bytes,
            inside_epoch=request.inside_epoch,
        )
        if request.improved and not format_.is_directory:
            publish(run, checkpoint, "best")

    def _make_room(self, run: RunWriter) -> None:
        rotate(run, self._policy, monitor=self._monitor, mode=self._mode, protected_steps=self._protected())

    def catch_up(self, *, done: bool) -> None:
        """Publishes and drops what should be by now: after a resume, what a kill left undone; at the end, all.

        The best checkpoint of a directory format and the final one get their names when `done`.
        """
        run = self._run
        if run is None or not run.snapshot.checkpoints:
            return
        self.wait()
        best = run.snapshot.checkpoint(run.snapshot.best.step) if run.snapshot.best else None
        chosen = {"best": best, "final": run.snapshot.checkpoints[-1] if done else None}
        with run.batch():
            for place, checkpoint in chosen.items():
                if checkpoint is None or place in checkpoint.paths or "checkpoint" not in checkpoint.paths:
                    continue
                if done or not FORMATS[checkpoint.format].is_directory:
                    publish(run, checkpoint, place)
            self._make_room(run)


def _write_events(run: RunWriter, events: Sequence[Event]) -> None:
    with run.batch():
        for event in events:
            run.event(event)
