"""The only code that creates, replaces, links or appends files of record.

Every write is: temporary file in the same directory, write, fsync, rename, fsync of the directory;
whatever fails, the temporary goes and the old file stays. An existing path is never written into,
because hard links share their bytes. (`jsonl` appends lines, with this module's means.) Knows nothing
of runs, layouts or tensors.

All system calls go through `calls`, so that a test can make the n-th one fail. The file is longer than
most because there must be no second place where a file of record is written.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import functools
import hashlib
import json
import os
import re
import secrets
import shutil
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from trainyard.errors import DiskFullError, YardError

_CHUNK = 1 << 20  # bytes read at once when hashing or copying
_TEMPORARY = re.compile(r"\.tmp-(?P<host>[0-9a-f]{8})-(?P<pid>\d+)-[0-9a-f]{8}")
_UMASK = os.umask(0o022)
os.umask(_UMASK)


class SystemCalls:
    """The system calls a write is made of. `trainyard.testing.faults` puts a failing one in place."""

    def open(self, path: Path, flags: int) -> int:
        """Opens `path` with these flags, closed on exec; returns the descriptor."""
        return os.open(path, flags | os.O_CLOEXEC, 0o666)

    def write(self, fd: int, data: memoryview) -> int:
        """Writes some of `data`; returns how many bytes."""
        return os.write(fd, data)

    def fsync(self, fd: int) -> None:
        """Returns when the file or directory is on the disk."""
        os.fsync(fd)

    def rename(self, source: Path, target: Path) -> None:
        """Puts `source` in the place of `target`, in one step."""
        os.rename(source, target)

    def link(self, source: Path, target: Path) -> None:
        """Makes `target` another name of `source`."""
        os.link(source, target)

    def mkdir(self, path: Path) -> None:
        """Makes a directory that must not exist."""
        os.mkdir(path)

    def unlink(self, path: Path) -> None:
        """Removes a name of a file."""
        os.unlink(path)

    def truncate(self, fd: int, size: int) -> None:
        """Cuts an open file to `size` bytes."""
        os.ftruncate(fd, size)

    def free_bytes(self, directory: Path) -> int:
        """Bytes that may still be written below `directory`."""
        return shutil.disk_usage(directory).free


calls = SystemCalls()


@functools.cache
def _host_mark() -> str:
    """Marks where process ids mean the same processes: this machine, and on it this container."""
    space = "/proc/self/ns/pid"
    where = os.readlink(space) if os.path.islink(space) else ""
    return hashlib.sha256(f"{socket.gethostname()} {where}".encode()).hexdigest()[:8]


def temporary(directory: Path) -> Path:
    """A free name in `directory` for something half-written; `sweep` knows it as such."""
    return directory / f".tmp-{_host_mark()}-{os.getpid()}-{secrets.token_hex(4)}"


@contextlib.contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turns the errors of the operating system that a user can mend into errors that say how."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFullError(
                f"The disk is full: {path} could not be written. What was there before is intact.",
                "Free some space (`trainyard clean --dry-run` shows what can go), then `trainyard resume` the run.",
            ) from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise YardError(
                f"{path} cannot be written: {os.strerror(error.errno).lower()}.",
                "Choose a directory you may write to with --yard DIR, or mend its permissions.",
            ) from error
        if error.errno == errno.ENOTDIR:
            raise YardError(
                f"{path} cannot be written: a file has the name of one of its directories.",
                "Move that file away, or choose another directory with --yard DIR.",
            ) from error
        raise


def write_all(fd: int, data: bytes) -> None:
    """Writes all of `data`, however many calls that takes."""
    view = memoryview(data)
    while view:
        view = view[calls.write(fd, view) :]


def fsync_path(path: Path) -> None:
    """Puts a file's bytes, or a directory's entries, on the disk."""
    fd = calls.open(path, os.O_RDONLY)
    try:
        calls.fsync(fd)
    finally:
        os.close(fd)


def make_directories(directory: Path) -> None:
    """Creates `directory` and its parents, durably; an existing one is fine."""
    with explained(directory):
        missing: list[Path] = []
        existing = directory
        while not existing.is_dir():
            missing.append(existing)
            existing = existing.parent
        for path in reversed(missing):
            try:
                calls.mkdir(path)
            except FileExistsError:  # another process was first, or it is a file
                if not path.is_dir():
                    raise NotADirectoryError(errno.ENOTDIR, "not a directory", str(path)) from None
            fsync_path(path.parent)


def claim_directory(path: Path) -> bool:
    """True when this call made `path`; False when something has that name already. Parents are made."""
    make_directories(path.parent)
    with explained(path):
        try:
            calls.mkdir(path)
        except FileExistsError:
            return False
        try:
            fsync_path(path.parent)
        except BaseException:
            os.rmdir(path)
            raise
    return True


def claim_file(path: Path) -> bool:
    """True when this call made an empty `path`; False when something has that name already."""
    make_directories(path.parent)
    with explained(path):
        try:
            os.close(calls.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return False
    return True


@contextlib.contextmanager
def replacing(path: Path, *, sync: bool = True) -> Iterator[Path]:
    """Yields a temporary path beside `path`; what was written there becomes `path` when the block ends.

    Whatever happens, `path` holds the old bytes or the new ones. With `sync=False` that holds
    against a killed process but not against a power cut: for files that can be derived again.
    """
    make_directories(path.parent)
    written = temporary(path.parent)
    with explained(path):
        try:
            yield written
            settle(written, sync=sync)
            calls.rename(written, path)
        finally:  # after a rename too: between two links of one file it does nothing
            with contextlib.suppress(OSError):
                os.unlink(written)
        if sync:
            fsync_path(path.parent)


def settle(file: Path, *, sync: bool = True) -> None:
    """Puts a file just written on the disk, with the permissions of any other: some libraries make theirs private."""
    with explained(file):
        if file.stat().st_nlink == 1:  # a hard link's permissions are shared
            os.chmod(file, 0o666 & ~_UMASK)
        if sync:
            fsync_path(file)


def write_bytes(path: Path, data: bytes, *, sync: bool = True) -> None:
    """Puts `data` at `path`, all of it or nothing."""
    with replacing(path, sync=sync) as written:
        fd = calls.open(written, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        try:
            write_all(fd, data)
        finally:
            os.close(fd)


def write_text(path: Path, text: str, *, sync: bool = True) -> None:
    """Puts `text` at `path` as valid UTF-8 (a lone surrogate as its escape), all of it or nothing."""
    write_bytes(path, text.encode("utf-8", "backslashreplace"), sync=sync)


def write_json(path: Path, value: Any, *, sync: bool = True) -> None:
    """Puts `value` at `path` as indented JSON (NaN and Infinity as Python writes them)."""
    text = json.dumps(value, indent=2, ensure_ascii=False) + "\n"
    write_bytes(path, text.encode("utf-8", "backslashreplace"), sync=sync)  # a lone surrogate as JSON's \udxxx


@contextlib.contextmanager
def staging(path: Path, *, replace: bool = False) -> Iterator[Path]:
    """Yields a temporary directory beside `path` that becomes `path`, whole, when the block ends.

    On any exception `path` is as it was. With `replace`, a directory there makes way and is removed
    once the new one is in place; a kill between those two renames leaves neither name.

    Raises:
        FileExistsError: `path` exists and is not to be replaced.
    """
    make_directories(path.parent)
    staged, retired = temporary(path.parent), temporary(path.parent)
    with explained(path):
        if not replace:
            _refuse_existing(path)
        calls.mkdir(staged)
        try:
            yield staged
            for directory, _, names in os.walk(staged):
                for name in names:
                    settle(Path(directory, name))
                fsync_path(Path(directory))
            if not replace:
                _refuse_existing(path)  # an empty directory would be replaced by the rename
            elif os.path.lexists(path):
                calls.rename(path, retired)
            try:
                calls.rename(staged, path)
                try:
                    fsync_path(path.parent)
                except BaseException:
                    os.rename(path, staged)
                    raise
            except BaseException:
                if os.path.lexists(retired):
                    os.rename(retired, path)
                raise
        except OSError as error:
            shutil.rmtree(staged, ignore_errors=True)
            if error.errno == errno.ENOTEMPTY:  # another process was first
                raise FileExistsError(errno.EEXIST, "already there", str(path)) from error
            raise
        except BaseException:
            shutil.rmtree(staged, ignore_errors=True)
            raise
        shutil.rmtree(retired, ignore_errors=True)


def _refuse_existing(path: Path) -> None:
    if os.path.lexists(path):
        raise FileExistsError(errno.EEXIST, "already there", str(path))


def discard(path: Path) -> None:
    """Removes a directory that nobody else has seen yet, in one step as others see it."""
    aside = temporary(path.parent)
    os.rename(path, aside)
    shutil.rmtree(aside, ignore_errors=True)


def move(source: Path, target: Path) -> None:
    """Renames `source` to `target`, which must be free, within one file system."""
    make_directories(target.parent)
    with explained(target):
        _refuse_existing(target)
        calls.rename(source, target)
        fsync_path(target.parent)
        fsync_path(source.parent)


def remove(path: Path) -> None:
    """Removes a file or a whole directory for good. Only retention calls this, for the trash."""
    with explained(path):
        if path.is_dir() and not path.is_symlink():
            for directory, folders, names in os.walk(path, topdown=False):
                for name in names:
                    calls.unlink(Path(directory, name))
                for name in folders:
                    if os.path.islink(os.path.join(directory, name)):  # not followed: only the link goes
                        calls.unlink(Path(directory, name))
                os.rmdir(directory)
        else:
            calls.unlink(path)


def link_or_copy(source: Path, target: Path) -> bool:
    """Makes `target` (which must be free) the same file as `source`; a copy where links cannot be.

    Returns:
        True when linked, False when copied.
    """
    make_directories(target.parent)
    with explained(target):
        try:
            calls.link(source, target)
        except OSError as error:
            if error.errno not in (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP, errno.ENOSYS):
                raise
            _refuse_existing(target)
        else:
            return True
    copy(source, target)
    return False


def copy(source: Path, target: Path) -> None:
    """Copies the bytes of `source` to `target`, all of them or nothing."""
    with replacing(target) as written, source.open("rb") as reader:
        fd = calls.open(written, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        try:
            while chunk := reader.read(_CHUNK):
                write_all(fd, chunk)
        finally:
            os.close(fd)


def publish(source: Path, target: Path) -> None:
    """Makes the file `target` the same file as `source`, replacing what had that name in one step."""
    with replacing(target, sync=False) as linked:
        link_or_copy(source, linked)
    with explained(target):
        fsync_path(target.parent)


def sha256_file(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def require_space(directory: Path, size_bytes: int) -> None:
    """Raises DiskFullError when `size_bytes` will not fit below `directory`, before anything is written."""
    while not directory.exists():
        directory = directory.parent
    free = calls.free_bytes(directory)
    if free < size_bytes:
        raise DiskFullError(
            f"The disk is full: {size_bytes:,} bytes are needed in {directory}, {free:,} are free. "
            "Nothing was written.",
            "Free some space (`trainyard clean --dry-run` shows what can go), then `trainyard resume` the run.",
        )


def sweep(directory: Path) -> list[Path]:
    """Removes what killed processes of this machine left half-written in `directory` (not below it)."""
    swept: list[Path] = []
    for name in os.listdir(directory) if directory.is_dir() else ():
        entry = directory / name if name.startswith(".tmp-") else None
        match = _TEMPORARY.fullmatch(name)
        if entry and match and match["host"] == _host_mark() and not process_exists(int(match["pid"])):
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry, ignore_errors=True)  # another process may sweep at this moment
            else:
                entry.unlink(missing_ok=True)
            swept.append(entry)
    return swept


def is_temporary(path: Path) -> bool:
    """Whether `path` has the name of something half-written."""
    return _TEMPORARY.fullmatch(path.name) is not None


def process_exists(pid: int) -> bool:
    """Whether a process with this id lives on this machine."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


@contextlib.contextmanager
def locked(path: Path, *, timeout_s: float = 30.0) -> Iterator[None]:
    """Holds an exclusive flock on `path` for the block, so that one process at a time runs it."""
    make_directories(path.parent)
    with explained(path):
        fd = calls.open(path, os.O_RDWR | os.O_CREAT)
    try:
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise YardError(
                        f"{path} has been locked by another process for {timeout_s:.0f} s.",
                        "Wait for it, or end the process that holds it.",
                    ) from None
                time.sleep(0.002)
        try:
            yield
        finally:
            fcntl.flock(fd, fcntl.LOCK_UN)  # a child forked meanwhile has the file open, too
    finally:
        os.close(fd)


def open_log(path: Path) -> TextIO:
    """A text file that lines are appended to, each in the file once written: for logs that people read."""
    make_directories(path.parent)
    with explained(path):
        fd = calls.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    return open(fd, "a", encoding="utf-8", errors="backslashreplace", buffering=1)
