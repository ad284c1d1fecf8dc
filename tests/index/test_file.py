"""The index's file may be missing, damaged, someone else's, or out of reach: answers stay the same."""

from __future__ import annotations

import contextlib
import errno
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from trainyard import durable
from trainyard.index import Index, schema
from trainyard.runs import Yard

PutRun = Callable[..., Path]


@pytest.fixture
def filled(yard: Yard, put_run: PutRun) -> Yard:
    for n in range(30):
        put_run(yard.root, f"p/d/run-{n}", metrics={"val_f1": n / 30}, config={"n": n, "text": "x" * 200})
    yard.note_change("p/d/run-0/")
    return yard


def _answer(index: Index) -> list[str]:
    return [row["name"] for row in index.query("val_f1>=.5 sort:-val_f1 config.text:x*").rows]


EXPECTED = [f"run-{n}" for n in range(29, 14, -1)]


def _aside(yard: Yard) -> list[str]:
    return [path.name for path in yard.own.iterdir() if "aside" in path.name]


def test_it_is_made_and_made_again(filled: Yard) -> None:
    index = Index(filled)
    assert _answer(index) == EXPECTED
    for _ in range(2):
        filled.index_path.unlink()
        assert _answer(index) == EXPECTED
        assert filled.index_path.stat().st_mode & 0o777 == 0o666 & ~durable._UMASK
    shutil.rmtree(filled.own)
    assert _answer(index) == EXPECTED
    assert sorted(path.name for path in filled.own.iterdir()) == ["index.lock", "index.sqlite"]


@pytest.mark.parametrize("content", [b"", b"not a database", b"\0" * 5000, b"SQLite format 3\0" + b"\xff" * 4096])
def test_nonsense_is_moved_aside(filled: Yard, content: bytes) -> None:
    filled.own.mkdir(exist_ok=True)
    filled.index_path.write_bytes(content)
    for suffix in ("-wal", "-shm"):
        filled.index_path.with_name(f"index.sqlite{suffix}").write_bytes(b"stale")
    index = Index(filled)
    assert _answer(index) == EXPECTED
    assert len(_aside(filled)) == (1 if content else 0)
    assert _answer(index) == EXPECTED


def test_the_database_of_someone_else_is_kept(filled: Yard) -> None:
    filled.own.mkdir(exist_ok=True)
    with contextlib.closing(sqlite3.connect(filled.index_path)) as db:
        db.execute("CREATE TABLE precious (x)")
        db.execute("INSERT INTO precious VALUES (42)")
        db.commit()
    assert _answer(Index(filled)) == EXPECTED
    (aside,) = _aside(filled)
    with contextlib.closing(sqlite3.connect(filled.own / aside)) as db:
        assert db.execute("SELECT x FROM precious").fetchone() == (42,)


@pytest.mark.parametrize("version", [0, schema.VERSION + 1])
def test_an_index_of_another_version_is_remade(filled: Yard, version: int) -> None:
    Index(filled).refresh()
    with contextlib.closing(sqlite3.connect(filled.index_path)) as db:
        db.execute("DROP TABLE facts")
        db.execute(f"PRAGMA user_version={version}")
    assert _answer(Index(filled)) == EXPECTED
    assert _aside(filled) == []


@pytest.mark.parametrize(
    "statement",
    [
        "DROP TABLE facts",
        "DELETE FROM meta",
        "DELETE FROM documents",
        "UPDATE documents SET document = '{'",
        "DROP TABLE meta",
        "UPDATE documents SET document = cast(x'ff' AS TEXT)",
    ],
)
def test_a_broken_index_is_remade(filled: Yard, statement: str) -> None:
    Index(filled).refresh()
    with contextlib.closing(sqlite3.connect(filled.index_path)) as db:
        db.execute(statement)
        db.commit()
    assert _answer(Index(filled)) == EXPECTED


