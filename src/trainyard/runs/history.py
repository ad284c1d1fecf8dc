"""A run's history: its metric rows, append-only, written behind the training's back.

`log` only puts a row on a queue; a thread writes what has gathered every quarter of a second, so a
kill loses at most half a second of rows. A resume appends a mark that takes back the rows after
the step it resumes from: the file keeps them, readers pass them over. Knows nothing of the journal.
"""

from __future__ import annotations

import collections
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, SupportsFloat

from trainyard import jsonl
from trainyard.errors import BadNameError

_FLUSH_EVERY_S = 0.25
_LONGEST_QUEUE = 100_000  # rows; beyond it, logging waits for the disk instead of filling memory
_PLAIN = (float, int)
_COLUMNS = frozenset({"step", "epoch", "split", "time"})  # of every row, so no metric's name

Row = dict[str, Any]


class History:
    """Writes the rows of one attempt. One writer at a time.

    A failed write is raised by the next `log`, `sync` or `close`.
    """

    def __init__(self, path: Path) -> None:
        self._appender = jsonl.Appender(path)
        self._queue: collections.deque[tuple[Any, ...]] = collections.deque()
        self._starting = threading.Lock()
        self._writing = threading.Lock()
        self._wake = threading.Event()
        self._closed = False
        self._error: BaseException | None = None
        self._thread: threading.Thread | None = None

    def log(self, values: Mapping[str, SupportsFloat], step: int, epoch: float | None, split: str) -> None:
        """Queues one row. Values are numbers, or zero-dimensional arrays and tensors.

        Raises:
            BadNameError: a metric has the name of a column that every row has.
            ValueError: the history is closed.
        """
        if self._error is not None:
            raise self._error
        if self._thread is None or self._closed:
            self._start()
        row = dict(values)
        for key, value in row.items():
            if type(value) not in _PLAIN:
                row[key] = float(value)
        if not _COLUMNS.isdisjoint(row):
            raise BadNameError(
                f"No metric can be called {' or '.join(sorted(map(repr, _COLUMNS & row.keys())))}: every row has one.",
                "Pass step=, epoch= and split= beside the metrics; the time is noted by itself.",
            )
        self._queue.append((time.time(), int(step), None if epoch is None else float(epoch), split, row))
        if len(self._queue) > _LONGEST_QUEUE:
            self.sync()

    def _start(self) -> None:
        with self._starting:
            if self._closed:
                raise ValueError("the run has ended: no more metrics can be logged")
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="trainyard-history", daemon=True)
                self._thread.start()

    def take_back(self, after_step: int, attempt: int) -> None:
        """Marks the rows of steps beyond `after_step` as superseded by a resume."""
        self.sync()
        with self._writing:
            self._appender.append(jsonl.encode_line({"resume": after_step, "attempt": attempt}))

    def _flush(self) -> None:
        """Writes what is queued. Rows of a failed write are lost, so its error stays for whoever comes next."""
        with self._writing:
            queue = self._queue
            lines: list[bytes] = []
            try:
                while queue:
                    at, step, epoch, split, values = queue.popleft()
                    lines.append(
                        jsonl.encode_line(
                            {"step": step, "epoch": epoch, "split": split, "time": round(at, 3), "values": values}
                        )
                    )
                if lines:
                    self._appender.append(b"".join(lines))
            except BaseException as error:
                self._error = error
                raise

    def _run(self) -> None:
        while not self._closed:
            self._wake.wait(_FLUSH_EVERY_S)
            try:
                self._flush()
            except BaseException:
                return  # `_error` tells the training thread, which fails on it

    def sync(self) -> None:
        """Returns once every row logged so far is on disk."""
        if self._error is not None:
            raise self._error
        self._flush()

    def close(self) -> None:
        """Writes what is queued and ends the thread; a second call does nothing."""
        with self._starting:
            if self._closed:
                return
            self._closed = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join()
        try:
            self.sync()
        finally:
            self._appender.close()


def read_history(path: Path, *, superseded: bool = False) -> list[Row]:
    """The rows that count, in order: {"step", "epoch", "split", "time", **values}.

    Rows that a resume took back are left out unless `superseded`; a torn last line always is.
    """
    rows: list[Row] = []
    for record in jsonl.read_lines(path)[0]:
        if "resume" in record:
            if not superseded:
                rows = [row for row in rows if row["step"] <= record["resume"]]
            continue
        values = record.pop("values")
        rows.append({**record, **values})
    return rows
