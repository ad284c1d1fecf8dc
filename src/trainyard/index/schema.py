"""The index's file: its tables, how it is opened, replaced, and copied into memory.

The file can be deleted at any time: it is derived from the runs' own snapshots. One invariant matters: no
process ever reads the pages of one file with the write-ahead log of another. So files are swapped under an
exclusive flock, and opened under a shared one. Knows nothing of runs.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

from trainyard import durable
from trainyard.runs import Yard

APPLICATION_ID = 0x59415244  # "YARD": distinguishes our file from other databases
VERSION = 1
_PATIENCE_S = 60.0  # the longest wait for another process that writes or builds the index
_COPY_ATTEMPTS = 3
_CACHE_KIB = 64 * 1024  # at most; SQLite's default of 2 MiB is less than the rows of ten thousand runs

# `runs` is narrow, so that scanning it is cheap; what is only displayed is in `documents`.
# `facts` is clustered by key: a filter or a sort reads one metric of all runs, not all of one run.
TABLES = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE runs (
    n INTEGER PRIMARY KEY,
    home TEXT NOT NULL UNIQUE,
    live INTEGER NOT NULL,
    state TEXT COLLATE NOCASE NOT NULL,
    id TEXT COLLATE NOCASE NOT NULL,
    name TEXT COLLATE NOCASE NOT NULL,
    project TEXT COLLATE NOCASE NOT NULL,
    dataset TEXT COLLATE NOCASE NOT NULL,
    model TEXT COLLATE NOCASE NOT NULL,
    layout TEXT COLLATE NOCASE NOT NULL,
    note TEXT COLLATE NOCASE NOT NULL,
    error TEXT COLLATE NOCASE,
    created REAL, started REAL, ended REAL, duration REAL,
    seed, step, epoch, size,
    best_metric TEXT COLLATE NOCASE, best_value, best_step, best_epoch
);
CREATE INDEX live_runs ON runs (n) WHERE live;
CREATE INDEX newest ON runs (created DESC, home);
CREATE TABLE documents (n INTEGER PRIMARY KEY, stamp TEXT NOT NULL, document TEXT NOT NULL);
CREATE TABLE keys (key INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE facts (key INTEGER, run INTEGER, value, PRIMARY KEY (key, run)) WITHOUT ROWID;
CREATE TABLE tags (run INTEGER, tag TEXT COLLATE NOCASE, PRIMARY KEY (run, tag)) WITHOUT ROWID;
CREATE TABLE parents (run INTEGER, parent TEXT, PRIMARY KEY (run, parent)) WITHOUT ROWID;
CREATE INDEX children ON parents (parent);
CREATE TABLE damaged (home TEXT PRIMARY KEY, stamp TEXT NOT NULL, reason TEXT NOT NULL) WITHOUT ROWID;
"""

Fill = Callable[[sqlite3.Connection], None]


class UnusableError(Exception):
    """The file cannot be written now; an index in memory is used instead."""


Trouble = Literal["damaged", "busy", "unusable", "fault"]

_TROUBLES: dict[int, Trouble] = {
    sqlite3.SQLITE_CORRUPT: "damaged",
    sqlite3.SQLITE_NOTADB: "damaged",
    sqlite3.SQLITE_ERROR: "damaged",  # a table or column is missing: not the file we made
    sqlite3.SQLITE_SCHEMA: "damaged",
    sqlite3.SQLITE_MISMATCH: "damaged",
    sqlite3.SQLITE_CONSTRAINT: "damaged",  # we never violate one: the file's indexes contradict its tables
    sqlite3.SQLITE_BUSY: "busy",
    sqlite3.SQLITE_LOCKED: "busy",
    sqlite3.SQLITE_PROTOCOL: "busy",
    sqlite3.SQLITE_READONLY: "unusable",
    sqlite3.SQLITE_CANTOPEN: "unusable",
    sqlite3.SQLITE_PERM: "unusable",
    sqlite3.SQLITE_FULL: "unusable",
    sqlite3.SQLITE_IOERR: "unusable",
    sqlite3.SQLITE_NOLFS: "unusable",
}


