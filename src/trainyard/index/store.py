"""Index: answers questions about all runs of a yard, quickly, however many there are.

A cache that maintains itself: it is built when it is missing, rebuilt when it is damaged, updated at each
query, and kept in memory where it cannot be written. The runs' own files remain the source.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from trainyard.errors import DiskFullError, RunNotFoundError, YardError
from trainyard.index import build, references, schema
from trainyard.index.entries import from_text
from trainyard.index.language import parse
from trainyard.index.query import compile_query
from trainyard.runs import Yard

Row = dict[str, Any]
_T = TypeVar("_T")
_Search = Callable[[sqlite3.Connection], sqlite3.Cursor]  # the numbers of runs
_ATTEMPTS = 4  # with an index that is damaged or busy
_TOGETHER = 500  # rows fetched with one statement


@dataclass(frozen=True)
class Page:
    """Some of the runs that match a query, and how many match in total."""

    rows: list[Row]
    total: int


class Index:
    """The index of one yard. Holds no file open between calls; several threads and processes may use it.

    If the yard is not writable, the index is kept in memory for the lifetime of this object. A row is an
    excerpt of a run's `run.json`: id, name, project, dataset, model, layout, state (the current one,
    `crashed` included), created, started, ended, home (the current one), seed, tags, note, summary,
    metrics, best, size_bytes, step, epoch, parents, error.
    """

    def __init__(self, yard: Yard) -> None:
        self.yard = yard
        self._mutex = threading.RLock()
        self._memory: sqlite3.Connection | None = None

    def __repr__(self) -> str:
        return f"Index({self.yard!r})"

    def __del__(self) -> None:
        self.close()

    def close(self) -> None:
        """Closes the index in memory, if there is one. The object can still be used."""
        memory, self._memory = getattr(self, "_memory", None), None
        if memory is not None:
            memory.close()

    def refresh(self) -> int:
        """Reads what changed; returns how many runs were read. Every query does this automatically."""
        return self._do(lambda db, read: read)

    def rebuild(self) -> int:
        """Walks the yard and reads every run again, including copied ones; returns how many there are."""
        with self._mutex:
            self.close()
            is_on_disk = False
            if self.yard.writable:
                with contextlib.suppress(schema.UnusableError, YardError, DiskFullError, sqlite3.OperationalError):
                    schema.replace_index(self.yard, self._fill)
                    is_on_disk = True
            if not is_on_disk:
                self._memory = schema.in_memory(self.yard, self._fill, copy=False)
            return int(self._do(lambda db, _: db.execute("SELECT count(*) FROM runs").fetchone()[0]))

    def problems(self) -> list[tuple[str, str]]:
        """The homes whose runs cannot be read, and why; no other answer contains them."""
        rows = self._do(lambda db, _: db.execute("SELECT home, reason FROM damaged ORDER BY home").fetchall())
        return [(from_text(home) + "/", reason) for home, reason in rows]

    def query(self, text: str = "", limit: int | None = None, offset: int | None = None) -> Page:
        """The runs that match `text` (see `trainyard.index.language`), newest first unless it has `sort:`.

        `limit` and `offset` hold where the text has no `limit:` or `offset:`.

        Raises:
            QueryError: the text is malformed, or names a field that no run has.
        """
        query = parse(text)
        start = query.offset if query.offset is not None else offset or 0
        count = query.limit if query.limit is not None else limit
        stop = None if count is None else start + count

        def search(db: sqlite3.Connection) -> sqlite3.Cursor:
            sql = compile_query(query, dict(db.execute("SELECT name, key FROM keys")))
            select = f"SELECT r.n FROM runs AS r WHERE {sql.where} ORDER BY {sql.order}"
            return db.execute(select, sql.parameters)

        return self._do(lambda db, _: self._page(db, search, start, stop))

    def _page(self, db: sqlite3.Connection, search: _Search, start: int = 0, stop: int | None = None) -> Page:
        """The rows of the runs whose numbers `search` gives; asked again when some of them no longer exist."""
        while True:
            with schema.reading(db):
                found = [n for (n,) in search(db)]
                rows = _documents(db, found[start:stop])
            gone = [row["home"].rstrip("/") for row in rows if not self._is_home(row["home"])]
            if not gone:
                return Page(rows, len(found))
            build.forget_missing(db, self.yard, gone)

    def find(self, reference: str) -> Path:
        """The home of the run that `reference` names.

        A reference is an id or the first four or more characters of one, `name`, `project/name`,
        `project/dataset/name`, the path of a home (relative to here or to the yard's root) or the last
        parts of one, or `last`: the run created last.

        Raises:
            RunNotFoundError: it matches no run, or several; lists the matches.
        """
        if not reference.strip() or "\0" in reference:
            what = f"{reference!r} is not a reference to a run."
            raise RunNotFoundError(what, "Give an id, a name or a path.", value=reference)
        home = None if reference in references.LAST else references.find_on_disk(self.yard, reference)
        return self.yard.root / (home or self._do(lambda db, _: self._find(db, reference)))

    def _find(self, db: sqlite3.Connection, reference: str) -> str:
        while True:
            candidates = references.find_in_index(db, reference)
            gone = [candidate.home for candidate in candidates if not self._is_home(candidate.home)]
            if not gone:
                break
            build.forget_missing(db, self.yard, gone)
        if len(candidates) > 1:
            references.ambiguous(reference, candidates)
        if not candidates:
            references.unknown(db, self.yard, reference)
        return candidates[0].home

    def children(self, run_id: str) -> list[Row]:
        """The runs with `run_id` as a parent: it was their teacher, or they started from its weights."""

        def search(db: sqlite3.Connection) -> sqlite3.Cursor:
            return db.execute("SELECT run FROM parents WHERE parent = ? ORDER BY run", (run_id,))

        return self._do(lambda db, _: self._page(db, search).rows)

    def _is_home(self, home: str) -> bool:
        return os.path.isdir(f"{self.yard.root}/{home}/.run")

    def _fill(self, db: sqlite3.Connection) -> None:
        build.fill(db, self.yard)

    def _do(self, work: Callable[[sqlite3.Connection, int], _T]) -> _T:
        """The result of `work`, called with an up-to-date index and how many runs were read for that.

        `work` may be called more than once.
        """
        with self._mutex:
            if self._memory is None and self.yard.writable:
                # a full disk, or a file system without locks: queries must still work
                with contextlib.suppress(schema.UnusableError, YardError, DiskFullError):
                    return self._on_disk(work)
            if self._memory is None:
                self._memory = schema.in_memory(self.yard, self._fill)
            try:
                return work(self._memory, build.refresh(self._memory, self.yard))
            except sqlite3.Error as error:
                if schema.trouble(error) != "damaged":
                    raise
            self._memory.close()  # a copy of a damaged file
            self._memory = schema.in_memory(self.yard, self._fill, copy=False)
            return work(self._memory, build.refresh(self._memory, self.yard))

    def _on_disk(self, work: Callable[[sqlite3.Connection, int], _T]) -> _T:
        for attempt in range(_ATTEMPTS):
            inode = 0
            try:
                with contextlib.closing(schema.open_index(self.yard, self._fill)) as db:
                    inode = schema.inode_of(self.yard.index_path)
                    return work(db, build.refresh(db, self.yard))
            except sqlite3.Error as error:
                trouble = schema.trouble(error)
                if trouble == "fault":
                    raise
                if trouble == "unusable" or attempt == _ATTEMPTS - 1:
                    raise schema.UnusableError(str(error)) from error
                if trouble == "damaged":
                    schema.drop_index(self.yard, inode)
                else:
                    time.sleep(0.05)
        raise AssertionError("the last attempt returns or raises")


def _documents(db: sqlite3.Connection, numbers: Sequence[int]) -> list[Row]:
    rows: dict[int, Row] = {}
    for first in range(0, len(numbers), _TOGETHER):
        some = numbers[first : first + _TOGETHER]
        marks = ", ".join("?" * len(some))
        for n, document in db.execute(f"SELECT n, document FROM documents WHERE n IN ({marks})", some):
            try:
                rows[n] = json.loads(document)
            except ValueError as error:
                raise sqlite3.DatabaseError("the index contains a damaged document") from error
    if len(rows) != len(numbers):
        raise sqlite3.DatabaseError("the index has lost a document")
    return [rows[n] for n in numbers]
