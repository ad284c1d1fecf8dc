"""The only code that creates, replaces, links or appends files of record.

Every write is: temporary file in the same directory, write, fsync, rename, fsync of the directory.
If any step fails, the temporary file is removed and the old file stays. An existing file is never
written into, because hard links share their bytes. (`jsonl` appends lines, using this module's functions.)
This module knows nothing of runs, layouts or tensors.

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

_CHUNK = 1 << 20  # bytes read at once when copying
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL
_TEMPORARY = re.compile(r"\.tmp-(?P<host>[0-9a-f]{8})-(?P<pid>\d+)-[0-9a-f]{8}")
_MAKE_ROOM = "Free some space (`trainyard clean --dry-run` lists what can be removed), then `trainyard resume` the run."
_UMASK = os.umask(0o022)  # reading the umask means setting it
os.umask(_UMASK)


class SystemCalls:
    """The system calls that a write uses. Tests replace them to inject failures."""

    def open(self, path: Path, flags: int) -> int:
        """Opens `path` with these flags and close-on-exec; returns the descriptor."""
        return os.open(path, flags | os.O_CLOEXEC, 0o666)

    def write(self, fd: int, data: memoryview) -> int:
        """Writes some or all of `data`; returns the number of bytes written."""
        return os.write(fd, data)

    def fsync(self, fd: int) -> None:
        """Flushes a file or directory to disk."""
        os.fsync(fd)

    def rename(self, source: Path, target: Path) -> None:
        """Renames `source` to `target` atomically, replacing what was there."""
        os.rename(source, target)

    def link(self, source: Path, target: Path) -> None:
        """Makes `target` a hard link to `source`."""
        os.link(source, target)

    def mkdir(self, path: Path) -> None:
        """Creates a directory, which must not exist yet."""
        os.mkdir(path)

    def unlink(self, path: Path) -> None:
        """Removes one name of a file."""
        os.unlink(path)

    def truncate(self, fd: int, size: int) -> None:
        """Truncates an open file to `size` bytes."""
        os.ftruncate(fd, size)

    def free_bytes(self, directory: Path) -> int:
        """How many bytes can still be written below `directory`."""
        return shutil.disk_usage(directory).free


calls = SystemCalls()


@functools.cache
def _host_mark() -> str:
    """Identifies the scope in which process ids are unique: this machine and, on it, this container."""
    namespace_link = "/proc/self/ns/pid"
    namespace = os.readlink(namespace_link) if os.path.islink(namespace_link) else ""
    return hashlib.sha256(f"{socket.gethostname()} {namespace}".encode()).hexdigest()[:8]


def temporary(directory: Path) -> Path:
    """A free name in `directory` for something half-written; `sweep` recognises such names."""
    return directory / f".tmp-{_host_mark()}-{os.getpid()}-{secrets.token_hex(4)}"


@contextlib.contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turns operating system errors that a user can fix into errors that say how."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            what = f"The disk is full: {path} could not be written. The previous contents are intact."
            raise DiskFullError(what, _MAKE_ROOM, place=path) from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            why = os.strerror(error.errno).lower()
            remedy = "Choose a directory you may write to with --yard DIR, or fix the permissions of this one."
        elif error.errno == errno.ENOTDIR:
            why = "one of its parent directories is a file"
            remedy = "Move that file away, or choose another directory with --yard DIR."
        else:
            raise
        raise YardError(f"{path} cannot be written: {why}.", remedy, place=path) from error


def write_all(fd: int, data: bytes) -> None:
    """Writes all of `data`, in as many calls as it takes."""
    view = memoryview(data)
    while view:
        view = view[calls.write(fd, view) :]


@contextlib.contextmanager
def _opened(path: Path, flags: int) -> Iterator[int]:
    """The descriptor of `path`, closed at the end of the block."""
    fd = calls.open(path, flags)
    try:
        yield fd
    finally:
        os.close(fd)


def fsync_path(path: Path) -> None:
    """Flushes a file's bytes, or a directory's entries, to disk."""
    with _opened(path, os.O_RDONLY) as fd:
        calls.fsync(fd)


def make_directories(directory: Path) -> None:
    """Creates `directory` and its parents durably; does nothing if it exists."""
    with explained(directory):
        missing: list[Path] = []
        existing = directory
        while not existing.is_dir():
            missing.append(existing)
            existing = existing.parent
        for path in reversed(missing):
            try:
                calls.mkdir(path)
            except FileExistsError:  # another process created it first, or it is a file
                if not path.is_dir():
                    raise NotADirectoryError(errno.ENOTDIR, "not a directory", str(path)) from None
            fsync_path(path.parent)


def claim_directory(path: Path) -> bool:
    """Creates `path` and its parents. Returns False when something has that name already."""
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


@contextlib.contextmanager
def replacing(path: Path, *, sync: bool = True) -> Iterator[Path]:
    """Yields a temporary path beside `path`; the file written there becomes `path` when the block ends.

    Whatever happens, `path` holds the old bytes or the new ones. With `sync=False` this survives a
    killed process but not a power cut: use it for files that can be derived again.
    """
    make_directories(path.parent)
    written = temporary(path.parent)
    with explained(path):
        try:
            yield written
            settle(written, sync=sync)
            calls.rename(written, path)
        finally:  # after a rename too: renaming one link of a file over another does nothing
            with contextlib.suppress(OSError):
                os.unlink(written)
        if sync:
            fsync_path(path.parent)


def settle(file: Path, *, sync: bool = True) -> None:
    """Flushes a new file to disk and gives it ordinary permissions: some libraries create private files."""
    with explained(file):
        if file.stat().st_nlink == 1:  # all links of a file share its permissions
            os.chmod(file, 0o666 & ~_UMASK)
        if sync:
            fsync_path(file)


def write_bytes(path: Path, data: bytes, *, sync: bool = True) -> None:
    """Writes `data` to `path` atomically."""
    with replacing(path, sync=sync) as written, _opened(written, _NEW) as fd:
        write_all(fd, data)


def write_text(path: Path, text: str, *, sync: bool = True) -> None:
    """Writes `text` to `path` atomically, as valid UTF-8: a lone surrogate becomes its escape, as JSON has it."""
    write_bytes(path, text.encode("utf-8", "backslashreplace"), sync=sync)


def write_json(path: Path, value: Any, *, sync: bool = True) -> None:
    """Writes `value` to `path` atomically, as indented JSON (NaN and Infinity as Python writes them)."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n", sync=sync)


