"""The tables of the index: filled from all runs of a yard, or updated.

A finished run is read once; it is read again only when `.yard/changes.log` names it. A running run is checked
each time, since a killed process writes nothing to the log. Knows nothing of queries.
"""

from __future__ import annotations

import operator
import os
import sqlite3
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainyard.index import schema
from trainyard.index.entries import LIVE, Damaged, Entry, Value, from_text, read_entry, stamp_of, text_of, to_text
from trainyard.runs import Yard, find_homes
from trainyard.runs.lock import is_alive

_TAIL = 64  # bytes of the log before the offset, kept to detect a replaced log
_BATCH = 2000  # runs inserted together; their facts are sorted by key, like the table


def fill(db: sqlite3.Connection, yard: Yard) -> None:
    """Reads every run of the yard into empty tables. Call inside a transaction."""
    log = _read_log(yard, 0)  # before the walk: runs that change during it are read again later
    writer = _Writer(db)
    for home in _homes(yard):
        writer.add(read_entry(str(yard.root), home))
    writer.flush()
    _remember(db, log)


def _homes(yard: Yard) -> Iterator[str]:
    start = len(str(yard.root).rstrip("/")) + 1
    for home in find_homes(yard):
        yield str(home)[start:] or "."


class _Writer:
    """Inserts entries in batches."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self._n = db.execute("SELECT coalesce(max(n), 0) FROM runs").fetchone()[0]
        self._keys: dict[str, int] = dict(db.execute("SELECT name, key FROM keys"))
        self._entries: list[Entry] = []

    def add(self, entry: Entry | Damaged | None) -> None:
        if isinstance(entry, Entry):
            self._entries.append(entry)
            if len(self._entries) >= _BATCH:
                self.flush()
        elif entry is not None:
            damaged = (to_text(entry.home), entry.stamp, text_of(entry.reason))
            self._db.execute("INSERT OR REPLACE INTO damaged VALUES (?, ?, ?)", damaged)

    def _new_key(self, name: str) -> int:
        key = self._keys[name] = len(self._keys) + 1
        self._db.execute("INSERT INTO keys (key, name) VALUES (?, ?)", (key, name))
        return key

    def flush(self) -> None:
        if not self._entries:
            return
        rows: list[tuple[Any, ...]] = []
        documents: list[tuple[int, str, str]] = []
        facts: list[tuple[int, int, Value]] = []
        tags: list[tuple[int, str]] = []
        parents: list[tuple[int, str]] = []
        keys = self._keys
        for n, entry in enumerate(self._entries, self._n + 1):
            rows.append((n, *entry.columns))
            documents.append((n, entry.stamp, entry.document))
            for name, value in entry.facts.items():
                key = keys.get(name) or self._new_key(name)
                if value is not None:
                    facts.append((key, n, value))
            tags += [(n, tag) for tag in entry.tags]
            parents += [(n, parent) for parent in entry.parents]
        self._n += len(self._entries)
        self._entries.clear()
        facts.sort(key=operator.itemgetter(0))  # stable, so also by run: neighbours in the table follow each other
        self._db.executemany(f"INSERT INTO runs VALUES ({', '.join('?' * len(rows[0]))})", rows)
        self._db.executemany("INSERT INTO documents VALUES (?, ?, ?)", documents)
        self._db.executemany("INSERT INTO facts VALUES (?, ?, ?)", facts)
        self._db.executemany("INSERT OR IGNORE INTO tags VALUES (?, ?)", tags)
        self._db.executemany("INSERT OR IGNORE INTO parents VALUES (?, ?)", parents)


@dataclass(slots=True)
class _Log:
    """The part of the log read this time."""

    homes: list[str]  # the homes it names after the old offset
    offset: int
    tail: bytes
    continues: bool  # whether it is the same log as before


def _read_log(yard: Yard, offset: int, tail: bytes = b"") -> _Log:
    back = len(tail)
    try:
        with yard.changes_path.open("rb") as file:
            file.seek(offset - back)
            data = file.read()
    except FileNotFoundError:
        data = b""
    if data[:back] != tail:  # deleted, truncated or replaced
        log = _read_log(yard, 0)
        return _Log([], log.offset, log.tail, continues=False)
    whole = data.rfind(b"\n") + 1
    if whole <= back:
        return _Log([], offset, tail, continues=True)
    homes = dict.fromkeys(_normal(os.fsdecode(line)) for line in data[back : whole - 1].split(b"\n"))
    new_tail = data[max(0, whole - _TAIL) : whole]
    return _Log([home for home in homes if home], offset - back + whole, new_tail, continues=True)


def _normal(line: str) -> str:
    """A home as the index names it; empty for a line that is not a path inside the yard."""
    home = os.path.normpath(line) if line.strip() and "\0" not in line else ""
    return "" if home.startswith(("/", "..")) else home


def _remember(db: sqlite3.Connection, log: _Log) -> None:
    db.execute("INSERT OR REPLACE INTO meta VALUES ('offset', ?), ('tail', ?)", (log.offset, log.tail))


def _plan(db: sqlite3.Connection, yard: Yard) -> tuple[_Log, list[str], bool]:
    """The log, the homes to read again, and whether nothing has changed."""
    meta: dict[str, Any] = dict(db.execute("SELECT key, value FROM meta"))
    if meta.keys() != {"offset", "tail"}:
        raise sqlite3.DatabaseError("the index does not record its position in the log")
    log = _read_log(yard, meta["offset"], meta["tail"])
    homes = dict.fromkeys(log.homes)
    for kept, stamp, state in db.execute(
        "SELECT home, stamp, state FROM runs JOIN documents USING (n) WHERE live "
        "UNION ALL SELECT home, stamp, 'damaged' FROM damaged"
    ):
        home = from_text(kept)
        own = f"{yard.root}/{home}/.run"
        # A resume writes to the lock file, so a crashed run is unchanged as long as its files are.
        if stamp_of(own) != stamp or (state in LIVE and not _is_known_alive(own)):
            homes[home] = None
    return log, list(homes), log.continues and not homes and log.offset == meta["offset"]


def _is_known_alive(own: str) -> bool:
    try:
        return is_alive(Path(own, "lock"))
    except OSError:
        return False


def refresh(db: sqlite3.Connection, yard: Yard) -> int:
    """Updates the index; returns how many homes were read.

    Checks first, without a lock, whether anything has changed, so that many processes can query at once. The
    changes are then determined again and applied under the write lock: older data never replaces newer.
    """
    if _plan(db, yard)[-1]:
        return 0
    with schema.transaction(db):
        log, homes, _ = _plan(db, yard)
        count = _read_again(db, yard, homes) if log.continues else _compare(db, yard)
        _remember(db, log)
    return count


def _read_again(db: sqlite3.Connection, yard: Yard, homes: Collection[str]) -> int:
    """Reads these homes (relative, without a trailing slash), replaces their entries and returns how many there are."""
    writer = _Writer(db)
    for home in homes:
        entry = read_entry(str(yard.root), home)
        _forget(db, home)
        writer.add(entry)
    writer.flush()
    return len(homes)


def _forget(db: sqlite3.Connection, home: str) -> None:
    kept = to_text(home)
    db.execute("DELETE FROM damaged WHERE home = ?", (kept,))
    for (n,) in db.execute("SELECT n FROM runs WHERE home = ?", (kept,)).fetchall():
        db.execute("DELETE FROM facts WHERE key IN (SELECT key FROM keys) AND run = ?", (n,))
        for table, column in (("tags", "run"), ("parents", "run"), ("documents", "n"), ("runs", "n")):
            db.execute(f"DELETE FROM {table} WHERE {column} = ?", (n,))


def _compare(db: sqlite3.Connection, yard: Yard) -> int:
    """Walks the yard and reads new and changed homes: for when the log was lost."""
    rows = db.execute("SELECT home, stamp FROM runs JOIN documents USING (n)")
    stamps = {from_text(home): stamp for home, stamp in rows}
    changed = [home for home in _homes(yard) if stamp_of(f"{yard.root}/{home}/.run") != stamps.pop(home, None)]
    damaged = [from_text(kept) for (kept,) in db.execute("SELECT home FROM damaged")]
    return _read_again(db, yard, dict.fromkeys([*changed, *stamps, *damaged]))


def forget_missing(db: sqlite3.Connection, yard: Yard, homes: Iterable[str]) -> None:
    """Removes those of these homes that no longer exist."""
    with schema.transaction(db):  # checked under the lock: a home that was restored meanwhile stays
        for home in homes:
            if not os.path.isdir(f"{yard.root}/{home}/.run"):
                _forget(db, home)
