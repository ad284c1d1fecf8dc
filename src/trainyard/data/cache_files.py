"""The files of one folder of the feature cache: reading, appending and removing them.

    parameters.json       for people
    payload.f32           arrays one after the other, each at a multiple of 64 bytes
    index.jsonl           a line an entry, with its own CRC and that of its payload

The last two are only ever appended to, the payload first and neither synced. A line torn by a kill is
ended by the next writer and passed over by readers; a payload is checked against its CRC the first time
a process reads it. An open folder is held by a shared flock on its index; one that nobody holds may be
removed. Knows nothing of limits, of what the arrays are, or of who holds the lock that writing takes.
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
    """An open folder, for reading: what its index says so far, and a map of its payload.

    Holds both files open. While they are, no other file can have their inodes, so `is_at` cannot mistake
    a new folder for this one; and the flock says that the folder is in use.
    """

    def __init__(self, index: int, payload: int) -> None:
        self._index, self._payload = index, payload
        weakref.finalize(self, _close, index, payload)
        self._position = 0  # bytes of the index that were read
        self._unread: dict[str, tuple[int, int, tuple[int, ...], int]] = {}  # from, to (in floats), shape, CRC
        self._checked: dict[str, tuple[int, int, tuple[int, ...]]] = {}
        self._values: Array = np.empty(0, np.float32)

    @classmethod
    def open(cls, folder: Path) -> Store | None:
        """The folder; None when there is none, or when it is just being removed."""
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
        with contextlib.suppress(OSError):  # somebody else's file: then it only seems to be used less
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
        """Takes in the lines that were appended since. Later ones stand for earlier ones."""
        size = os.fstat(self._index).st_size
        if size == self._position:
            return
        start = self._position if size > self._position else 0  # shorter: somebody cut it
        data = os.pread(self._index, size - start, start)
        end = data.rfind(b"\n") + 1  # what follows is still being written, or torn
        for line in data[:end].split(b"\n"):
            record = decode_line(line + b"\n")
            if record is not None and record["key"] not in self._checked:
                begin = record["at"] // self._values.itemsize
                shape = tuple(record["shape"])
                count = int(np.prod(shape, dtype=np.int64))
                self._unread[record["key"]] = (begin, begin + count, shape, record["payload_crc"])
        self._position = start + end

    def get(self, key: str) -> Array | None:
        """A read-only view of an entry, or None when there is none, or a damaged one (which is forgotten)."""
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
        """Maps the payload as long as it is now. Views of the map before keep it."""
        count = os.fstat(self._payload).st_size // self._values.itemsize
        if count > len(self._values):
            memory = mmap.mmap(self._payload, count * self._values.itemsize, access=mmap.ACCESS_READ)
            self._values = np.frombuffer(memory, np.float32, count)

    def __contains__(self, key: str) -> bool:
        return key in self._checked or key in self._unread

    def __len__(self) -> int:
        return len(self._checked) + len(self._unread)


def append(folder: Path, arrays: Mapping[str, Array], described: Mapping[str, Any]) -> None:
    """Adds entries to a folder, which is made if need be. The caller holds the lock of all folders.

    Args:
        folder: where to.
        arrays: by key.
        described: what the folder's entries are, for people.
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
            return  # somebody removed the lock, and another process wrote at the same time
        size = os.fstat(index).st_size
        torn = size > 0 and os.pread(index, 1, size - 1) != b"\n"
        durable.write_all(index, b"\n" * torn + b"".join(lines))


def needed_bytes(folder: Path, arrays: Mapping[str, Array], described: Mapping[str, Any]) -> list[int]:
    """What the files of a folder grow by with each entry, at most."""
    first = 0 if (folder / _PARAMETERS).exists() else len(_description(described))
    needed = [array.nbytes + _ALIGNMENT + 128 + len(json.dumps(key)) + 16 * array.ndim for key, array in arrays.items()]
    return [needed[0] + first, *needed[1:]]


def size_bytes(folder: Path) -> int:
    """What the files of a folder take together; 0 when there is none."""
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
        return 0.0  # made by a process that died before the first entry


def remove(folder: Path) -> bool:
    """Removes a folder; False when it stays, because a process has it open or it is not ours to remove.

    The caller holds the lock of all folders.
    """
    aside = durable.temporary(folder.parent)
    with contextlib.ExitStack() as stack:
        try:
            with contextlib.suppress(FileNotFoundError):
                index = os.open(folder / _INDEX, os.O_RDWR | os.O_CLOEXEC)
                stack.callback(os.close, index)
                fcntl.flock(index, fcntl.LOCK_EX | fcntl.LOCK_NB)
            durable.calls.rename(folder, aside)  # in one step, as others see it
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
