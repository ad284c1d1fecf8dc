"""Whether an attempt is alive: an flock held from its start to its end, which the system releases on a kill.

For attempts on other machines, whose flock may be invisible here, the lock file's modification time is a
heartbeat. Knows nothing of what the attempt does.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
import threading
import time
from pathlib import Path
from typing import Any

from trainyard import durable
from trainyard.errors import RunBusyError

HEARTBEAT_S = 15.0
_SILENT_S = 90.0  # without a heartbeat from another machine, an attempt counts as dead
_PATIENCE_S = 1.0  # a reader holds the lock for microseconds while it checks; wait for that
_held: set[RunLock] = set()


def _forget_in_child() -> None:
    """Closes the locks in a forked child, which must not keep its parent's runs alive."""
    for lock in _held:
        os.close(lock._fd)
        lock._fd = -1
    _held.clear()


os.register_at_fork(after_in_child=_forget_in_child)


class RunLock:
    """The lock of one attempt, held from construction to `release`. Its directory may be renamed meanwhile.

    On some file systems, other machines do not see the lock. So if another machine began an attempt and did not
    end it, this waits until its heartbeat has been silent for a minute and a half.

    Raises:
        RunBusyError: a live attempt holds it.
    """

    def __init__(self, path: Path) -> None:
        with durable.explained(path):
            self._fd = durable.calls.open(path, os.O_RDWR | os.O_CREAT)
            try:
                self._take(path)
                durable.calls.truncate(self._fd, 0)
                holder = json.dumps({"pid": os.getpid(), "host": socket.gethostname()})
                durable.calls.write(self._fd, memoryview(holder.encode()))
            except BaseException:
                os.close(self._fd)
                raise
        _held.add(self)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="trainyard-heartbeat", daemon=True)
        self._thread.start()

    def _take(self, path: Path) -> None:
        deadline = time.monotonic() + _PATIENCE_S
        while True:
            try:
                fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise _busy(path) from None
                time.sleep(0.005)
        last = os.fstat(self._fd).st_mtime
        deadline = time.monotonic() + _SILENT_S
        while _is_foreign(path) and time.time() - last < _SILENT_S and time.monotonic() < deadline:
            time.sleep(0.2)
            if path.stat().st_mtime != last:
                raise _busy(path)

    def _beat(self) -> None:
        while not self._stop.wait(HEARTBEAT_S):
            with contextlib.suppress(OSError):  # a missed heartbeat; the next one may succeed
                os.utime(self._fd)

    def release(self) -> None:
        """Releases the lock; a second call does nothing."""
        if self._fd >= 0:
            self._stop.set()
            self._thread.join()
            _held.discard(self)
            with contextlib.suppress(OSError):
                os.ftruncate(self._fd, 0)  # tells other machines, too, that nobody holds it
            os.close(self._fd)
            self._fd = -1


def _busy(path: Path) -> RunBusyError:
    holder, home = read_holder(path), path.parent.parent
    process = f"process {holder.get('pid', '?')} on {holder.get('host', 'this machine')}"
    remedy = "Wait for that process to end, or stop it; then try again."
    return RunBusyError(f"The run in {home} is being worked on by {process}.", remedy, value=holder, place=home)


def read_holder(path: Path) -> dict[str, Any]:
    """The process that holds the lock, or held it when killed: {"pid", "host"}; empty if free or unknown."""
    with contextlib.suppress(OSError, ValueError):
        holder = json.loads(path.read_bytes())
        if isinstance(holder, dict):
            return holder
    return {}


def _is_foreign(path: Path) -> bool:
    return bool(read_holder(path).get("host", socket.gethostname()) != socket.gethostname())


def is_alive(path: Path) -> bool:
    """Whether an attempt holds the lock now. Works in read-only yards."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return _is_foreign(path) and time.time() - os.fstat(fd).st_mtime < _SILENT_S
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
