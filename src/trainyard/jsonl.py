"""Append-only files of lines: one JSON object per line, each with a CRC.

A killed process may leave a torn last line: readers ignore it, and the next append cuts it off first.
Damage anywhere else is an error, so that no intact line is ever dropped silently. This module does not
interpret the lines.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trainyard import durable
from trainyard.errors import CorruptError, TrainyardError


def without_nan(value: Any) -> Any:
    """A copy with None for NaN and infinities, for files that other programs read: JSON cannot express them."""
    if isinstance(value, Mapping):
        return {key: without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def encode_line(record: Mapping[str, Any]) -> bytes:
    """One line of JSON that starts with the CRC-32 of the rest. `record` must not be empty."""
    return seal(json.dumps(record, separators=(",", ":")).encode())


def seal(body: bytes) -> bytes:
    """The line of a JSON object that is encoded already, on one line and without a newline at its end."""
    return b'{"crc":"%08x",%b\n' % (zlib.crc32(body), body[1:])


def decode_line(line: bytes) -> dict[str, Any] | None:
    """The record in a line, or None when the line is torn or its CRC is wrong."""
    if not (line.startswith(b'{"crc":"') and line[16:18] == b'",' and line.endswith(b"}\n")):
        return None
    body = b"{" + line[18:-1]
    if b"%08x" % zlib.crc32(body) != line[8:16]:
        return None
    record: dict[str, Any] = json.loads(body)
    return record


def read_lines(path: Path) -> tuple[list[dict[str, Any]], int]:
    """The records of a file up to the first bad line, and how many bytes they take.

    A missing file has none. A torn last line, as a kill leaves it, is ignored.

    Raises:
        CorruptError: intact lines follow a bad one, so it is damage and not a torn tail.
    """
    records: list[dict[str, Any]] = []
    good = 0
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return records, good
    for number, line in enumerate(data.splitlines(keepends=True), start=1):
        record = decode_line(line)
        if record is None:
            if _holds_a_line(data[good:]):
                what = f"Line {number} of {path} is damaged (its CRC does not match), and intact lines follow it."
                remedy = "Restore the file from a copy; `trainyard verify` lists every damaged file."
                raise CorruptError(what, remedy, place=f"{path}:{number}")
            break
        records.append(record)
        good += len(line)
    return records, good


def _holds_a_line(data: bytes) -> bool:
    """Whether there is an intact line anywhere, even one that is joined to the line before it."""
    return any(
        decode_line(data[begin.start() : data.find(b"\n", begin.start()) + 1]) is not None
        for begin in re.finditer(rb'\{"crc":"', data)
    )


class Appender:
    """Appends lines to a file that only one process at a time writes.

    Opening cuts off a torn tail. When an append fails, what it left is cut off at once or, if that fails
    too, before the next append. After a kill of the process the file holds every line whose `append`
    returned; after a power cut, every line that was appended before `sync` was called.
    Not for several threads at once, except that `sync` may run beside `append`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        durable.make_directories(path.parent)
        _, self.size = read_lines(path)
        self._synced = self.size
        is_new = not path.exists()
        with durable.explained(path):
            self._fd = durable.calls.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            try:
                if is_new:
                    durable.fsync_path(path.parent)
                self._torn = os.fstat(self._fd).st_size != self.size
                self.repair()
            except BaseException:
                self.close()
                raise

    def check_open(self) -> None:
        """Raises ValueError when the file is closed."""
        if self._fd < 0:
            raise ValueError(f"{self.path} is closed")

    def repair(self) -> None:
        """Cuts off what a failed append left, if it could not be cut off then."""
        if self._torn:
            with durable.explained(self.path):
                durable.calls.truncate(self._fd, self.size)
            self._torn = False

    def append(self, lines: bytes, *, sync: bool = True) -> None:
        """Appends `lines`. Once this returns, they survive a kill of the process and, with `sync`, a power cut."""
        self.check_open()
        self.repair()
        self._torn = True
        try:
            written = durable.calls.write(self._fd, memoryview(lines))
            if written != len(lines):
                durable.write_all(self._fd, lines[written:])
            if sync:
                durable.calls.fsync(self._fd)
        except OSError:
            with contextlib.suppress(OSError, TrainyardError):
                self.repair()
            with durable.explained(self.path):
                raise
        self._torn = False
        self.size += len(lines)
        if sync:
            self._synced = self.size

    @property
    def is_synced(self) -> bool:
        """Whether all that was appended survives a power cut."""
        return self._synced == self.size

    def sync(self) -> None:
        """Returns once all that was appended before survives a power cut. If it fails, call `discard_unsynced`."""
        size = self.size
        with durable.explained(self.path):
            durable.calls.fsync(self._fd)
        self._synced = max(self._synced, size)

    def discard_unsynced(self) -> None:
        """Cuts off what is not known to be on disk: after a failed fsync, part of it may be missing in the middle."""
        self.size, self._torn = self._synced, True
        self.repair()

    def close(self) -> None:
        """Closes the file; a second call does nothing."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
