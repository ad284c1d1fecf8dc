"""A run's journal: its events in order, append-only. The source that the snapshot is folded from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from trainyard import jsonl
from trainyard.runs.events import Event, decode, encode
from trainyard.runs.identity import utc_now


class Journal:
    """Appends events to `journal.jsonl`: `add` gathers them, `flush` makes them durable together.

    One writer at a time.
    """

    def __init__(self, path: Path) -> None:
        self._appender = jsonl.Appender(path)
        self._gathered: list[bytes] = []

    @property
    def size(self) -> int:
        """Bytes of the journal file, without the events that wait for `flush`."""
        return self._appender.size

    @property
    def has_gathered(self) -> bool:
        """Whether events wait for `flush`."""
        return bool(self._gathered)

    def add(self, event: Event) -> Event:
        """Queues one event for the next `flush`; returns it as it will be read back.

        Raises:
            ValueError: the journal is closed.
        """
        self._appender.check_open()
        line = jsonl.encode_line(encode(event if event.at else replace(event, at=utc_now())))
        record = jsonl.decode_line(line)
        assert record is not None
        written = decode(record)
        assert written is not None
        self._gathered.append(line)
        return written

    def flush(self) -> None:
        """Writes the queued events: one write and one fsync. If that fails, none of them is in the journal."""
        lines, self._gathered = b"".join(self._gathered), []
        if lines:
            self._appender.append(lines)

    def read_back(self) -> list[Event]:
        """The events that are in the journal now, after a failed `flush`."""
        self._appender.repair()
        return read_journal(self._appender.path)[0]

    def close(self) -> None:
        """Closes the file."""
        self._appender.close()


def read_journal(path: Path) -> tuple[list[Event], int]:
    """The events in order, without an incomplete last line or those of a later version, and their size in bytes."""
    records, size = jsonl.read_lines(path)
    return [event for record in records if (event := decode(record)) is not None], size