@pytest.mark.parametrize("seed", range(12))
def test_a_file_cut_or_scribbled_over_is_remade(filled: Yard, seed: int) -> None:
    rng = random.Random(seed)
    Index(filled).refresh()
    size = filled.index_path.stat().st_size
    with filled.index_path.open("r+b") as file:
        if seed % 2:
            file.truncate(rng.randrange(size))
        else:  # whole pages: SQLite has no checksums that would tell of less
            for page in rng.sample(range(size // 4096), 5):
                file.seek(page * 4096)
                file.write(rng.randbytes(4096))
    index = Index(filled)
    assert _answer(index) == EXPECTED
    index.find("run-3")
    filled.note_change("p/d/run-3/")
    assert _answer(index) == EXPECTED


_READER = """
import sys
from trainyard.index import Index
from trainyard.runs import Yard
index = Index(Yard(sys.argv[1]))
for n in range(25):
    names = [row["name"] for row in index.query("val_f1>=.5 sort:-val_f1").rows]
    assert names == [f"run-{n}" for n in range(29, 14, -1)], names
    index.yard.note_change(f"p/d/run-{n}/")
"""


def _readers(yard: Yard, count: int) -> list[subprocess.Popen[bytes]]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    return [subprocess.Popen([sys.executable, "-c", _READER, str(yard.root)], env=environment) for _ in range(count)]


def test_processes_that_need_it_first_build_it_together(filled: Yard) -> None:
    readers = _readers(filled, 4)
    assert [reader.wait(60) for reader in readers] == [0] * 4
    assert _aside(filled) == []


def test_processes_work_on_while_the_file_is_being_broken(filled: Yard) -> None:
    readers = _readers(filled, 3)
    rng = random.Random(5)
    while any(reader.poll() is None for reader in readers):
        with contextlib.suppress(FileNotFoundError):
            if rng.random() < 0.5:
                filled.index_path.unlink()
            else:
                rubbish = filled.own / "rubbish"
                rubbish.write_bytes(rng.randbytes(9000))
                rubbish.rename(filled.index_path)
    assert [reader.returncode for reader in readers] == [0] * 3
    assert _answer(Index(filled)) == EXPECTED


def test_threads_share_one_index(filled: Yard) -> None:
    index = Index(filled)
    failures: list[BaseException] = []

    def work() -> None:
        try:
            for n in range(10):
                assert _answer(index) == EXPECTED
                filled.note_change(f"p/d/run-{n}/")
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


# -- no writing


def _tree(root: Path) -> dict[str, tuple[int, int]]:
    found = {}
    for path in sorted(root.rglob("*")):
        status = path.stat()
        found[str(path.relative_to(root))] = (status.st_mtime_ns, status.st_size)
    return found


@pytest.mark.parametrize("page", [2, 3, 5, 8])
def test_a_copy_in_memory_of_a_file_that_was_being_broken_is_made_anew(filled: Yard, page: int, monkeypatch) -> None:
    """Its first page is whole, so that it opens; another has other bytes."""
    assert _answer(Index(filled)) == EXPECTED
    with filled.index_path.open("r+b") as file:
        file.seek(4096 * (page - 1))
        file.write(random.Random(page).randbytes(4096))
    monkeypatch.setattr(Yard, "writable", property(lambda self: False))
    index = Index(filled)
    assert _answer(index) == EXPECTED
    assert _answer(index) == EXPECTED


@pytest.fixture
def unwritable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Yard, "writable", property(lambda self: False))


@pytest.mark.parametrize("indexed", ["none", "closed", "open", "broken"])
def test_a_yard_that_cannot_be_written_is_read_from_memory(
    filled: Yard, put_run: PutRun, indexed: str, request: pytest.FixtureRequest
) -> None:
    held: list[sqlite3.Connection] = []
    if indexed != "none":
        Index(filled).refresh()
    if indexed == "broken":
        filled.index_path.write_bytes(b"broken")
    if indexed == "open":  # by another process, with commits that are only in the log
        held.append(sqlite3.connect(filled.index_path))
        held[0].execute("DELETE FROM facts WHERE run = 1")
        held[0].commit()
        assert filled.index_path.with_name("index.sqlite-wal").exists()
    request.getfixturevalue("unwritable")
    before = _tree(filled.root)
    index = Index(filled)
    assert len(_answer(index)) == (len(EXPECTED) - 1 if indexed == "open" and held and _cut(held[0]) else 15)
    assert index.find("run-7") == filled.root / "p/d/run-7"
    assert _tree(filled.root) == before
    put_run(filled.root, "p/d/late", metrics={"val_f1": 2.0}, config={"text": "x"})
    with filled.changes_path.open("a") as file:
        file.write("p/d/late/\n")
    shutil.rmtree(filled.root / "p/d/run-20")
    before = _tree(filled.root)
    assert _answer(index)[0] == "late"
    assert "run-20" not in _answer(index)
    assert index.rebuild() == 30
    assert _tree(filled.root) == before
    for connection in held:
        connection.close()
    index.close()
    assert _answer(index)[0] == "late"


def _cut(db: sqlite3.Connection) -> bool:
    """Whether the run whose values were removed is among those expected."""
    (name,) = db.execute("SELECT name FROM runs WHERE n = 1").fetchone()
    return name in EXPECTED


def test_another_user_reads_a_yard_that_is_not_theirs(put_run: PutRun) -> None:
    with _public_folder() as folder:
        yard = Yard(folder / "outputs", create=True)
        for n in range(30):
            put_run(yard.root, f"p/d/run-{n}", metrics={"val_f1": n / 30}, config={"text": "x"})
        Index(yard).refresh()
        put_run(yard.root, "p/d/late", metrics={"val_f1": 2.0}, config={"text": "x"})
        yard.note_change("p/d/late/")
        before = _tree(yard.root)
        for path in [yard.root, *yard.root.rglob("*")]:
            path.chmod(0o555 if path.is_dir() else 0o444)
        try:
            assert _as_nobody(lambda: (not yard.writable) and _answer(Index(yard)) == ["late", *EXPECTED]) == 0
            assert _as_nobody(lambda: Index(yard).rebuild() == 31) == 0
            assert _tree(yard.root) == before
        finally:
            for path in [yard.root, *yard.root.rglob("*")]:
                path.chmod(0o755 if path.is_dir() else 0o644)


@contextlib.contextmanager
def _public_folder() -> Iterator[Path]:
    """Pytest's own folders are closed to other users."""
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o755)
        yield Path(name)


