"""Reading a run: its current snapshot, its history, and where its files are.

Works on yards that are read-only, moved or copied. Never writes.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
from collections.abc import Iterator
from pathlib import Path

from trainyard import durable
from trainyard.errors import CorruptError, RunNotFoundError
from trainyard.layouts import Layout, load_layout
from trainyard.layouts.facts import RESERVED
from trainyard.runs import lock
from trainyard.runs.events import CheckpointRecord
from trainyard.runs.history import Row, read_history
from trainyard.runs.journal import read_journal
from trainyard.runs.snapshot import Snapshot, fold
from trainyard.runs.yard import Yard


def read_snapshot(home: Path) -> Snapshot:
    """The snapshot of the run in `home`: from run.json when it is current, otherwise from the journal.

    The state is the current one: a running run whose lock is free is `crashed`.

    Raises:
        CorruptError: neither file can be read.
    """
    own = home / ".run"
    snapshot = None
    # cut off by a power failure, or of another version: the journal has everything
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        snapshot = Snapshot.from_dict(json.loads((own / "run.json").read_bytes()))
    journal = own / "journal.jsonl"
    size = journal.stat().st_size if journal.exists() else 0
    if snapshot is None or snapshot.journal_bytes != size:
        events, good = read_journal(journal)
        if events:
            snapshot = fold(events)
            snapshot.journal_bytes = good
    if snapshot is None:
        what = f"The run in {home} has neither a readable run.json nor a journal."
        remedy = "If it was never a run, remove the folder; otherwise restore `.run/` from a copy."
        raise CorruptError(what, remedy, place=home)
    if snapshot.state in ("created", "running") and not lock.is_alive(own / "lock"):
        if journal.exists() and journal.stat().st_size != size:
            return read_snapshot(home)  # it ended during this check
        snapshot.state = "crashed"
    return snapshot


def resolve(yard: Yard, home: Path, recorded_home: str, path: str) -> Path:
    """Where the recorded `path` of the run in `home` is now; that home may have been copied elsewhere."""
    if recorded_home and path.startswith(recorded_home):
        return home / path[len(recorded_home) :]
    return yard.root / path


class RunReader:
    """A run as it was when this object was created; create another to see later changes.

    `home` may be anywhere in the yard; a home that was copied elsewhere is fine.
    """

    def __init__(self, yard: Yard, home: Path) -> None:
        if not (home / ".run").is_dir():
            what, remedy = f"There is no run in {home}.", "`trainyard runs` lists the runs of a yard."
            raise RunNotFoundError(what, remedy, place=home)
        self.yard = yard
        self.home = home
        self.snapshot = read_snapshot(home)

    @functools.cached_property
    def layout(self) -> Layout:
        """The layout that the run was written in; the run's own copy if the user supplied the layout."""
        own = self.home / ".run" / f"{self.snapshot.layout}.yaml"
        return load_layout(str(own)) if own.exists() else load_layout(self.snapshot.layout)

    def resolve(self, path: str) -> Path:
        """Where a recorded path is now: below the home, wherever that is, or below the yard."""
        return resolve(self.yard, self.home, self.snapshot.home, path)

    def history(self) -> list[Row]:
        """The valid metric rows, in order."""
        return read_history(self.home / ".run" / "history.jsonl")

    def files(self) -> dict[str, Path]:
        """The records' files that exist: recorded path to current path."""
        found = {record.path: self.resolve(record.path) for record in self.snapshot.records}
        return {name: path for name, path in found.items() if path.exists()}

    def locate(self, checkpoint: CheckpointRecord) -> Path | None:
        """Where the checkpoint is: its own path if that exists, otherwise a published name."""
        places = [place for place in ("checkpoint", "best", "final") if place in checkpoint.paths]
        paths = (self.resolve(checkpoint.paths[place]) for place in places)
        return next((path for path in paths if path.exists()), None)

    def is_alive(self) -> bool:
        """Whether a process is working on it now."""
        return lock.is_alive(self.home / ".run" / "lock")


def find_homes(yard: Yard) -> Iterator[Path]:
    """Every home in the yard, found by walking it, without Trainyard's own directories."""
    stack = [str(yard.root)]
    while stack:
        directory = stack.pop()
        if os.path.isdir(os.path.join(directory, ".run")):  # do not descend into a home: it may be large
            yield Path(directory)
            if directory != str(yard.root):
                continue  # homes are never nested
        with contextlib.suppress(PermissionError, FileNotFoundError), os.scandir(directory) as entries:
            folders = [entry for entry in entries if entry.name not in RESERVED and entry.is_dir(follow_symlinks=False)]
            stack += [entry.path for entry in folders if not durable.is_temporary(Path(entry.name))]
