from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import faults
import pytest

from trainyard import durable
from trainyard.errors import DiskFullError, YardError

OLD, NEW = b"old bytes\n" * 40, b"the new bytes\n" * 50


def temporaries(directory: Path) -> list[Path]:
    return [path for path in directory.rglob(".tmp-*") if durable.is_temporary(path)]


def old_file(state: Path) -> None:
    (state / "f").write_bytes(OLD)
    os.link(state / "f", state / "sibling")
    (state / "source").write_bytes(NEW)


def old_or_new(state: Path) -> None:
    assert (state / "f").read_bytes() in (OLD, NEW)
    assert (state / "sibling").read_bytes() == OLD
    assert (state / "source").read_bytes() == NEW
    assert temporaries(state) == []


def new(state: Path) -> None:
    old_or_new(state)
    assert (state / "f").read_bytes() == NEW


REPLACERS: dict[str, Callable[[Path], object]] = {
    "write_bytes": lambda state: durable.write_bytes(state / "f", NEW),
    "write_bytes unsynced": lambda state: durable.write_bytes(state / "f", NEW, sync=False),
    "write_text": lambda state: durable.write_text(state / "f", NEW.decode()),
    "copy": lambda state: durable.copy(state / "source", state / "f"),
    "publish": lambda state: durable.publish(state / "source", state / "f"),
}


@pytest.mark.parametrize("error", [errno.EIO, errno.ENOSPC])
@pytest.mark.parametrize("name", REPLACERS)
def test_replacing_a_file_leaves_the_old_or_the_new(name: str, error: int, tmp_path: Path) -> None:
    tried = faults.sweep(
        REPLACERS[name], old_or_new, fresh=faults.States(tmp_path, old_file), succeeded=new, error=error
    )
    assert tried >= (4 if "unsynced" not in name else 3)


@pytest.mark.parametrize("name", ["write_bytes", "copy", "publish"])
def test_creating_a_file_leaves_nothing_or_all_of_it(name: str, tmp_path: Path) -> None:
    def prepare(state: Path) -> None:
        old_file(state)
        (state / "f").unlink()

    def nothing_or_all(state: Path) -> None:
        assert not (state / "f").exists() or (state / "f").read_bytes() == NEW
        assert temporaries(state) == []

    faults.sweep(REPLACERS[name], nothing_or_all, fresh=faults.States(tmp_path, prepare), succeeded=new)


@pytest.mark.parametrize("replace", [False, True])
@pytest.mark.parametrize("error", [errno.EIO, errno.ENOSPC])
def test_staging_a_directory_leaves_the_old_or_the_new(replace: bool, error: int, tmp_path: Path) -> None:
    def prepare(state: Path) -> None:
        if replace:
            (state / "deep" / "d").mkdir(parents=True)
            (state / "deep" / "d" / "a").write_bytes(OLD)

    def stage(state: Path) -> None:
        with durable.staging(state / "deep" / "d", replace=replace) as staged:
            (staged / "a").write_bytes(NEW)
            (staged / "inner").mkdir()
            durable.write_bytes(staged / "inner" / "b", NEW)

    def check(state: Path) -> None:
        found = state / "deep" / "d"
        files = {path.name: path.read_bytes() for path in found.rglob("*") if path.is_file()}
        assert files == ({"a": OLD} if replace else {}) or files == {"a": NEW, "b": NEW}
        assert found.exists() is bool(files)
        assert temporaries(state) == []

    def done(state: Path) -> None:
        assert (state / "deep" / "d" / "inner" / "b").read_bytes() == NEW
        assert temporaries(state) == []

    if not replace:  # the retry after a late fault must still find the name free
        assert faults.sweep(stage, check, fresh=faults.States(tmp_path, prepare), succeeded=done, error=error) > 8
    else:
        assert faults.sweep(stage, check, fresh=faults.States(tmp_path, prepare), succeeded=done, error=error) > 8


