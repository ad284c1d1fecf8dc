from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import faults
import pytest

from trainyard import durable
from trainyard.errors import RunBusyError, YardError
from trainyard.layouts import load_layout
from trainyard.runs import RunReader, Yard, amend, create_run, find_homes, lock, resume_run
from trainyard.runs.lock import RunLock, is_alive, read_holder

HOLD = """
import sys, time
from trainyard.layouts import load_layout
from trainyard.runs import Yard, create_run
run = create_run(Yard(sys.argv[1], create=True), load_layout("grouped"), project="p", dataset="d", model="m")
{more}
print("ready", flush=True)
time.sleep(60)
"""


def start_holder(yard: Yard, more: str = "") -> subprocess.Popen[bytes]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD.format(more=more), str(yard.root)], stdout=subprocess.PIPE, env=environment
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"ready\n"
    return holder


@pytest.fixture
def holder(yard: Yard) -> Iterator[subprocess.Popen[bytes]]:
    with start_holder(yard) as process:
        yield process
        process.kill()


def only(yard: Yard) -> RunReader:
    [home] = find_homes(yard)
    return RunReader(yard, home)


def test_a_killed_holder_is_crashed_at_once(yard: Yard, holder: subprocess.Popen[bytes]) -> None:
    home = only(yard).home
    assert (only(yard).snapshot.state, only(yard).is_alive()) == ("running", True)
    for attempt in (lambda: resume_run(yard, home), lambda: amend(yard, home).__enter__()):
        began = time.monotonic()
        with pytest.raises(RunBusyError) as caught:
            attempt()
        assert caught.value.value == {"pid": holder.pid, "host": socket.gethostname()}
        assert caught.value.place == str(home)
        assert time.monotonic() - began < 5
        assert caught.value.remedy
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert (only(yard).snapshot.state, only(yard).is_alive()) == ("crashed", False)
    run = resume_run(yard, home)
    run.begin_attempt(None)
    assert only(yard).snapshot.state == "running"
    assert [a.state for a in only(yard).snapshot.attempts] == ["crashed", "running"]
    run.finish()
    assert only(yard).snapshot.state == "finished"


def test_a_child_does_not_keep_a_dead_run_alive(yard: Yard) -> None:
    fork = "import os\nif os.fork() == 0: time.sleep(10); os._exit(0)"
    spawn = "import subprocess; subprocess.Popen(['sleep', '10'], stdout=subprocess.DEVNULL, close_fds=False)"
    for more in (fork, spawn):
        with start_holder(yard, more) as holder:
            holder.send_signal(signal.SIGKILL)
            assert holder.wait() == -signal.SIGKILL
            # a moment: the parent may have been killed before its child ran its first line
            faults.wait_for(lambda: not only(yard).is_alive(), timeout_s=3)
            assert only(yard).snapshot.state == "crashed"
        durable.remove(only(yard).home)


def test_a_child_that_leaves_the_block_does_not_end_its_parents_run(yard: Yard) -> None:
    with create_run(yard, load_layout("grouped"), project="p", dataset="d", model="m") as run:
        child = os.fork()
        if child == 0:
            try:
                run.finish("failed", "in the child")
                run.abandon()
            finally:
                os._exit(7)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
        assert (only(yard).snapshot.state, only(yard).is_alive()) == ("running", True)
    assert only(yard).snapshot.state == "finished"


def test_a_run_holds_its_lock_in_its_own_process_too(yard: Yard) -> None:
    run = create_run(yard, load_layout("grouped"), project="p", dataset="d", model="m")
    with pytest.raises(RunBusyError):
        resume_run(yard, run.home)
    run.finish()
    resume_run(yard, run.home).abandon()


def test_readers_do_not_get_in_a_writers_way(yard: Yard) -> None:
    run = create_run(yard, load_layout("grouped"), project="p", dataset="d", model="m")
    run.finish()
    stop = threading.Event()

    def look() -> None:
        while not stop.is_set():
            is_alive(run.home / ".run" / "lock")

    threads = [threading.Thread(target=look) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(30):
            with amend(yard, run.home):
                pass
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def test_a_run_that_ends_while_it_is_looked_at_is_not_crashed(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    run = create_run(yard, load_layout("grouped"), project="p", dataset="d", model="m")

    def ends_first(path: Path) -> bool:
        run.finish()
        return is_alive(path)

    monkeypatch.setattr(lock, "is_alive", ends_first)
    assert RunReader(yard, run.home).snapshot.state == "finished"


@pytest.fixture
def foreign(tmp_path: Path) -> Path:
    path = tmp_path / "lock"
    path.write_text(json.dumps({"pid": 1, "host": "another-machine"}))
    return path


def test_a_beating_heart_elsewhere_is_alive(foreign: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert is_alive(foreign)
    assert read_holder(foreign)["host"] == "another-machine"
    beat = threading.Timer(0.3, os.utime, [foreign])
    beat.start()
    with pytest.raises(RunBusyError) as caught:
        RunLock(foreign)
    assert caught.value.value == {"pid": 1, "host": "another-machine"}
    beat.join()
    old = time.time() - 1000
    os.utime(foreign, (old, old))
    assert not is_alive(foreign)
    held = RunLock(foreign)
    assert is_alive(foreign)
    held.release()
    assert not is_alive(foreign)
    assert read_holder(foreign) == {}


def test_a_silent_attempt_elsewhere_is_waited_for(foreign: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "_SILENT_S", 0.5)
    began = time.monotonic()
    RunLock(foreign).release()
    assert 0.3 < time.monotonic() - began < 3


def test_the_heart_beats(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "HEARTBEAT_S", 0.05)
    (tmp_path / "a").mkdir()
    held = RunLock(tmp_path / "a" / "lock")
    os.rename(tmp_path / "a", tmp_path / "b")  # as a new run's home is
    path = tmp_path / "b" / "lock"
    os.utime(path, (0, 0))
    faults.wait_for(lambda: path.stat().st_mtime > 0)
    held.release()
    held.release()
    os.utime(path, (0, 0))
    time.sleep(0.15)
    assert path.stat().st_mtime == 0


def test_faults_while_locking_hold_nothing(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    tried = faults.sweep(lambda path: RunLock(path).release(), lambda path: None, fresh=lambda: tmp_path / "lock")
    assert tried == 3
    assert len(os.listdir("/proc/self/fd")) == before
    with faults.failing(1, error=13), pytest.raises(YardError):
        RunLock(tmp_path / "lock")
    (tmp_path / "odd").write_text("[1]")
    assert read_holder(tmp_path / "odd") == read_holder(tmp_path / "missing") == {}
    assert not is_alive(tmp_path / "missing")
