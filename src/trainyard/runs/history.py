"""A run's history: its metric rows, append-only.

`log` writes its row to the file before it returns, so that a killed process loses none; a thread syncs
the file every quarter of a second, so that a power cut loses at most half a second of rows. A resume
appends a mark that supersedes the rows after the step it resumes from: the file keeps them, readers
skip them. Knows nothing of the journal.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, SupportsFloat

from trainyard import jsonl
from trainyard.errors import BadNameError, TrainyardError

_SYNC_EVERY_S = 0.25
_REMEMBERED_TEMPLATES = 1000  # sets of metric names; bounds the memory of a program whose names never repeat
_FLOATS = {float}
_PLAIN = {float, int}
_COLUMNS = frozenset({"step", "epoch", "split", "time"})  # in every row, so no metric can have these names

Row = dict[str, Any]


class History:
    """Writes the rows of one attempt. One process at a time, any number of its threads.

    A row that cannot be written is an error of its `log` call. When a sync fails, the rows since the last
    sync are removed from the file, and every later call raises the same error.
    """

    def __init__(self, path: Path) -> None:
        self._appender = jsonl.Appender(path)
        self._templates: dict[tuple[str, ...], str] = {}
        self._writing = threading.Lock()
        self._syncing = threading.Lock()
        self._logged = threading.Event()  # set when a row was written since the last sync
        self._closing = threading.Event()
        self._closed = False
        self._pid = os.getpid()
        self._error: BaseException | None = None
        self._thread: threading.Thread | None = None

    def log(self, values: Mapping[str, SupportsFloat], step: int, epoch: float | None, split: str) -> None:
        """Writes one row. Values are numbers, or zero-dimensional arrays and tensors.

        Raises:
            BadNameError: a metric has the name of a column that every row has.
            DiskFullError: the row was not written.
            ValueError: the history is closed, or this process is a fork of the one that opened it.
        """
        self._append(self._line(values, step, epoch, split))

    def take_back(self, after_step: int, attempt: int) -> None:
        """Marks the rows of steps beyond `after_step` as superseded by a resume; durable when this returns."""
        self._append(jsonl.encode_line({"resume": after_step, "attempt": attempt}))
        self.sync()

    def _append(self, line: bytes) -> None:
        if self._pid != os.getpid():
            raise ValueError("this process is a fork; log metrics in the parent process, which opened the run")
        with self._writing:
            if self._error is not None:
                raise self._error
            if self._closed:
                raise ValueError("the run has ended; no more metrics can be logged")
            self._appender.append(line, sync=False)
            if self._thread is None:
                self._thread = threading.Thread(target=self._keep_synced, name="trainyard-history", daemon=True)
                self._thread.start()
        if not self._logged.is_set():
            self._logged.set()

    def _line(self, values: Mapping[str, SupportsFloat], step: int, epoch: float | None, split: str) -> bytes:
        """The row as `jsonl.encode_line` encodes it, several times faster: see `_template`."""
        names = (split, *values)
        template = self._templates.get(names) or self._template(names)
        numbers: list[Any] = list(values.values())
        if not _FLOATS.issuperset(map(type, numbers)):
            numbers = [number if type(number) in _PLAIN else float(number) for number in numbers]
        step, epoch, now = int(step), None if epoch is None else float(epoch), time.time()
        if not _are_finite(numbers, epoch):  # JSON spells these differently from Python
            row = dict(zip(values, numbers, strict=True))
            record = {"step": step, "epoch": epoch, "split": split, "time": round(now, 3), "values": row}
            return jsonl.encode_line(record)
        return jsonl.seal((template % (step, "null" if epoch is None else epoch, now, *numbers)).encode())

    def _template(self, names: tuple[str, ...]) -> str:
        """The JSON of a row of these names (the split, then the metrics) with format specifiers for its numbers."""
        split, *metrics = names
        if reserved := sorted(_COLUMNS.intersection(metrics)):
            what = f"No metric can be called {' or '.join(map(repr, reserved))}: that is a column of every row."
            remedy = "Pass step=, epoch= and split= beside the metrics; the time is added automatically."
            raise BadNameError(what, remedy, value=", ".join(reserved))
        quoted = [json.dumps({name: 0})[1:-1].rpartition(":")[0].replace("%", "%%") for name in metrics]
        fields = ",".join(f"{name}:%r" for name in quoted)
        text = json.dumps(split).replace("%", "%%")
        template = f'{{"step":%d,"epoch":%s,"split":{text},"time":%.3f,"values":{{{fields}}}}}'
        if len(self._templates) >= _REMEMBERED_TEMPLATES:
            self._templates.clear()
        self._templates[names] = template
        return template

    def _keep_synced(self) -> None:
        while not self._closed:
            self._logged.wait()
            self._closing.wait(_SYNC_EVERY_S)
            self._logged.clear()  # before the sync: a row written meanwhile needs another sync
            try:
                self._sync()
            except BaseException:
                return  # the training thread raises `_error` at its next call

    def _sync(self) -> None:
        with self._syncing:
            if self._appender.is_synced or self._error is not None:
                return
            try:
                self._appender.sync()
            except BaseException as error:
                with self._writing, contextlib.suppress(OSError, TrainyardError):
                    self._error = error
                    self._appender.discard_unsynced()
                raise

    def sync(self) -> None:
        """Returns once every row logged so far is durable."""
        self._sync()
        if self._error is not None:
            raise self._error

    def close(self) -> None:
        """Makes the rows durable and ends the thread; a second call does nothing."""
        with self._writing:
            if self._closed:
                return
            self._closed = True
        self._closing.set()
        if self._thread is not None:
            self._logged.set()  # otherwise the thread keeps waiting for a row
            self._thread.join()
        try:
            self.sync()
        finally:
            self._appender.close()


def _are_finite(numbers: list[Any], epoch: float | None) -> bool:
    try:
        return math.isfinite(sum(numbers)) and (epoch is None or math.isfinite(epoch))
    except OverflowError:  # an integer too large for a float; the slow path writes it
        return False


def read_history(path: Path) -> list[Row]:
    """The valid rows, in order: {"step", "epoch", "split", "time", **values}.

    Rows superseded by a resume and an incomplete last line are left out.
    """
    rows: list[Row] = []
    for record in jsonl.read_lines(path)[0]:
        if "resume" not in record:
            values = record.pop("values")
            rows.append({**record, **values})
        else:
            rows = [row for row in rows if row["step"] <= record["resume"]]
    return rows
