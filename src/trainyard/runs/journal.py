"""A run's journal: what happened, in order, append-only. The truth that the snapshot is folded from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from trainyard import jsonl
from trainyard.runs.identity import utc_now


class Journal:
    """Appends events to `journal.jsonl`, each durable when `append` returns. One writer at a time."""

    def __init__(self, path: Path) -> None:
        self._appender = jsonl.Appender(path)

    @property
    def size(self) -> int:
        """Bytes of the journal so far."""
        return self._appender.size

    def append(self, event: str, data: dict[str, Any]) -> dict[str, Any]:
        """Writes one event and returns it as it will be read."""
        line = jsonl.encode_line({"at": utc_now(), "event": event, **data})
        self._appender.append(line)
        written = jsonl.decode_line(line)
        assert written is not None
        return written

    def close(self) -> None:
        """Closes the file."""
        self._appender.close()


def read_journal(path: Path) -> tuple[list[dict[str, Any]], int]:
    """The events in order (without a torn last line) and the bytes they take."""
    return jsonl.read_lines(path)