def _as_nobody(check: Callable[[], bool]) -> int:
    """The exit status of a process without rights in which `check` holds: 0."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            if os.getuid() == 0:
                os.setgroups([])
                os.setgid(65534)
                os.setuid(65534)
            status = 0 if check() else 2
        except BaseException as error:
            os.write(2, f"{type(error).__name__}: {error}\n".encode())
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.parametrize("name", ["ENOSPC", "EROFS", "EACCES"])
def test_a_disk_that_takes_nothing_does_not_stop_the_reading(
    filled: Yard, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    def refuse(source: Path, target: Path) -> None:
        raise OSError(getattr(errno, name), "refused", str(target))

    monkeypatch.setattr(durable.calls, "rename", refuse, raising=False)
    index = Index(filled)
    assert _answer(index) == EXPECTED
    assert index.rebuild() == 30
    assert [path.name for path in filled.own.iterdir() if durable.is_temporary(path)] == []


def test_what_a_killed_builder_left_is_swept(filled: Yard) -> None:
    filled.own.mkdir(exist_ok=True)
    child = subprocess.Popen(["true"])
    child.wait()
    left = durable.temporary(filled.own).name.replace(f"-{os.getpid()}-", f"-{child.pid}-")
    (filled.own / left).write_bytes(b"half")
    assert _answer(Index(filled)) == EXPECTED
    assert not (filled.own / left).exists()
