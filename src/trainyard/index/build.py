"""From the runs' files to the rows of the index: all of them at once, or those that changed.

A finished run is read once; it is read again only when `.yard/changes.log` names it. A run that was
working is looked at each time, since a killed process tells nobody. Knows the form of `run.json`
(reading it as plain JSON, which is what makes ten thousand of them quick), not of queries.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from trainyard.errors import TrainyardError
from trainyard.runs import Yard, find_homes
from trainyard.runs.lock import is_alive
from trainyard.runs.reader import read_snapshot

Value = str | int | float | None

_LIVE = ("created", "running")
_LARGEST = 2**63 - 1  # of SQLite's integers
_TAIL = 64  # bytes of the log before the offset, kept to see whether it is still the same log
_REMEMBERED = 10_000  # names, so that odd runs cannot fill the memory
_BATCH = 2000  # runs inserted together; sorted by key within, as the table is
_SHOWN = (
    "id", "name", "project", "dataset", "model", "layout", "state", "created", "started", "ended", "seed",
    "tags", "note", "summary", "metrics", "best", "size_bytes", "step", "epoch", "parents", "error",
)  # fmt: skip
_NEEDED = {*_SHOWN, "config", "data"}
_COLUMNS = (
    "home", "live", "state", "id", "name", "project", "dataset", "model", "layout", "note",
    "error", "created", "started", "ended", "duration", "seed", "step", "epoch", "size",
    "best_metric", "best_value", "best_step", "best_epoch",
)  # fmt: skip
_INSERT = f"INSERT INTO runs (n, {', '.join(_COLUMNS)}) VALUES (?{', ?' * len(_COLUMNS)})"


@dataclass(slots=True)
class Entry:
    """What the index holds of one run."""

    columns: tuple[Value | bytes, ...]
    stamp: str
    document: str
    facts: dict[str, Value]
    tags: list[str]
    parents: list[str]


@dataclass(slots=True)
class Damaged:
    """A home whose run cannot be read, and why."""

    home: str
    stamp: str
    reason: str


# -- one run


def read_entry(root: str, home: str) -> Entry | Damaged | None:
    """What `home` (relative, without a last slash) holds now; None when there is no run.

    The state is as it stands now: a run that says it is running, with a free lock, is crashed.
    """
    own = f"{root}/{home}/.run"
    while True:
        stamp = stamp_of(own)
        if stamp is None:
            return None
        try:
            data = _load(own, stamp)
            written = "running" if data["state"] == "crashed" else data["state"]
            state = written
            if written in _LIVE and not is_alive(Path(own, "lock")):
                if stamp_of(own) != stamp:
                    continue  # it ended between the two looks
                state = "crashed"
            return _entry(home, stamp, written in _LIVE, state, data)
        except TrainyardError as error:
            reason = error.what
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            reason = f"Its snapshot cannot be read ({type(error).__name__}: {error})."
        if stamp_of(own) == stamp:  # else it changed or went while it was read
            return Damaged(home, stamp, reason)


def stamp_of(own: str) -> str | None:
    """When and how long the files are that say how a run stands; None when there is no run."""
    parts: list[int] = []
    for name in ("run.json", "journal.jsonl", "lock"):
        try:
            status = os.stat(f"{own}/{name}")
        except OSError:
            parts += (0, 0)
        else:
            parts += (status.st_mtime_ns, status.st_size)
    if not any(parts) and not os.path.isdir(own):
        return None
    return " ".join(map(str, parts))


def _load(own: str, stamp: str) -> dict[str, Any]:
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        data: dict[str, Any] = json.loads(_read_file(f"{own}/run.json"))
        if data["journal_bytes"] == int(stamp.split(" ")[3]) and data.keys() >= _NEEDED:
            return data
    return read_snapshot(Path(own).parent).to_dict()  # the journal is ahead, or run.json is broken


def _read_file(path: str) -> bytes:
    with open(path, "rb", buffering=0) as file:
        return file.read()


def _entry(home: str, stamp: str, live: bool, state: str, data: Mapping[str, Any]) -> Entry:
    facts: dict[str, Value] = {}
    for section in ("metrics", "summary", "config"):
        _flatten(section, data[section].items(), facts)
    plain = {name: value for name, value in data["data"].items() if not isinstance(value, (dict, list))}
    _flatten("data", plain.items(), facts)
    best = data["best"] or {}
    created, started, ended = (_seconds(data[name]) for name in ("created", "started", "ended"))
    document = {name: data[name] for name in _SHOWN}
    document["state"], document["home"] = state, home + "/"
    return Entry(
        columns=(
            to_text(home), live, state,
            *(_text(data[name]) for name in ("id", "name", "project", "dataset", "model", "layout", "note")),
            None if data["error"] is None else _text(data["error"]),
            created, started, ended, None if started is None or ended is None else ended - started,
            *(_scalar(data[name]) for name in ("seed", "step", "epoch", "size_bytes")),
            *(_scalar(best.get(name)) for name in ("metric", "value", "step", "epoch")),
        ),
        stamp=stamp,
        document=json.dumps(document),
        facts=facts,
        tags=[_text(tag) for tag in data["tags"]],
        parents=[_text(parent["run"]) for parent in data["parents"]],
    )  # fmt: skip


def _flatten(prefix: str, items: Iterable[tuple[Any, Any]], facts: dict[str, Value]) -> None:
    """Dotted names of all scalars. A list of scalars is one text, such as [128,64]; others are numbered.

    Ten thousand runs have a million of them, hence the order of the branches and the table of names.
    """
    names = _names[prefix]
    for key, value in items:
        name = names.get(key) or _name(prefix, key)
        kind = type(value)
        if kind is float or value is None:
            facts[name] = value  # SQLite stores NaN as NULL
        elif kind is dict:
            _flatten(name, value.items(), facts)
        elif kind is not list:
            facts[name] = _scalar(value)
        elif any(isinstance(item, (dict, list)) for item in value):
            _flatten(name, enumerate(value), facts)
        else:
            facts[name] = _text(_LISTS.encode(value))


_LISTS = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False)
_names: defaultdict[str, dict[Any, str]] = defaultdict(dict)  # prefix -> key -> dotted name


def _name(prefix: str, key: object) -> str:
    name = _text(f"{prefix}.{key}")
    names = _names[prefix]
    if len(_names) < _REMEMBERED and len(names) < _REMEMBERED:
        names[key] = name
    return name


def _scalar(value: Any) -> Value:
    """A value as SQLite keeps it: true and false as text, integers beyond its own as floats."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return value if -_LARGEST <= value <= _LARGEST else float(value)
    return value if value is None or isinstance(value, float) else _text(value)


