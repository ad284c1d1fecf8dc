"""Injects faults: failing system calls, full disks, damaged files, killed processes.

Every write of Trainyard goes through `durable.calls`. Replacements installed there count the calls and
make a chosen one fail, or kill the process at it, so that a test can try every call:

    faults.sweep(fresh=make_state, action=write_something, check=old_or_new)

For tests of Trainyard and of your own extensions. Production code never imports it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import runpy
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from trainyard import durable
from trainyard.errors import TrainyardError

KINDS = frozenset({"open", "write", "fsync", "rename", "link", "mkdir", "unlink", "truncate"})
KILL_AT = "TRAINYARD_KILL_AT"  # read by `run_killed`'s subprocess only: "<n>:<kind>,<kind>…"

_State = TypeVar("_State")


class FaultyCalls(durable.SystemCalls):
    """System calls of which the n-th fails, once; a failing write has written half of its data.

    Args:
        nth: which call, from 1; with None, calls are only counted.
        kinds: the kinds of calls that count.
        error: the errno of the failure.

    Attributes:
        made: the calls so far, by kind, in order (those of `kinds` only).
        fired: whether the n-th has been reached.
    """

    def __init__(self, nth: int | None = None, *, kinds: Collection[str] = KINDS, error: int = errno.EIO) -> None:
        if unknown := set(kinds) - KINDS:
            raise ValueError(f"unknown kinds of calls {sorted(unknown)}; choose from {sorted(KINDS)}")
        self.nth = nth
        self.kinds = frozenset(kinds)
        self.error = error
        self.made: list[str] = []
        self.fired = False
        self._counting = threading.Lock()

    def _is_due(self, kind: str) -> bool:
        """Counts a call; returns whether it is the n-th."""
        if kind not in self.kinds:
            return False
        with self._counting:
            self.made.append(kind)
            due = len(self.made) == self.nth
            self.fired |= due
        return due

    def _strike(self) -> None:
        raise OSError(self.error, f"{os.strerror(self.error)} (injected at call {self.nth})")

    def _before(self, kind: str) -> None:
        if self._is_due(kind):
            self._strike()

    def open(self, path: Path, flags: int) -> int:
        self._before("open")
        return super().open(path, flags)

    def write(self, fd: int, data: memoryview) -> int:
        if self._is_due("write"):
            half = data[: len(data) // 2]
            while half:
                half = half[super().write(fd, half) :]
            self._strike()
        return super().write(fd, data)

    def fsync(self, fd: int) -> None:
        self._before("fsync")
        super().fsync(fd)

    def rename(self, source: Path, target: Path) -> None:
        self._before("rename")
        super().rename(source, target)

    def link(self, source: Path, target: Path) -> None:
        self._before("link")
        super().link(source, target)

    def mkdir(self, path: Path) -> None:
        self._before("mkdir")
        super().mkdir(path)

    def unlink(self, path: Path) -> None:
        self._before("unlink")
        super().unlink(path)

    def truncate(self, fd: int, size: int) -> None:
        self._before("truncate")
        super().truncate(fd, size)


class KillingCalls(FaultyCalls):
    """System calls of which the n-th kills this process with SIGKILL; a write has written half of its data."""

    def _strike(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


class States:
    """Creates fresh directories below `root`, each filled by `prepare`, for `sweep`."""

    def __init__(self, root: Path, prepare: Callable[[Path], object]) -> None:
        self.root, self.prepare, self.n = root, prepare, 0

    def __call__(self) -> Path:
        """Creates the next directory."""
        self.n += 1
        state = self.root / str(self.n)
        state.mkdir()
        self.prepare(state)
        return state


class FullDisk(durable.SystemCalls):
    """A disk with room for `left` more bytes: beyond them, writes fail with ENOSPC. Add to `left` to make room.

    Only writes through `durable` count; for libraries that write files themselves, see `tmpfs`.
    """

    def __init__(self, left: int) -> None:
        self.left = left

    def write(self, fd: int, data: memoryview) -> int:
        if self.left <= 0 < len(data):
            raise OSError(errno.ENOSPC, f"{os.strerror(errno.ENOSPC)} (injected)")
        written = super().write(fd, data[: self.left])
        self.left -= written
        return written

    def free_bytes(self, directory: Path) -> int:
        return self.left


_Calls = TypeVar("_Calls", bound=durable.SystemCalls)


@contextlib.contextmanager
def installed(calls: _Calls) -> Iterator[_Calls]:
    """Installs `calls` instead of the real ones during the block, in this process."""
    before = durable.calls
    durable.calls = calls
    try:
        yield calls
    finally:
        durable.calls = before


def failing(
    nth: int | None = None, *, kinds: Collection[str] = KINDS, error: int = errno.EIO
) -> contextlib.AbstractContextManager[FaultyCalls]:
    """A block in which the n-th call of `kinds` fails once with `error`; with None, calls are only counted."""
    return installed(FaultyCalls(nth, kinds=kinds, error=error))


def disk_full(free_bytes: int) -> contextlib.AbstractContextManager[FullDisk]:
    """A block in which the disk has room for `free_bytes` more bytes."""
    return installed(FullDisk(free_bytes))


def count(action: Callable[[], object], *, kinds: Collection[str] = KINDS) -> int:
    """How many calls of `kinds` the action makes."""
    with failing(kinds=kinds) as calls:
        action()
    return len(calls.made)


def sweep(
    action: Callable[[_State], object],
    check: Callable[[_State], object],
    *,
    fresh: Callable[[], _State],
    succeeded: Callable[[_State], object] | None = None,
    kinds: Collection[str] = KINDS,
    error: int = errno.EIO,
    every: int = 1,
) -> int:
    """Fails every call that an action makes, one after the other, and returns how many there were.

    For each call: create a fresh state, run the action with that call failing, run `check`, then run the
    action again without a fault, which must succeed.

    Args:
        action: what to test. It may survive a fault; otherwise it must raise OSError or a TrainyardError.
        check: asserts what must hold after a fault: the old state or the new one.
        fresh: creates the state that is passed to the others.
        succeeded: asserts what must hold after the action has succeeded.
        kinds: the kinds of calls to fail.
        error: the errno to fail with.
        every: try only every n-th call.
    """
    nth = 1
    while True:
        state = fresh()
        with failing(nth, kinds=kinds, error=error) as calls:
            failed: Exception | None = None
            try:
                action(state)
            except (OSError, TrainyardError) as fault:
                failed = fault
        if not calls.fired:
            if failed is not None:
                raise failed
            return len(calls.made)
        try:
            check(state)
            action(state)
            if succeeded is not None:
                succeeded(state)
        except Exception as finding:
            finding.add_note(
                f"after call {nth} ({calls.made[nth - 1]}) failed with {errno.errorcode[error]}: {failed!r}"
            )
            raise
        nth += every


def truncate(path: Path, at_byte: int) -> None:
    """Truncates a file at a byte, as a kill or a power cut does. Negative numbers count from the end."""
    size = path.stat().st_size
    os.truncate(path, at_byte if at_byte >= 0 else size + at_byte)


def flip_byte(path: Path, offset: int) -> None:
    """Inverts one byte of a file in place, as a failing disk does. Negative numbers count from the end."""
    with path.open("r+b") as file:
        file.seek(offset, os.SEEK_SET if offset >= 0 else os.SEEK_END)
        position = file.tell()
        old = file.read(1)
        if not old:
            raise ValueError(f"{path} has no byte {offset}")
        file.seek(position)
        file.write(bytes([old[0] ^ 0xFF]))


class NotPermittedError(Exception):
    """This process lacks a permission, which the message names. Tests skip with it."""


@contextlib.contextmanager
def tmpfs(directory: Path, size_mb: int) -> Iterator[Path]:
    """Mounts an empty file system of `size_mb` MiB on the existing `directory` during the block.

    Raises:
        NotPermittedError: this process may not mount; only root may, and not in every container.
    """
    options = ["-o", f"size={size_mb}m", "tmpfs", str(directory)]
    try:
        done = subprocess.run(["mount", "-t", "tmpfs", *options], capture_output=True, text=True)
    except OSError as error:
        raise NotPermittedError(f"mounting a tmpfs: {error}") from None
    if done.returncode:
        raise NotPermittedError(f"mounting a tmpfs: {done.stderr.strip()}")
    try:
        yield directory
    finally:
        subprocess.run(["umount", "--lazy", str(directory)], check=True, capture_output=True)


def run_killed(
    code_or_argv: str | Sequence[str],
    *,
    nth_call: int | None = None,
    after_s: float | None = None,
    kinds: Collection[str] = KINDS,
    timeout_s: float = 120.0,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Runs Python in a subprocess that is killed with SIGKILL at its n-th call or after some time.

    Args:
        code_or_argv: source code, or the arguments for `python`: ["-m", "trainyard", "train"]
            or ["script.py", "x"].
        nth_call: kill at this call of `durable.calls`, from 1; a write is half done by then.
        after_s: kill this many seconds after the start.
        kinds: the kinds of calls that count.
        timeout_s: fail when it takes longer.
        cwd: the working directory.
        env: additional environment variables.

    Returns:
        The completed process: `returncode` is -9 if it was killed, otherwise its own (it made fewer calls).
    """
    here, source = Path(__file__).resolve().parent, Path(durable.__file__).resolve().parents[1]
    environment = {**os.environ, **(env or {})}
    paths = [str(here), str(source), environment.get("PYTHONPATH")]
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    environment.pop(KILL_AT, None)
    if nth_call is not None:
        environment[KILL_AT] = f"{nth_call}:{','.join(sorted(kinds))}"
    argv = ["-c", code_or_argv] if isinstance(code_or_argv, str) else list(code_or_argv)
    helper = "import faults; faults.run_doomed()"
    process = subprocess.Popen(
        [sys.executable, "-c", helper, *argv],
        cwd=cwd,
        env=environment,
        text=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        output, errors = process.communicate(timeout=timeout_s if after_s is None else after_s)
    except subprocess.TimeoutExpired:
        process.kill()
        output, errors = process.communicate()
        if after_s is None:
            raise
    return subprocess.CompletedProcess(argv, process.returncode, output, errors)


def run_doomed() -> None:
    """Runs in the subprocess of `run_killed`: does what `python` does with the same arguments, until it is killed."""
    if KILL_AT in os.environ:
        nth, _, kinds = os.environ[KILL_AT].partition(":")
        durable.calls = KillingCalls(int(nth), kinds=kinds.split(","))
    first, rest = sys.argv[1], sys.argv[2:]
    if first == "-c":
        sys.argv = ["-c", *rest[1:]]
        exec(compile(rest[0], "<code>", "exec"), {"__name__": "__main__"})
    elif first == "-m":
        sys.argv = rest
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    else:
        sys.argv = [first, *rest]
        runpy.run_path(first, run_name="__main__")


def wait_for(condition: Callable[[], object], *, timeout_s: float = 10.0) -> None:
    """Waits until `condition()` is true, polling it every few milliseconds; AssertionError when it stays false."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"the condition is still false after {timeout_s} s")
        time.sleep(0.005)