def test_staging_never_replaces_without_replace(tmp_path: Path) -> None:
    for taken in ("empty", "full", "file", "dangling"):
        path = tmp_path / taken
        match taken:
            case "file":
                path.write_text("x")
            case "dangling":
                path.symlink_to("nowhere")
            case _:
                path.mkdir()
        if taken == "full":
            (path / "x").write_text("x")
        with pytest.raises(FileExistsError), durable.staging(path):
            pytest.fail("it should not have begun")
    with pytest.raises(FileExistsError), durable.staging(tmp_path / "late") as staged:  # noqa: PT012
        (staged / "x").write_text("x")
        (tmp_path / "late").mkdir()  # another process
    assert temporaries(tmp_path) == []
    assert os.listdir(tmp_path / "late") == []


def test_an_exception_in_the_block_leaves_the_old(tmp_path: Path) -> None:
    old_file(tmp_path)
    with pytest.raises(KeyboardInterrupt), durable.replacing(tmp_path / "f") as temporary:  # noqa: PT012
        temporary.write_bytes(NEW)
        raise KeyboardInterrupt
    with pytest.raises(ValueError, match="mine"), durable.staging(tmp_path / "d") as staged:  # noqa: PT012
        (staged / "a").write_bytes(NEW)
        raise ValueError("mine")
    assert (tmp_path / "f").read_bytes() == OLD
    assert not (tmp_path / "d").exists()
    assert temporaries(tmp_path) == []


