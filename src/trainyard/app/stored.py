"""Reading a yard back: its runs, their history, files and checkpoints.

Works on read-only copies, and needs no torch before a checkpoint of tensors is loaded.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainyard.checkpoints import choose
from trainyard.index import Index
from trainyard.running.states import ResumePoint
from trainyard.runs import RunReader, Yard

if TYPE_CHECKING:
    import pandas


def open_yard(yard: str | os.PathLike[str] = "outputs") -> OpenYard:
    """A yard to read: its runs, their history, files and checkpoints. Works on read-only yards.

    Raises:
        YardError: there is none.
    """
    return OpenYard(Yard(yard))


class OpenYard:
    """The runs of a yard."""

    def __init__(self, yard: Yard) -> None:
        self._yard = yard
        self._index = Index(yard)

    def runs(self, query: str = "") -> list[StoredRun]:
        """The runs that match, such as `runs("state:finished sort:-summary.test_accuracy")`."""
        rows = self._index.query(query).rows
        return [StoredRun(RunReader(self._yard, self._yard.root / row["home"])) for row in rows]

    def run(self, reference: str) -> StoredRun:
        """One run by id, name, path or "last"."""
        return StoredRun(RunReader(self._yard, self._index.find(reference)))


class StoredRun:
    """A run as it was when it was looked up."""

    def __init__(self, reader: RunReader) -> None:
        self._reader = reader
        snapshot = reader.snapshot
        self.id, self.name, self.state = snapshot.id, snapshot.name, snapshot.state
        self.project, self.dataset, self.model = snapshot.project, snapshot.dataset, snapshot.model
        self.home = reader.home
        self.config, self.summary, self.metrics = snapshot.config, snapshot.summary, snapshot.metrics

    def __repr__(self) -> str:
        return f"<run {self.project}/{self.dataset}/{self.name} {self.id} {self.state}>"

    def history(self) -> list[dict[str, Any]]:
        """The metric rows that count: {"step", "epoch", "split", "time", **values}."""
        return self._reader.history()

    def history_frame(self) -> pandas.DataFrame:
        """The same as a pandas frame (pandas must be installed)."""
        import pandas

        return pandas.DataFrame(self.history())

    def files(self) -> dict[str, Path]:
        """Every file the run recorded and that is there: recorded path and where it is."""
        return self._reader.files()

    def checkpoints(self) -> list[ResumePoint]:
        """The checkpoints there are, oldest first."""
        located = ((c, self._reader.locate(c)) for c in self._reader.snapshot.checkpoints)
        return [ResumePoint(checkpoint, path) for checkpoint, path in located if path is not None]

    def best_checkpoint(self) -> ResumePoint | None:
        """The best by the monitored metric, verified byte for byte; the newest when nothing was monitored."""
        choice = choose(self._reader, step="best")
        return ResumePoint(choice.checkpoint, choice.path) if choice else None
