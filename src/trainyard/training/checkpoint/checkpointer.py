"""Saving checkpoints while training continues: capture now, write in the background, then remove old ones.

At most one write is in progress. A failed write fails the training at its next step. The events of a
checkpoint are one append to the journal where nothing has to be durable in between. Joins `capture`
(tensors), `checkpoints` (files) and `retention` (what may be removed); does not decide when to save.
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

_EVENTS_S = 1.0  # with a cadence: the longest that the journal lags behind the epochs


class Checkpointer:
    """Saves checkpoints of one run; `save`, which every process must call, returns as soon as the tensors are copied.

    `run` is None in processes that do not write it. After each checkpoint, `policy` decides which ones to keep, ranked
    by `monitor` and `mode`, besides the steps that other runs use (`protected`, with the reasons). Without
    `background`, `save` returns when all is on disk. A `cadence` decides when a checkpoint is due: the best one in
    between is held in memory until the next is written, `flush` or the end. Without one, every offered checkpoint is
    written.
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
        self._best_capture: Capture | None = None  # separate memory: the best outlives the next checkpoint
        self._best: Callable[[], None] | None = None  # writes the best so far, which is in memory only
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
        self._waiting: list[Event] = []  # written to the journal together with the next checkpoint

    def do(self, job: Callable[[], None]) -> None:
        """Runs `job` after all earlier jobs, in the background if that is on; raises the error of one that failed."""
        self.check()
        self._jobs.append(self._worker.submit(job))
        if not self._background:
            self.wait()

    def write_event(self, event: Event, with_next: bool = False) -> None:
        """Writes `event` to the journal in the background; `with_next`: together with the next checkpoint.

        With a cadence, at most one event per second is written, the newest, by `check` at the latest; the others are
        dropped. Raises the error of an earlier job that failed.
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
        """Raises the error of a finished job, and writes an event that was held back for a second; nearly free."""
        while self._jobs and self._jobs[0].done():
            self._jobs.pop(0).result()
        run, newest, now = self._run, self._newest, self._clock()
        if run is not None and newest is not None and now - self._last_event >= _EVENTS_S:
            self._last_event, self._newest = now, None
            self.do(lambda: run.event(newest))

    def wait(self) -> None:
        """Returns when all jobs so far are done, or raises the error of the first that failed."""
        while self._jobs:
            self._jobs.pop(0).result()

    def close(self) -> None:
        """Ends the thread after all jobs so far; raises nothing."""
        best, self._best = self._best, None
        if best is not None:  # the training failed: the best state before that is kept
            self._worker.submit(best)
        run, waiting = self._run, self._take_waiting()
        if run is not None and waiting:  # the checkpoint that they waited for was never saved
            self._worker.submit(_write_events, run, waiting)
        self._worker.shutdown(wait=True)

    def save(self, request: SaveRequest) -> None:
        """Captures a checkpoint, waiting only for the one before it to be written."""
        rng = self._process.gather(rng_state(self._process.device))
        if self._run is None:
            return
        self.wait()
        progress = request.progress.to_dict()
        if not request.due and self._cadence is not None:
            if self._best_capture is None:
                self._best_capture = Capture(self._capture.trainee, self._capture.objects, self._capture.single_file)
            best = self._best_capture.take()
            self._best = lambda: self._write(request, best, progress, rng, ())
            return
        if request.improved:
            self._best = None  # superseded by this one
        self.flush()
        if self._cadence is not None:
            self._cadence.began()
        began = self._clock()
        state = self._capture.take()
        waiting = self._take_waiting()

        def write() -> None:
            self._write(request, state, progress, rng, waiting)
            if self._cadence is not None:
                self._cadence.took(self._clock() - began)

        self.do(write)

    def is_due(self) -> bool:
        """Whether the cadence asks for a checkpoint now; False without one."""
        return self._cadence is not None and self._cadence.is_due()

    def flush(self) -> None:
        """Writes the best checkpoint if it is in memory only, and waits for it."""
        best, self._best = self._best, None
        if best is not None:
            self.do(best)
            self.wait()  # its memory is reused for the next one

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
        format_, metrics = FORMATS[run.layout.checkpoint_format], as_text(request.metrics)
        step, best, best_path = progress["step"], progress["best"], None
        if format_.is_directory and best["value"] is not None:
            best_path = run.yard.relative(run.path("checkpoint", step=best["step"], epoch=best["epoch"]))
        moment: dict[str, Any] = {"step": step, "epoch": request.epoch, "metrics": metrics}
        with run.batch():
            _write_events(run, waiting)
            files = encode(self._capture, state, progress, rng, format_=format_, best_checkpoint=best_path, **moment)
            checkpoint = commit(
                run,
                files.writers,
                linked=files.linked,
                expected_bytes=files.expected_bytes,
                inside_epoch=request.inside_epoch,
                **moment,
            )
            if request.improved and not format_.is_directory:
                publish(run, checkpoint, "best")
            self._make_room(run)

    def _make_room(self, run: RunWriter) -> None:
        rotate(run, self._policy, monitor=self._monitor, mode=self._mode, protected_steps=self._protected())

    def catch_up(self, *, done: bool) -> None:
        """Completes publishing and rotation: after a resume, what a kill interrupted; at the end, all of it.

        With `done`, the final checkpoint, and the best one of a directory format, are published too.
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