def test_publishing_what_is_published_leaves_no_temporary(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(NEW)
    for _ in range(3):  # rename between two links of one file does nothing, and reports success
        durable.publish(tmp_path / "a", tmp_path / "b")
    assert sorted(os.listdir(tmp_path)) == ["a", "b"]
    assert os.stat(tmp_path / "a").st_nlink == 2


def test_a_link_keeps_the_permissions_of_what_it_links(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(NEW)
    (tmp_path / "a").chmod(0o400)
    durable.publish(tmp_path / "a", tmp_path / "b")
    with durable.staging(tmp_path / "d") as staged:
        durable.link_or_copy(tmp_path / "a", staged / "a")
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o400


@pytest.mark.parametrize("umask", ["002", "022", "077"])
def test_files_have_the_permissions_of_any_other(umask: str, tmp_path: Path) -> None:
    code = f"""
import os; os.umask(0o{umask})
from pathlib import Path
from trainyard import durable, jsonl
p = Path({str(tmp_path)!r})
durable.write_bytes(p / "bytes", b"x")
with durable.replacing(p / "saved") as t:
    os.close(os.open(t, os.O_CREAT | os.O_WRONLY, 0o600))  # as tempfile does
with durable.staging(p / "dir") as t:
    os.close(os.open(t / "inner", os.O_CREAT | os.O_WRONLY, 0o600))
durable.make_directories(p / "made")
jsonl.Appender(p / "lines").close()
"""
    subprocess.run(
        [sys.executable, "-c", code], check=True, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    )
    mask = int(umask, 8)
    for name in ("bytes", "saved", "dir/inner", "lines"):
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o666 & ~mask, name
    for name in ("dir", "made"):
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o777 & ~mask, name


@pytest.mark.parametrize("nth", range(1, 7))
def test_what_a_kill_leaves_is_swept(nth: int, tmp_path: Path) -> None:
    old_file(tmp_path)
    code = f"""
from pathlib import Path
from trainyard import durable, jsonl
p = Path({str(tmp_path)!r})
durable.write_bytes(p / "f", {NEW!r})
with durable.staging(p / "d") as staged:
    durable.write_bytes(staged / "a", b"a")
"""
    done = faults.run_killed(code, nth_call=nth, kinds={"open", "write", "rename", "mkdir"})
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert (tmp_path / "f").read_bytes() in (OLD, NEW)
    assert (tmp_path / "sibling").read_bytes() == OLD
    left = temporaries(tmp_path)
    top = [path for path in left if path.parent == tmp_path]
    assert sorted(durable.sweep(tmp_path)) == sorted(top)
    assert temporaries(tmp_path) == []
    assert {"f", "sibling", "source"} <= set(os.listdir(tmp_path)) <= {"f", "sibling", "source", "d"}


def test_sweep_spares_the_living_and_the_foreign(tmp_path: Path) -> None:
    mine = durable.temporary(tmp_path)
    dead = tmp_path / mine.name.replace(f"-{os.getpid()}-", "-4194304-")
    foreign = tmp_path / f".tmp-{'0' * 8}-4194304-{'0' * 8}"
    unlike = tmp_path / ".tmp-notes"
    for path in (mine, dead, foreign, unlike):
        path.touch()
    assert durable.sweep(tmp_path) == [dead]
    assert durable.sweep(tmp_path / "missing") == []
    assert {p.name for p in tmp_path.iterdir()} == {mine.name, foreign.name, unlike.name}


def test_a_file_where_a_directory_must_be_is_explained(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "dangling").symlink_to("nowhere")
    for path in (tmp_path / "file", tmp_path / "file" / "a", tmp_path / "file" / "a" / "b", tmp_path / "dangling"):
        with pytest.raises(YardError) as raised:
            durable.make_directories(path)
        assert raised.value.place == str(path)
        assert "--yard" in raised.value.remedy
    with pytest.raises(YardError) as raised:
        durable.write_bytes(tmp_path / "file" / "a", b"")
    assert isinstance(raised.value.__cause__, NotADirectoryError)


def test_full_and_forbidden_are_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with faults.failing(1, kinds={"write"}, error=errno.ENOSPC), pytest.raises(DiskFullError) as full:
        durable.write_bytes(tmp_path / "f", b"x")
    assert full.value.place == str(tmp_path / "f")
    assert "trainyard clean" in full.value.remedy
    with faults.failing(1, kinds={"open"}, error=errno.EACCES), pytest.raises(YardError) as forbidden:
        durable.write_bytes(tmp_path / "f", b"x")
    assert forbidden.value.place == str(tmp_path / "f")
    assert "--yard" in forbidden.value.remedy
    assert isinstance(forbidden.value.__cause__, PermissionError)
    with faults.failing(1, kinds={"open"}, error=errno.EIO), pytest.raises(OSError, match="injected"):
        durable.write_bytes(tmp_path / "f", b"x")
    assert os.listdir(tmp_path) == []


def test_a_disk_fills_and_empties(tmp_path: Path) -> None:
    with faults.disk_full(10) as disk:
        durable.write_bytes(tmp_path / "a", b"12345678")
        with pytest.raises(DiskFullError):
            durable.write_bytes(tmp_path / "b", b"12345678")
        with pytest.raises(DiskFullError) as raised:
            durable.require_space(tmp_path / "not" / "yet", 1000)
        assert (raised.value.value, raised.value.place) == (1000, str(tmp_path))
        disk.left += 1000
        durable.require_space(tmp_path / "not" / "yet", 1000)
        durable.write_bytes(tmp_path / "b", b"12345678")
    assert (tmp_path / "b").read_bytes() == b"12345678"
    assert temporaries(tmp_path) == []


def test_a_really_full_disk(tmp_path: Path) -> None:
    try:
        with faults.tmpfs(tmp_path, 1):
            durable.write_bytes(tmp_path / "f", OLD)
            with pytest.raises(DiskFullError) as raised:
                durable.write_bytes(tmp_path / "f", bytes(2 << 20))
            assert raised.value.place == str(tmp_path / "f")
            with pytest.raises(DiskFullError) as raised:
                durable.require_space(tmp_path, 2 << 20)
            assert (raised.value.value, raised.value.place) == (2 << 20, str(tmp_path))
            assert (tmp_path / "f").read_bytes() == OLD
            assert os.listdir(tmp_path) == ["f"]
            durable.write_bytes(tmp_path / "f", NEW)
            assert (tmp_path / "f").read_bytes() == NEW
    except faults.NotPermittedError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("refusal", [errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP])
def test_where_links_cannot_be_there_are_copies(refusal: int, tmp_path: Path) -> None:
    old_file(tmp_path)
    with faults.failing(1, kinds={"link"}, error=refusal):
        assert durable.link_or_copy(tmp_path / "source", tmp_path / "made" / "copy") is False
    assert durable.link_or_copy(tmp_path / "source", tmp_path / "made" / "link") is True
    assert (tmp_path / "made" / "copy").read_bytes() == NEW
    assert not (tmp_path / "made" / "copy").samefile(tmp_path / "source")
    for refuse in (True, False):
        with faults.failing(1 if refuse else None, kinds={"link"}, error=refusal), pytest.raises(FileExistsError):
            durable.link_or_copy(tmp_path / "source", tmp_path / "f")
    assert (tmp_path / "f").read_bytes() == OLD
    with faults.failing(1, kinds={"link"}, error=refusal):
        durable.publish(tmp_path / "source", tmp_path / "f")
    new(tmp_path)


def test_links_across_file_systems_are_copies(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "a").write_bytes(NEW)
    try:
        with faults.tmpfs(tmp_path / "other", 1):
            assert durable.link_or_copy(tmp_path / "a", tmp_path / "other" / "a") is False
            assert (tmp_path / "other" / "a").read_bytes() == NEW
    except faults.NotPermittedError as error:
        pytest.skip(str(error))


def test_move_and_remove(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "f").write_bytes(NEW)
    (tmp_path / "a" / "outside").symlink_to(tmp_path)
    (tmp_path / "taken").mkdir()
    with pytest.raises(FileExistsError):
        durable.move(tmp_path / "a", tmp_path / "taken")
    durable.move(tmp_path / "a", tmp_path / "trash" / "today" / "a")
    assert not (tmp_path / "a").exists()
    durable.remove(tmp_path / "trash" / "today" / "a")
    assert os.listdir(tmp_path / "trash" / "today") == []
    assert tmp_path.exists()  # the link was removed, not what it pointed to


@pytest.mark.parametrize("at", range(1, 4))
def test_removing_can_go_on_after_a_fault(at: int, tmp_path: Path) -> None:
    (tmp_path / "d" / "e").mkdir(parents=True)
    for name in ("d/a", "d/e/b", "d/e/c"):
        (tmp_path / name).touch()
    with faults.failing(at, kinds={"unlink"}), pytest.raises(OSError, match="injected"):
        durable.remove(tmp_path / "d")
    durable.remove(tmp_path / "d")
    assert os.listdir(tmp_path) == []


# -- claims and locks


def _claim(arguments: tuple[str, int]) -> list[int]:
    root, names = Path(arguments[0]), arguments[1]
    return [n for n in range(names) if durable.claim_directory(root / "deep" / f"d{n}")]


def test_a_claim_is_won_once_among_eight_processes(tmp_path: Path) -> None:
    names = 60
    with ProcessPoolExecutor(8, mp_context=get_context("fork")) as pool:
        won = list(pool.map(_claim, [(str(tmp_path), names)] * 8))
    assert sorted(n for claims in won for n in claims) == list(range(names))


def test_a_failed_claim_holds_nothing(tmp_path: Path) -> None:
    def action(state: Path) -> None:
        assert durable.claim_directory(state / "parent" / "name")

    tried = faults.sweep(action, lambda state: None, fresh=faults.States(tmp_path, lambda state: None))
    assert tried >= 4
    assert not durable.claim_directory(tmp_path / "1" / "parent" / "name")


def _add_many(arguments: tuple[str, int]) -> None:
    counter = Path(arguments[0])
    for _ in range(arguments[1]):
        with durable.locked(counter.with_suffix(".lock")):
            counter.write_text(str(int(counter.read_text()) + 1))


def test_locked_excludes_other_processes_and_threads(tmp_path: Path) -> None:
    counter = tmp_path / "counter"
    counter.write_text("0")
    with ProcessPoolExecutor(4, mp_context=get_context("fork")) as pool:
        list(pool.map(_add_many, [(str(counter), 25)] * 4))
    threads = [threading.Thread(target=_add_many, args=((str(counter), 25),)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counter.read_text() == "200"


def test_locked_gives_up_and_lets_go(tmp_path: Path) -> None:
    with durable.locked(tmp_path / "lock"):
        again = durable.locked(tmp_path / "lock", timeout_s=0.05)
        with pytest.raises(YardError) as raised, again:
            pytest.fail("two hold it")
        assert (raised.value.value, raised.value.place) == (0.05, str(tmp_path / "lock"))
        child = os.fork()  # has the file open, too, and outlives the block
        if child == 0:
            signal.pause()
    try:
        with durable.locked(tmp_path / "lock", timeout_s=0.5):
            pass
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_a_log_shows_its_lines_at_once(tmp_path: Path) -> None:
    with durable.open_log(tmp_path / "logs" / "a.log") as log:
        log.write("épochs\n")
        log.write("half\ud800\n")
        assert (tmp_path / "logs" / "a.log").read_text(encoding="utf-8") == "épochs\nhalf\\ud800\n"
    with durable.open_log(tmp_path / "logs" / "a.log") as log:
        log.write("more\n")
    assert (tmp_path / "logs" / "a.log").read_text(encoding="utf-8").endswith("\nmore\n")


# -- the tools themselves


def test_the_fault_tools_do_what_they_say(tmp_path: Path) -> None:
    path = tmp_path / "f"
    with faults.failing() as calls:
        durable.write_bytes(path, b"0123456789")
    assert calls.made == ["open", "write", "open", "fsync", "rename", "open", "fsync"]
    assert faults.count(lambda: durable.write_bytes(path, b"0123456789"), kinds={"fsync"}) == 2
    faults.truncate(path, 4)
    assert path.read_bytes() == b"0123"
    faults.flip_byte(path, -1)
    assert path.read_bytes() == b"012" + bytes([ord("3") ^ 0xFF])
    with pytest.raises(ValueError, match="no byte 9"):
        faults.flip_byte(path, 9)
    with pytest.raises(ValueError, match="unknown kinds"):
        faults.failing(1, kinds={"wriet"})
    half = tmp_path / "half"
    half.touch()
    fd = os.open(half, os.O_WRONLY)
    with faults.failing(1, kinds={"write"}), pytest.raises(OSError, match="injected"):
        durable.calls.write(fd, memoryview(b"0123456789"))
    os.close(fd)
    assert half.read_bytes() == b"01234"


def test_a_sweep_finds_what_is_not_atomic(tmp_path: Path) -> None:
    def overwrite(state: Path) -> None:
        fd = durable.calls.open(state / "f", os.O_WRONLY | os.O_TRUNC)
        try:
            durable.calls.write(fd, memoryview(NEW))
        finally:
            os.close(fd)

    with pytest.raises(AssertionError) as caught:
        faults.sweep(overwrite, old_or_new, fresh=faults.States(tmp_path, old_file))
    assert any("call 2 (write) failed with EIO" in note for note in caught.value.__notes__)


def test_run_killed_runs_code_modules_and_scripts(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text("import sys; print(sys.argv[1:], __name__)")
    for argv in ([str(tmp_path / "script.py"), "a"], ["-m", "script", "a"]):
        done = faults.run_killed(argv, nth_call=1, cwd=tmp_path, env={"PYTHONPATH": str(tmp_path)})
        assert (done.returncode, done.stdout) == (0, "['a'] __main__\n"), done.stderr
    late = faults.run_killed("import time; print('here', flush=True); time.sleep(60)", after_s=1.0)
    assert (late.returncode, late.stdout) == (-signal.SIGKILL, "here\n")
