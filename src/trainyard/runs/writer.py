"""Writing a run: claiming its home, then events, metric rows and files.

A run appears with its journal by one rename, or not at all. Every event is durable when its call returns, or
when its batch ends; metric rows within half a second. Methods may be called from any thread. Knows nothing of
the contents of checkpoints or of training.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self, SupportsFloat

from trainyard import durable
from trainyard.errors import BadNameError, Interrupted, NameTakenError, TrainyardError
from trainyard.layouts import Layout
from trainyard.layouts.facts import MAX_COMPONENT_BYTES, name_fault
from trainyard.layouts.template import Template
from trainyard.runs.events import AttemptBegan, Created, Ended, Event, RecordWritten, Summarised, Warned
from trainyard.runs.history import History
from trainyard.runs.identity import new_id
from trainyard.runs.journal import Journal, read_journal
from trainyard.runs.lock import RunLock
from trainyard.runs.reader import RunReader, resolve
from trainyard.runs.snapshot import Snapshot, fold
from trainyard.runs.yard import Yard

_ATTEMPTS_AT_A_NAME = 10_000


def create_run(
    yard: Yard,
    layout: Layout,
    *,
    project: str,
    dataset: str,
    model: str,
    name: str | None = None,
    default_name: str | None = None,
    config: Mapping[str, Any] | None = None,
    seed: int | None = None,
    tags: Sequence[str] = (),
    note: str = "",
) -> RunWriter:
    """A new run in a home of its own, even when several processes create runs at the same time.

    `name` is an explicit name; without one, the run is called `default_name` or else like the model, and
    `-2`, `-3` … is appended if that is taken. `config` is the resolved configuration, ready for JSON.

    Raises:
        NameTakenError: `name` is taken.
        BadNameError: a name cannot be part of a path.
        YardError: the yard is not writable.
        DiskFullError: the disk is full.
        TypeError: `config` cannot be encoded as JSON.
    """
    names = checked_names(project=project, dataset=dataset, model=model, name=default_name if name is None else name)
    now = datetime.now()  # local time, as people expect
    times = {"date": f"{now:%Y-%m-%d}", "time": f"{now:%H-%M-%S}", "timestamp": f"{now:%Y%m%d-%H%M%S}"}
    first = {**names, "id": new_id(), **times}
    for n in range(1, _ATTEMPTS_AT_A_NAME):
        facts = {key: str(value) for key, value in layout.vary(first, n).items()}
        home = layout.path("home", facts)
        if not os.path.lexists(yard.root / home):
            layout.check(facts)
            _refuse_nesting(yard, home)
            identity: dict[str, Any] = {key: facts[key] for key in ("id", "project", "dataset", "model")}
            identity |= {"name": facts["run"], "layout": layout.name, "home": home, "facts": facts}
            created = Created(**identity, seed=seed, tags=list(tags), note=note, config=dict(config or {}))
            run = _place(yard, layout, home, created)
            if run is not None:
                return run
        if name is not None and layout.claim == "run":
            what = f"The name {name!r} is taken: {yard.root / home} exists already."
            otherwise = f"omit it for a free one, or continue the run with `trainyard resume {name}`."
            raise NameTakenError(what, f"Choose another run.name, {otherwise}", value=name, place=yard.root / home)
    what = f"{yard.root} has no free name like {first['run']!r}."
    raise NameTakenError(what, "Give a run.name.", value=first["run"], place=yard.root)


def checked_names(*, project: str, dataset: str, model: str, name: str | None = None) -> dict[str, str]:
    """The names of a future run, as facts of its paths; its layout may still refuse them (`Layout.check`).

    Raises:
        BadNameError: one of them cannot be part of any path.
    """
    names = {"project": project, "dataset": dataset, "model": model, "run": model if name is None else name}
    for fact, value in names.items():  # refuse bad names even if the layout's paths do not contain them
        names[fact] = Template(f"{{{fact}}}").write({fact: value})
    return names


def _refuse_nesting(yard: Yard, home: str) -> None:
    for parent in (yard.root / home).relative_to(yard.root).parents:
        if parent != Path() and (yard.root / parent / ".run").exists():
            what, remedy = f"The run would be at {home}, inside the run at {parent}.", "Choose another project or name."
            raise BadNameError(what, remedy, value=home, place=yard.root / parent)


def _place(yard: Yard, layout: Layout, home: str, created: Created) -> RunWriter | None:
    """Creates a run at `home` in one step; None when that is taken. A failure leaves nothing there."""
    path = yard.root / home
    durable.sweep(path.parent)
    with contextlib.ExitStack() as undo:
        try:
            with durable.staging(path) as staged:
                own = staged / ".run"
                durable.make_directories(own)
                lock = RunLock(own / "lock")
                undo.callback(lock.release)
                if layout.source is not None:
                    durable.write_text(own / f"{layout.name}.yaml", layout.source)
                with contextlib.closing(Journal(own / "journal.jsonl")) as journal:
                    journal.add(created)
                    journal.add(_attempt(1, None))
                    journal.flush()
                yard.note_change(home)  # and again below: an index that looked in between found no run yet
        except FileExistsError:
            return None  # another process was first
        undo.callback(durable.discard, path)
        yard.note_change(home)
        run = RunWriter(yard, layout, path, lock)
        undo.pop_all()
    return run


def _attempt(n: int, resumed_from: int | None) -> AttemptBegan:
    return AttemptBegan(n, os.getpid(), socket.gethostname(), resumed_from)


def resume_run(yard: Yard, home: Path) -> RunWriter:
    """The run in `home`, locked for a new attempt; call `begin_attempt` before writing.

    Raises:
        RunBusyError: a live process is using it.
    """
    layout = RunReader(yard, home).layout
    run = RunWriter(yard, layout, home, RunLock(home / ".run" / "lock"))
    with contextlib.ExitStack() as undo:
        undo.callback(run.abandon)
        samples = {"step": 0, "epoch": 0, "split": "val", "moment": "20000101-000000", "artifact_id": "0" * 16}
        inside = {Path(directory) for directory, _, _ in os.walk(home)}
        for directory in inside | {run.path(kind, **samples).parent for kind in layout.kinds}:
            durable.sweep(directory)
        undo.pop_all()
    return run


class RunWriter:
    """A run that this process is writing. Use it as a context manager, or call `finish`.

    Leaving the block finishes the run: `finished`, `stopped` after an interrupt, `failed` with the
    error after any other exception. After a kill of the process every event, checkpoint, file and metric
    row whose call returned is there; after a power cut, metric rows up to half a second before.
    """

    def __init__(self, yard: Yard, layout: Layout, home: Path, lock: RunLock) -> None:
        self.yard = yard
        self.layout = layout
        self.home = home
        self.closed = False
        self._lock = lock
        self._own = home / ".run"
        self._pid = os.getpid()
        self._mutex = threading.RLock()
        self._batches = threading.local()  # per thread: `depth`, and `failures` at the start of the outermost batch
        self._failures = 0  # failed calls of `flush`
        self._last_failure: BaseException | None = None
        self._is_ahead = False  # the snapshot holds events that could not be written
        with contextlib.ExitStack() as undo:
            undo.callback(lock.release)
            self._journal = Journal(self._own / "journal.jsonl")
            undo.callback(self._journal.close)
            self._history = History(self._own / "history.jsonl")
            undo.callback(self._history.close)
            self.snapshot: Snapshot = fold(read_journal(self._own / "journal.jsonl")[0])
            self._save_snapshot(sync=False)
            undo.pop_all()

    def __repr__(self) -> str:
        return f"<run {self.snapshot.project}/{self.snapshot.name} in {self.home}>"

    @property
    def id(self) -> str:
        """The run's id: eight characters that never change."""
        return self.snapshot.id

    @property
    def name(self) -> str:
        """The run's name."""
        return self.snapshot.name

    # -- events

    def event(self, event: Event) -> None:
        """Appends one event to the journal; durable when this returns, unless inside `batch`."""
        with self._mutex:
            self._catch_up()
            self._raise_failure()
            self.snapshot.apply(self._journal.add(event))
            if not getattr(self._batches, "depth", 0):
                self.flush()

    @contextlib.contextmanager
    def batch(self) -> Iterator[None]:
        """A block whose events become durable together, in one write, when it ends or at `flush`.

        `snapshot` shows them immediately. The block must not delete, move or replace a file that the journal
        names without calling `flush` first: journal before deletion. An event of another thread is still
        durable when its call returns, together with all events queued before it.
        """
        own = self._batches
        own.depth = getattr(own, "depth", 0) + 1
        if own.depth == 1:
            own.failures = self._failures
        try:
            yield
            self._raise_failure()
        finally:  # after an error too: the events describe what has happened
            own.depth -= 1
            if not own.depth:
                self.flush()

    def _raise_failure(self) -> None:
        """Raises when the events of this thread's batch were lost in a `flush` of another thread."""
        if getattr(self._batches, "depth", 0) and self._failures > self._batches.failures:
            assert self._last_failure is not None
            raise self._last_failure

    def flush(self, *, sync_snapshot: bool = False) -> None:
        """Makes every event so far durable. If that fails, `snapshot` is reset to the journal's content.

        `run.json`, which can be derived again, survives a power cut only with `sync_snapshot`.
        """
        with self._mutex:
            if not self._journal.has_gathered:
                return
            self._is_ahead = True
            try:
                self._journal.flush()
            except BaseException as failure:
                self._failures, self._last_failure = self._failures + 1, failure
                with contextlib.suppress(OSError, TrainyardError):
                    self._catch_up()
                raise
            self._is_ahead = False
            self._save_snapshot(sync=sync_snapshot)

    def _catch_up(self) -> None:
        """Removes events from the snapshot that could not be written."""
        if self._is_ahead:
            self.snapshot = fold(self._journal.read_back())
            self.snapshot.journal_bytes = self._journal.size
            self._is_ahead = False

    def _save_snapshot(self, *, sync: bool) -> None:
        self.snapshot.journal_bytes = self._journal.size
        with contextlib.suppress(OSError, TrainyardError):  # readers detect an old one, and fold the journal
            # compact: indented JSON takes Python thirty times longer, and this is written at every event
            durable.write_text(self._own / "run.json", json.dumps(self.snapshot.to_dict()) + "\n", sync=sync)

    def _note_change(self) -> None:
        self.yard.note_change(f"{self.yard.relative(self.home)}/")

    def begin_attempt(self, resumed_from: int | None) -> None:
        """Starts a new attempt at step `resumed_from` (None: at the beginning); later rows are superseded."""
        n = len(self.snapshot.attempts) + 1
        self._note_change()  # before as well as after, so that a kill in between leaves no stale index
        self.event(_attempt(n, resumed_from))
        self._history.take_back(-1 if resumed_from is None else resumed_from, n)
        self._note_change()

    def warn(self, text: str) -> None:
        """Records a warning in the run."""
        if text not in self.snapshot.warnings:
            self.event(Warned(text))

    def summary(self, **values: float | str | None) -> None:
        """Records final values, such as test_accuracy: what lists and comparisons show."""
        self.event(Summarised(values))

    # -- metric rows

    def log(
        self, values: Mapping[str, SupportsFloat], *, step: int, epoch: float | None = None, split: str = "train"
    ) -> None:
        """Adds one row of metrics: safe from a kill when this returns, from a power cut half a second later."""
        self._history.log(values, step, epoch, split)

    def sync_history(self) -> None:
        """Returns once every row logged so far is durable."""
        self._history.sync()

    # -- files

    def path(self, kind: str, **facts: object) -> Path:
        """The path of this run's record of this kind; `facts` are those its template needs besides the run's."""
        return self.resolve(self.layout.path(kind, {**self.snapshot.facts, **facts}))

    def resolve(self, path: str) -> Path:
        """Where a recorded path is now."""
        return resolve(self.yard, self.home, self.snapshot.home, path)

    def relative(self, path: Path) -> str:
        """`path` as the journal records it: relative to the yard, below the original home.

        Raises:
            YardError: it is outside the yard.
        """
        if path.is_relative_to(self.home):
            inside = path.relative_to(self.home)
            return self.snapshot.home + (inside.as_posix() if inside.parts else "")
        return self.yard.relative(path)

    def keeps(self, kind: str) -> bool:
        """Whether the layout has a place for records of this kind."""
        return self.layout.has(kind)

    def write(self, kind: str, data: bytes | str, **facts: object) -> Path | None:
        """Writes a record atomically and records it in the journal; None when the layout has no place for it."""
        if not self.keeps(kind):
            return None
        path = self.path(kind, **facts)
        durable.write_text(path, data) if isinstance(data, str) else durable.write_bytes(path, data)
        self.note_record(kind, path, digest=True, **facts)
        return path

    def note_record(self, kind: str, path: Path, *, digest: bool = True, **facts: object) -> None:
        """Records in the journal that `path` was written. A directory is recorded with its total size."""
        relative, sha256 = self.relative(path), None
        if path.is_dir():
            relative = relative.rstrip("/") + "/"
            size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
        else:
            size = path.stat().st_size
            sha256 = durable.sha256_file(path) if digest else None
        known = {key: value for key, value in facts.items() if value is not None}
        self.event(RecordWritten(kind, relative, size, sha256, known))

    def save_file(self, source: str | os.PathLike[str] | bytes, name: str) -> Path:
        """Copies a user's file (or bytes) into the run under `name`, which may contain folders.

        Raises:
            BadNameError: `name` is outside the run's folder, or not a valid file name.
            NameTakenError: a file of that name exists; nothing is overwritten.
        """
        parts = Path(name).parts
        fault = next((fault for part in parts if (fault := name_fault(part))), None if parts else "is empty")
        if Path(name).is_absolute() or fault or any(len(part.encode()) > MAX_COMPONENT_BYTES for part in parts):
            what = f"{name!r} is not a name inside the run{f': a part of it {fault}' if fault else ''}."
            remedy = f"Use a relative name such as notes/a.txt, each part of at most {MAX_COMPONENT_BYTES} bytes."
            raise BadNameError(what, remedy, value=name, place=self.home)
        path = self.path("extra") / name
        if os.path.lexists(path):
            raise NameTakenError(f"{path} exists already.", "Save it under another name.", value=name, place=path)
        if isinstance(source, bytes):
            durable.write_bytes(path, source)
        else:
            durable.copy(Path(source), path)
        self.note_record("extra", path, name=name)
        return path

    # -- the end

    def finish(self, state: str = "finished", error: str | None = None) -> None:
        """Ends the attempt; a second call does nothing, nor does one in a forked child.

        A run whose last rows cannot be written is `failed`.
        """
        with self._closing() as first:
            if not first:
                return
            try:
                self._history.close()
            except BaseException as failure:
                if state == "finished":
                    state, error = "failed", f"{type(failure).__name__}: {failure}"
                raise
            finally:
                self._catch_up()
                self.snapshot.apply(self._journal.add(Ended(state, error)))
                self.flush(sync_snapshot=True)
                with contextlib.suppress(OSError, TrainyardError):  # an index checks running runs again anyway
                    self._note_change()

    @contextlib.contextmanager
    def _closing(self) -> Iterator[bool]:
        """Whether the caller is the first to close the run; the lock is released last, even after a failure."""
        if os.getpid() != self._pid:
            yield False
            return
        with self._mutex, contextlib.ExitStack() as closing:
            first, self.closed = not self.closed, True
            if first:
                closing.callback(self._lock.release)
                closing.callback(self._journal.close)
            yield first

    def abandon(self) -> None:
        """Closes the run without an event: its state and attempts do not change."""
        with self._closing() as first, contextlib.ExitStack() as closing:
            if first:
                closing.callback(self._note_change)
                closing.callback(self._history.close)
                self.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        if error is None:
            self.finish()
        elif isinstance(error, (KeyboardInterrupt, Interrupted)):
            self.finish("stopped", "interrupted")
        else:
            self.finish("failed", f"{type(error).__name__}: {error}")


@contextlib.contextmanager
def amend(yard: Yard, home: Path) -> Iterator[RunWriter]:
    """The run in `home`, locked, for events and records outside of an attempt (evaluate, clean).

    Its state and attempts do not change.

    Raises:
        RunBusyError: a live process is using it.
    """
    run = resume_run(yard, home)
    try:
        yield run
    finally:
        run.abandon()
