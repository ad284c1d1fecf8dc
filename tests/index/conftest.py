from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from trainyard.runs.snapshot import Snapshot

_opened: list[str] = []
_listening = False


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if _listening and event == "open" and isinstance(arguments[0], str):
        _opened.append(arguments[0])


sys.addaudithook(_hook)  # sees every open of this process, however it is done; cannot be removed


@pytest.fixture
def opened() -> Iterator[list[str]]:
    """The paths this process has opened since the test began (clear it at will)."""
    global _listening
    _opened.clear()
    _listening = True
    yield _opened
    _listening = False


@pytest.fixture(scope="session")
def put_run() -> Callable[..., Path]:
    """Writes the files of a run that has ended, as a finished process leaves them."""

    def put(root: Path, home: str, **fields: Any) -> Path:
        number = sum(map(ord, home))
        facts = {
            "id": f"id{number:06d}",
            "name": home.rpartition("/")[2],
            "project": "p",
            "dataset": "digits",
            "model": "mlp",
            "layout": "grouped",
            "state": "finished",
            "created": "2026-11-01T10:00:00.000Z",
            "started": "2026-11-01T10:00:00.000Z",
            "ended": "2026-11-01T11:00:00.000Z",
            "home": home + "/",
            **fields,
        }
        size_bytes = facts.pop("size_bytes", 0)
        snapshot = Snapshot(**facts)
        own = root / home / ".run"
        own.mkdir(parents=True, exist_ok=True)
        journal = b'{"crc":"filler"}\n' * 3
        snapshot.journal_bytes = len(journal)
        (own / "journal.jsonl").write_bytes(journal)
        (own / "lock").write_text("{}")
        data = snapshot.to_dict()
        data["size_bytes"] = size_bytes
        (own / "run.json").write_text(json.dumps(data))
        return root / home

    return put