def _text(value: object) -> str:
    text = str(value)
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def to_text(home: str) -> str | bytes:
    """A path as the index keeps it: bytes when it is not UTF-8."""
    try:
        home.encode()
    except UnicodeEncodeError:
        return os.fsencode(home)
    return home


def from_text(home: str | bytes) -> str:
    """The inverse of `to_text`."""
    return home if isinstance(home, str) else os.fsdecode(home)


def _seconds(moment: str | None) -> float | None:
    if not moment:
        return None
    return datetime.fromisoformat(moment).timestamp()


# -- the whole yard


def fill(db: sqlite3.Connection, yard: Yard) -> None:
    """Puts every run of the yard into empty tables. Call inside a transaction."""
    log = _read_log(yard, 0)  # before the walk: what changes during it is read again afterwards
    root = str(yard.root)
    writer = _Writer(db)
    for home in _homes(yard):
        writer.add(read_entry(root, home))
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
            self._db.execute(
                "INSERT OR REPLACE INTO damaged VALUES (?, ?, ?)",
                (to_text(entry.home), entry.stamp, _text(entry.reason)),
            )

    def _key(self, name: str) -> int:
        key = self._keys.get(name)
        if key is None:
            key = self._keys[name] = len(self._keys) + 1
            self._db.execute("INSERT INTO keys (key, name) VALUES (?, ?)", (key, name))
        return key

    def flush(self) -> None:
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
                key = keys.get(name) or self._key(name)
                if value is not None:
                    facts.append((key, n, value))
            tags += [(n, tag) for tag in entry.tags]
            parents += [(n, parent) for parent in entry.parents]
        self._n += len(self._entries)
        self._entries.clear()
        facts.sort(key=_by_key)  # stable, so also by run: neighbours in the table follow each other
        self._db.executemany(_INSERT, rows)
        self._db.executemany("INSERT INTO documents VALUES (?, ?, ?)", documents)
        self._db.executemany("INSERT INTO facts VALUES (?, ?, ?)", facts)
        self._db.executemany("INSERT OR IGNORE INTO tags VALUES (?, ?)", tags)
        self._db.executemany("INSERT OR IGNORE INTO parents VALUES (?, ?)", parents)


def _by_key(fact: tuple[int, int, Value]) -> int:
    return fact[0]


# -- what changed


@dataclass(slots=True)
class _Log:
    """The end of the log, as far as it was read."""

    homes: list[str]  # that it names beyond the offset
    offset: int
    tail: bytes
    continues: bool  # whether it is the log that was read before


def _read_log(yard: Yard, offset: int, tail: bytes = b"") -> _Log:
    back = len(tail)
    try:
        with yard.changes_path.open("rb") as file:
            file.seek(offset - back)
            data = file.read()
    except FileNotFoundError:
        data = b""
    if data[:back] != tail:  # lost, cut or replaced
        return _read_log_anew(yard)
    whole = data.rfind(b"\n") + 1
    if whole <= back:
        return _Log([], offset, tail, continues=True)
    homes = [_normal(os.fsdecode(line)) for line in data[back : whole - 1].split(b"\n")]
    return _Log(
        list(dict.fromkeys(home for home in homes if home)),
        offset - back + whole,
        data[max(0, whole - _TAIL) : whole],
        continues=True,
    )


