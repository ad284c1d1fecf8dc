"""The files of one folder of the feature cache: reading, appending and removing them.

    parameters.json       for people
    payload.f32           concatenated arrays, each at a multiple of 64 bytes
    index.jsonl           one line per entry, with its own CRC and that of its payload

The last two are append-only, the payload is written first, and neither is synced. An incomplete line
left by a killed process is terminated by the next writer and ignored by readers; a payload is checked
against its CRC the first time a process reads it. An open folder is protected by a shared flock on its
index; a folder without a lock may be removed. Does not know about limits, the meaning of the arrays, or
the lock that writers hold.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import mmap
import os
import shutil
import weakref
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from trainyard import durable
from trainyard.jsonl import decode_line, encode_line

Array = npt.NDArray[np.float32]

_INDEX, _PAYLOAD, _PARAMETERS = "index.jsonl", "payload.f32", "parameters.json"
_ALIGNMENT = 64  # bytes: a cache line of the processor


class Store:
    """An open folder, for reading: the entries of its index so far, and a map of its payload.

    Keeps both files open. While they are open, no other file can have their inodes, so `is_at` cannot
    mistake a new folder for this one, and the flock marks the folder as in use.
    """

    def __init__(self, index: int, payload: int) -> None:
        self._index, self._payload = index, payload
        weakref.finalize(self, _close, index, payload)
        self._position = 0  # bytes of the index read so far
        self._unread: dict[str, tuple[int, int, tuple[int, ...], int]] = {}  # start, end (in floats), shape, CRC
        self._checked: dict[str, tuple[int, int, tuple[int, ...]]] = {}
        self._values: Array = np.empty(0, np.float32)

    @classmethod
    def open(cls, folder: Path) -> Store | None:
        """Opens a folder; None when it does not exist or is being removed."""
        try:
            index = os.open(folder / _INDEX, os.O_RDONLY | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError):
            return None
        try:
            payload = os.open(folder / _PAYLOAD, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            os.close(index)
            if isinstance(error, FileNotFoundError):
                return None
            raise
        store = cls(index, payload)
        try:
            fcntl.flock(index, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return None
        if not store.is_at(folder):
            return None
        with contextlib.suppress(OSError):  # another user's file: its last use is then not recorded
            os.utime(folder / _INDEX)
        return store

    def is_at(self, folder: Path) -> bool:
        """Whether the files in `folder` are still the ones that were opened."""
        try:
            return all(
                os.path.samestat(os.stat(folder / name), os.fstat(fd))
                for name, fd in ((_INDEX, self._index), (_PAYLOAD, self._payload))
            )
        except (FileNotFoundError, NotADirectoryError):
            return False

    def read_index(self) -> None:
        """Reads the lines appended since the last call. Later lines override earlier ones."""
        size = os.fstat(self._index).st_size
        if size == self._position:
            return
        start = self._position if size > self._position else 0  # shorter: it was truncated
        data = os.pread(self._index, size - start, start)
        end = data.rfind(b"\n") + 1  # what follows is being written, or was left incomplete
        for line in data[:end].split(b"\n"):
            record = decode_line(line + b"\n")
            if record is not None and record["key"] not in self._checked:
                begin = record["at"] // self._values.itemsize
                shape = tuple(record["shape"])
                count = int(np.prod(shape, dtype=np.int64))
                self._unread[record["key"]] = (begin, begin + count, shape, record["payload_crc"])
        self._position = start + end

    def get(self, key: str) -> Array | None:
        """A read-only view of an entry; None when it does not exist or is damaged (it is then dropped)."""
        known = self._checked.get(key)
        if known is not None:
            begin, end, shape = known
            return self._values[begin:end].reshape(shape)
        if key not in self._unread:
            return None
        begin, end, shape, crc = self._unread.pop(key)
        if end > len(self._values):
            self._map()
        values = self._values[begin:end]
        if len(values) < end - begin or zlib.crc32(values.data) != crc:
            return None
        self._checked[key] = (begin, end, shape)
        return values.reshape(shape)

    def _map(self) -> None:
        """Maps the payload at its current length. Views of the previous map keep that one alive."""
        count = os.fstat(self._payload).st_size // self._values.itemsize
        if count > len(self._values):
            memory = mmap.mmap(self._payload, count * self._values.itemsize, access=mmap.ACCESS_READ)
            self._values = np.frombuffer(memory, np.float32, count)

    def __contains__(self, key: str) -> bool:
        return key in self._checked or key in self._unread

    def __len__(self) -> int:
        return len(self._checked) + len(self._unread)


def append(folder: Path, arrays: Mapping[str, Array], described: Mapping[str, Any]) -> None:
    """Adds entries to a folder, which is created if needed. The caller holds the lock of all folders.

    Args:
        folder: the folder.
        arrays: by key.
        described: describes the folder's entries, for people.
    """
    durable.make_directories(folder)
    if not (folder / _PARAMETERS).exists():
        durable.write_bytes(folder / _PARAMETERS, _description(described), sync=False)
    with _appending(folder / _PAYLOAD) as payload, _appending(folder / _INDEX) as index:
        at = os.lseek(payload, 0, os.SEEK_END)
        lines = []
        for key, array in arrays.items():
            data = array.tobytes()
            padding = -at % _ALIGNMENT
            durable.write_all(payload, bytes(padding) + data)
            at += padding
            lines.append(encode_line({"key": key, "at": at, "shape": array.shape, "payload_crc": zlib.crc32(data)}))
            at += len(data)
        if os.lseek(payload, 0, os.SEEK_CUR) != at:
            return  # the lock file was deleted, and another process wrote at the same time
        size = os.fstat(index).st_size
        incomplete = size > 0 and os.pread(index, 1, size - 1) != b"\n"
        durable.write_all(index, b"\n" * incomplete + b"".join(lines))


def needed_bytes(folder: Path, arrays: Mapping[str, Array], described: Mapping[str, Any]) -> list[int]:
    """An upper bound of the bytes that each entry adds to a folder."""
    first = 0 if (folder / _PARAMETERS).exists() else len(_description(described))
    needed = [array.nbytes + _ALIGNMENT + 128 + len(json.dumps(key)) + 16 * array.ndim for key, array in arrays.items()]
    return [needed[0] + first, *needed[1:]]


def size_bytes(folder: Path) -> int:
    """The total size of a folder's files; 0 when it does not exist."""
    total = 0
    with contextlib.suppress(OSError):  # removed meanwhile
        for entry in os.scandir(folder):
            total += entry.stat().st_size
    return total