@contextlib.contextmanager
def staging(path: Path, *, replace: bool = False) -> Iterator[Path]:
    """Yields a temporary directory beside `path` that becomes `path` as a whole when the block ends.

    On any exception `path` is unchanged. With `replace`, an existing directory is renamed away first
    and removed once the new one is in place; a kill between the two renames leaves nothing at `path`.

    Raises:
        FileExistsError: `path` exists and `replace` is false.
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
                _refuse_existing(path)  # the rename would silently replace an empty directory
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
            if error.errno == errno.ENOTEMPTY:  # another process created it first
                raise FileExistsError(errno.EEXIST, "already exists", str(path)) from error
            raise
        except BaseException:
            shutil.rmtree(staged, ignore_errors=True)
            raise
        shutil.rmtree(retired, ignore_errors=True)


def _refuse_existing(path: Path) -> None:
    if os.path.lexists(path):
        raise FileExistsError(errno.EEXIST, "already exists", str(path))


def discard(path: Path) -> None:
    """Removes a directory that nobody uses yet; to other processes it disappears in one step."""
    aside = temporary(path.parent)
    os.rename(path, aside)
    shutil.rmtree(aside, ignore_errors=True)


def move(source: Path, target: Path) -> None:
    """Renames `source` to `target`, which must not exist, within one file system."""
    make_directories(target.parent)
    with explained(target):
        _refuse_existing(target)
        calls.rename(source, target)
        fsync_path(target.parent)
        fsync_path(source.parent)


def remove(path: Path) -> None:
    """Permanently removes a file or a whole directory. Only retention calls this, for the trash."""
    with explained(path):
        if path.is_dir() and not path.is_symlink():
            for directory, folders, names in os.walk(path, topdown=False):
                for name in names:
                    calls.unlink(Path(directory, name))
                for name in folders:
                    if os.path.islink(os.path.join(directory, name)):  # remove the link, not what it points to
                        calls.unlink(Path(directory, name))
                os.rmdir(directory)
        else:
            calls.unlink(path)


def link_or_copy(source: Path, target: Path) -> bool:
    """Hard-links `target`, which must not exist, to `source`; returns False where it had to copy instead."""
    make_directories(target.parent)
    with explained(target):
        try:
            calls.link(source, target)
            return True
        except OSError as error:
            if error.errno not in (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP, errno.ENOSYS):
                raise
            _refuse_existing(target)
    copy(source, target)
    return False


def copy(source: Path, target: Path) -> None:
    """Copies the bytes of `source` to `target` atomically."""
    with replacing(target) as written, source.open("rb") as reader, _opened(written, _NEW) as fd:
        while chunk := reader.read(_CHUNK):
            write_all(fd, chunk)


def publish(source: Path, target: Path) -> None:
    """Hard-links `target` to the file `source`, atomically replacing what had that name."""
    with replacing(target, sync=False) as linked:
        link_or_copy(source, linked)
    with explained(target):
        fsync_path(target.parent)


def sha256_file(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def require_space(directory: Path, size_bytes: int) -> None:
    """Raises DiskFullError when `size_bytes` do not fit below `directory`. Call it before writing anything."""
    while not directory.exists():
        directory = directory.parent
    if (free := calls.free_bytes(directory)) < size_bytes:
        numbers = f"{size_bytes:,} bytes are needed in {directory}, {free:,} are free"
        what = f"The disk is full: {numbers}. Nothing was written."
        raise DiskFullError(what, _MAKE_ROOM, value=size_bytes, place=directory)


def sweep(directory: Path) -> list[Path]:
    """Removes half-written files that killed processes of this machine left in `directory` (not below it)."""
    swept: list[Path] = []
    for name in os.listdir(directory) if directory.is_dir() else ():
        match = _TEMPORARY.fullmatch(name)
        if match and match["host"] == _host_mark() and not _process_exists(int(match["pid"])):
            entry = directory / name
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry, ignore_errors=True)  # another process may be sweeping, too
            else:
                entry.unlink(missing_ok=True)
            swept.append(entry)
    return swept


def is_temporary(path: Path) -> bool:
    """Whether `path` has the name of a half-written file or directory."""
    return _TEMPORARY.fullmatch(path.name) is not None


def _process_exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except OSError as error:
        return not isinstance(error, ProcessLookupError)  # a PermissionError: another user's
    return True


@contextlib.contextmanager
def locked(path: Path, *, timeout_s: float = 30.0) -> Iterator[None]:
    """Holds an exclusive flock on `path` during the block, so that one process at a time runs it."""
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
                    what = f"{path} has been locked by another process for {timeout_s:.0f} s."
                    remedy = "Wait for that process to finish, or stop it."
                    raise YardError(what, remedy, value=timeout_s, place=path) from None
                time.sleep(0.002)
        try:
            yield
        finally:
            fcntl.flock(fd, fcntl.LOCK_UN)  # a child process forked meanwhile has the file open, too
    finally:
        os.close(fd)


def open_log(path: Path) -> TextIO:
    """Opens a text file for appending, line-buffered: for logs that people read."""
    make_directories(path.parent)
    with explained(path):
        fd = calls.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    return open(fd, "a", encoding="utf-8", errors="backslashreplace", buffering=1)