def _read_log_anew(yard: Yard) -> _Log:
    log = _read_log(yard, 0)
    return _Log([], log.offset, log.tail, continues=False)


def _normal(line: str) -> str:
    """A home as the index names it; nothing for a line that names no place inside the yard."""
    home = os.path.normpath(line) if line.strip() and "\0" not in line else ""
    return "" if home.startswith(("/", "..")) else home


def _remember(db: sqlite3.Connection, log: _Log) -> None:
    db.execute("INSERT OR REPLACE INTO meta VALUES ('offset', ?), ('tail', ?)", (log.offset, log.tail))


def _plan(db: sqlite3.Connection, yard: Yard) -> tuple[_Log, list[str], bool]:
    """The log, the homes to read again, and whether there is nothing at all to do."""
    meta: dict[str, Any] = dict(db.execute("SELECT key, value FROM meta"))
    if meta.keys() != {"offset", "tail"}:
        raise sqlite3.DatabaseError("the index does not say how far it has read the log")
    log = _read_log(yard, meta["offset"], meta["tail"])
    homes = dict.fromkeys(log.homes)
    for kept, stamp, state in db.execute(
        "SELECT home, stamp, state FROM runs JOIN documents USING (n) WHERE live "
        "UNION ALL SELECT home, stamp, 'damaged' FROM damaged"
    ):
        home = from_text(kept)
        own = f"{yard.root}/{home}/.run"
        # A resume writes to the lock file, so a crashed run is the same as long as its files are.
        if stamp_of(own) != stamp or (state in _LIVE and not _is_known_alive(own)):
            homes[home] = None
    return log, list(homes), log.continues and not homes and log.offset == meta["offset"]


def _is_known_alive(own: str) -> bool:
    try:
        return is_alive(Path(own, "lock"))
    except OSError:
        return False


def refresh(db: sqlite3.Connection, yard: Yard) -> int:
    """Brings the index up to date; returns how many homes were read.

    Looks first, without a lock, whether there is anything to do, so that many processes can. What
    there is to do is then found out and done under the write lock: nothing older replaces newer.
    """
    if _plan(db, yard)[-1]:
        return 0
    with transaction(db):
        log, homes, _ = _plan(db, yard)
        count = read_again(db, yard, homes) if log.continues else _compare(db, yard)
        _remember(db, log)
    return count


@contextlib.contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[None]:
    """Holds the write lock for the block; all of it counts, or nothing."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise
    db.execute("COMMIT")


def read_again(db: sqlite3.Connection, yard: Yard, homes: Iterable[str]) -> int:
    """Reads these homes (relative, without a last slash) and puts what they hold in place of what was."""
    root = str(yard.root)
    writer = _Writer(db)
    count = 0
    for home in homes:
        count += 1
        entry = read_entry(root, home)
        _forget(db, home)
        writer.add(entry)
    writer.flush()
    return count


def _forget(db: sqlite3.Connection, home: str) -> None:
    kept = to_text(home)
    db.execute("DELETE FROM damaged WHERE home = ?", (kept,))
    for (n,) in db.execute("SELECT n FROM runs WHERE home = ?", (kept,)).fetchall():
        db.execute("DELETE FROM facts WHERE key IN (SELECT key FROM keys) AND run = ?", (n,))
        for table, column in (("tags", "run"), ("parents", "run"), ("documents", "n"), ("runs", "n")):
            db.execute(f"DELETE FROM {table} WHERE {column} = ?", (n,))


def _compare(db: sqlite3.Connection, yard: Yard) -> int:
    """Walks the yard and reads what is new or changed: for when the log no longer says."""
    stamps = {
        from_text(home): stamp
        for home, stamp in db.execute("SELECT home, stamp FROM runs JOIN documents USING (n)")
    }
    root = str(yard.root)
    changed = [home for home in _homes(yard) if stamp_of(f"{root}/{home}/.run") != stamps.pop(home, None)]
    damaged = [from_text(kept) for (kept,) in db.execute("SELECT home FROM damaged")]
    return read_again(db, yard, dict.fromkeys([*changed, *stamps, *damaged]))


def forget_missing(db: sqlite3.Connection, yard: Yard, homes: Iterable[str]) -> None:
    """Drops those of these homes that are no longer there."""
    with transaction(db):  # looked at under the lock: one that has come back meanwhile stays
        for home in homes:
            if not os.path.isdir(f"{yard.root}/{home}/.run"):
                _forget(db, home)
