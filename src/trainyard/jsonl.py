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
from trainyard.errors import CorruptError


def without_nan(value: Any) -> Any:
    """A copy with None for NaN and infinities, for files that other programs read: JSON cannot express them."""
    if isinstance(value, Mapping):
        return {key: without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def encode_line(record: Mapping[str, Any]) -> bytes:
    """One line of JSON that starts with the CRC-32 of the rest. `record` must not be empty."""
    body = json.dumps(record, separators=(",", ":")).encode()
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
    lines = data.splitlines(keepends=True)
    for number, line in enumerate(lines):
        record = decode_line(line)
        if record is None:
            if _holds_a_line(data[good:]):
                raise CorruptError(
                    f"Line {number + 1} of {path} is damaged (its CRC does not match), and intact lines follow it.",
                    "Restore the file from a copy; `trainyard verify` lists every damaged file.",
                    place=f"{path}:{number + 1}",
                )
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

    Opening cuts off a torn tail. When an append fails half-way, its half is cut off at once or, if
    that fails too, before the next append. After a kill the file holds every line whose `append` returned.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        durable.make_directories(path.parent)
        _, self.size = read_lines(path)
        is_new = not path.exists()
        with durable.explained(path):
            self._fd = durable.calls.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            try:
                if is_new:
                    durable.fsync_path(path.parent)
                self._torn = os.fstat(self._fd).st_size != self.size
                self._cut_torn_tail()
            except BaseException:
                self.close()
                raise

    def _cut_torn_tail(self) -> None:
        if self._torn:
            durable.calls.truncate(self._fd, self.size)
            self._torn = False

    def append(self, lines: bytes, *, sync: bool = True) -> None:
        """Appends `lines`. With `sync`, they survive a power cut once this returns."""
        if self._fd < 0:
            raise ValueError(f"{self.path} is closed")
        with durable.explained(self.path):
            self._cut_torn_tail()
            self._torn = True
            try:
                durable.write_all(self._fd, lines)
                if sync:
                    durable.calls.fsync(self._fd)
            except OSError:
                with contextlib.suppress(OSError):
                    self._cut_torn_tail()
                raise
            self._torn = False
            self.size += len(lines)

    def close(self) -> None:
        """Closes the file; a second call does nothing."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