def trouble(error: sqlite3.Error) -> Trouble:
    """What to do about an error of SQLite: rebuild the file, wait, use memory instead, or raise it."""
    code = getattr(error, "sqlite_errorcode", None)
    if code is None:
        # Raised in Python: for text that is not UTF-8, a document that is not JSON, or a programming error.
        return "fault" if isinstance(error, (sqlite3.ProgrammingError, sqlite3.InterfaceError)) else "damaged"
    if code == sqlite3.SQLITE_IOERR_SHORT_READ:
        return "damaged"
    return _TROUBLES.get(code & 0xFF, "fault")


@contextlib.contextmanager
def _flock(yard: Yard, how: int) -> Iterator[None]:
    """Holds `.yard/index.lock` shared (to open the index) or exclusive (to replace it)."""
    durable.make_directories(yard.own)
    try:
        fd = os.open(yard.own / "index.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except OSError as error:
        raise UnusableError(str(error)) from error
    try:
        deadline = time.monotonic() + _PATIENCE_S
        while True:
            try:
                fcntl.flock(fd, how | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise UnusableError("another process has held the index lock for a minute") from None
                time.sleep(0.005)
        yield
    finally:
        os.close(fd)


def _connect(path: Path, options: str) -> sqlite3.Connection:
    uri = f"{path.as_uri()}?{options}"
    return sqlite3.connect(uri, uri=True, timeout=_PATIENCE_S, isolation_level=None, check_same_thread=False)


def _is_ours(db: sqlite3.Connection) -> bool:
    marks = [db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version")]
    return marks == [APPLICATION_ID, VERSION]


def _try_open(path: Path) -> sqlite3.Connection | None:
    """A connection to a current index; None when there is none."""
    if not path.is_file():
        return None
    db = _connect(path, "mode=rw")
    with contextlib.ExitStack() as undo:
        undo.callback(db.close)
        try:
            if _is_ours(db):
                # Without a sync at every commit, a power cut may lose the last refreshes, but nothing else.
                db.execute("PRAGMA synchronous=NORMAL")
                db.execute(f"PRAGMA cache_size=-{_CACHE_KIB}")
                undo.pop_all()
                return db
        except sqlite3.Error as error:
            if trouble(error) != "damaged":
                raise
    return None


@contextlib.contextmanager
def transaction(db: sqlite3.Connection, begin: str = "BEGIN IMMEDIATE") -> Iterator[None]:
    """Holds the write lock for the block, which is committed as a whole or rolled back."""
    db.execute(begin)
    try:
        yield
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise
    db.execute("COMMIT")


def reading(db: sqlite3.Connection) -> contextlib.AbstractContextManager[None]:
    """Statements in the block see one state of the index, even if others write meanwhile."""
    return transaction(db, "BEGIN")


def open_index(yard: Yard, fill: Fill) -> sqlite3.Connection:
    """A connection to the yard's index, which one process builds first if there is none.

    Raises:
        UnusableError: the index cannot be opened for writing.
    """
    with _flock(yard, fcntl.LOCK_SH):
        db = _try_open(yard.index_path)
    if db is None:
        with _flock(yard, fcntl.LOCK_EX):
            db = _try_open(yard.index_path)  # another process may have been first
            if db is None:
                durable.sweep(yard.own)  # leftovers of a process killed while building
                with durable.replacing(yard.index_path, sync=False) as temporary:
                    _build(temporary, fill)
                    _set_aside(yard, keep=True)
                db = _try_open(yard.index_path)
    if db is None:
        raise UnusableError(f"{yard.index_path} cannot be read after it was built")
    return db


def replace_index(yard: Yard, fill: Fill) -> None:
    """Builds a new index and swaps it in; meanwhile, others use the old one.

    Raises:
        UnusableError: the index cannot be written.
    """
    durable.make_directories(yard.own)
    durable.sweep(yard.own)
    with contextlib.ExitStack() as stack, durable.replacing(yard.index_path, sync=False) as temporary:
        _build(temporary, fill)
        stack.enter_context(_flock(yard, fcntl.LOCK_EX))
        _set_aside(yard, keep=False)


def drop_index(yard: Yard, inode: int) -> None:
    """Moves a damaged index aside, unless another process has replaced it since."""
    with _flock(yard, fcntl.LOCK_EX):
        if inode_of(yard.index_path) == inode:
            _set_aside(yard, keep=True)


def inode_of(path: Path) -> int:
    """The inode of the file with this name; 0 when there is none."""
    try:
        return os.stat(path).st_ino
    except FileNotFoundError:
        return 0


def _build(path: Path, fill: Fill) -> None:
    with contextlib.closing(_connect(path, "mode=rwc")) as db:
        db.execute("PRAGMA journal_mode=OFF")  # nobody sees the file before it is complete
        db.execute("PRAGMA synchronous=OFF")
        db.execute(f"PRAGMA cache_size=-{_CACHE_KIB}")
        db.executescript(TABLES)
        db.execute("BEGIN")
        fill(db)
        db.execute(f"PRAGMA application_id={APPLICATION_ID}")
        db.execute(f"PRAGMA user_version={VERSION}")
        db.execute("COMMIT")
        with contextlib.suppress(sqlite3.OperationalError):  # no shared memory on this file system: use file locks
            db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=NORMAL")


def _set_aside(yard: Yard, *, keep: bool) -> None:
    """Removes the old file, then its log: a kill in between leaves no index, but never a mixed one.

    With `keep`, a file that is damaged or not ours is renamed instead of deleted: it may belong to someone.
    """
    path = yard.index_path
    aside = path.with_name(f"{path.name}.aside-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}")
    with contextlib.suppress(FileNotFoundError):
        os.replace(path, aside)
        if not keep or _is_replaceable(aside):
            aside.unlink()
    for suffix in ("-wal", "-shm", "-journal"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def _is_replaceable(path: Path) -> bool:
    """Whether a file is empty or an index of another version, and can be deleted."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        header = file.read(100)
    version = int.from_bytes(header[60:64], "big")
    return not header or (header[68:72] == APPLICATION_ID.to_bytes(4, "big") and version != VERSION)


def in_memory(yard: Yard, fill: Fill, *, copy: bool = True) -> sqlite3.Connection:
    """An index in memory: a copy of the yard's if that is usable, otherwise a new one. Writes nothing."""
    db = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    for _ in range(_COPY_ATTEMPTS if copy else 0):
        with contextlib.suppress(OSError, sqlite3.Error):
            if _copy(yard.index_path, db) and _is_ours(db):
                return db
    db.close()
    db = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    db.executescript(TABLES)
    with reading(db):
        fill(db)
    return db


def _copy(path: Path, target: sqlite3.Connection) -> bool:
    """Copies the index at `path`; False when it changed meanwhile.

    To read it, SQLite would create files beside it; `immutable` prevents that, and is safe as long as there is
    no log and the file does not change. With a log, there is shared memory for read-only access.
    """
    log = path.with_name(path.name + "-wal")
    if log.exists():
        with contextlib.closing(_connect(path, "mode=ro&readonly_shm=1")) as source:
            source.backup(target)
        return True
    before = path.stat()
    with contextlib.closing(_connect(path, "mode=ro&immutable=1")) as source:
        source.backup(target)
    after = path.stat()
    is_same = (before.st_ino, before.st_mtime_ns, before.st_size) == (after.st_ino, after.st_mtime_ns, after.st_size)
    return is_same and not log.exists()