def last_used(folder: Path) -> float:
    """When a process last opened a folder or added to it, in seconds since the epoch."""
    try:
        return (folder / _INDEX).stat().st_mtime
    except OSError:
        return 0.0  # created by a process that died before the first entry


def remove(folder: Path) -> bool:
    """Removes a folder; returns False when a process has it open or permissions do not allow it.

    The caller holds the lock of all folders.
    """
    aside = durable.temporary(folder.parent)
    with contextlib.ExitStack() as stack:
        try:
            with contextlib.suppress(FileNotFoundError):
                index = os.open(folder / _INDEX, os.O_RDWR | os.O_CLOEXEC)
                stack.callback(os.close, index)
                fcntl.flock(index, fcntl.LOCK_EX | fcntl.LOCK_NB)
            durable.calls.rename(folder, aside)  # atomic for other processes
        except OSError:
            return False
    shutil.rmtree(aside, ignore_errors=True)
    return True


def _description(described: Mapping[str, Any]) -> bytes:
    return json.dumps(described, indent=2).encode() + b"\n"


@contextlib.contextmanager
def _appending(path: Path) -> Iterator[int]:
    fd = durable.calls.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND)
    try:
        yield fd
    finally:
        os.close(fd)


def _close(*fds: int) -> None:
    for fd in fds:
        os.close(fd)
