"""Reads a `.wandb` file, as Weights & Biases writes it: a LevelDB log of its own protocol buffers."""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_BLOCK = 32_768
_FULL, _LAST = 1, 4


@dataclass
class Logged:
    """What one file says of a run."""

    id: str = ""
    project: str = ""
    name: str = ""
    notes: str = ""
    tags: list[str] = field(default_factory=list)
    commit: str = ""
    remote: str = ""
    resume: bool = False
    config: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, Any] = field(default_factory=dict)  # as in wandb-metadata.json
    exit_code: int | None = None


def _records(data: bytes) -> list[bytes]:
    """https://github.com/google/leveldb/blob/main/doc/log_format.md, after a header of seven bytes."""
    assert data[:4] == b":W&B"
    found, parts, at = [], b"", 7
    while at + 7 <= len(data):
        room = _BLOCK - at % _BLOCK
        if room < 7:
            at += room
            continue
        _, size, kind = struct.unpack("<IHB", data[at : at + 7])
        if at + 7 + size > len(data):
            break
        parts += data[at + 7 : at + 7 + size]
        at += 7 + size
        if kind in (_FULL, _LAST):
            found.append(parts)
            parts = b""
    return found


def read(path: Path) -> Logged:
    """The run in a file; `exit_code` is None when it has not ended."""
    from google.protobuf import json_format
    from wandb.proto import wandb_internal_pb2

    logged = Logged()
    for data in _records(path.read_bytes()):
        record = wandb_internal_pb2.Record()
        record.ParseFromString(data)
        match record.WhichOneof("record_type"):
            case "run":
                run = record.run
                logged.id, logged.project, logged.name = run.run_id, run.project, run.display_name
                logged.notes, logged.tags, logged.resume = run.notes, list(run.tags), run.resume
                logged.commit, logged.remote = run.git.commit, run.git.remote_url
                logged.config = {
                    item.key: json.loads(item.value_json) for item in run.config.update if item.key != "_wandb"
                }
            case "history":
                items = record.history.item
                logged.history.append({"/".join(i.nested_key) or i.key: json.loads(i.value_json) for i in items})
            case "summary":
                for item in record.summary.update:
                    logged.summary["/".join(item.nested_key) or item.key] = json.loads(item.value_json)
            case "environment":
                logged.environment |= json_format.MessageToDict(record.environment)  # told in two parts
            case "exit":
                logged.exit_code = record.exit.exit_code
    return logged
