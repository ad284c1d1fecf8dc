"""Entries of the yard's trash on disk: the plan that made an entry, and the files that were moved.

An entry is a directory of `.yard/trash/`, named by its creation time. Its `plan.json` is written before
anything is moved, `done.json` after everything was; the moved files are beside them under the names
that the plan gives. This module creates and reads entries; it moves and deletes nothing.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from trainyard import durable
from trainyard.checkpoints.reader import faults
from trainyard.errors import YardError
from trainyard.retention.measure import measure
from trainyard.retention.plan import Plan, PlanItem
from trainyard.runs import CheckpointRecord, Snapshot, Yard
from trainyard.runs.identity import utc_now

UNFINISHED = "unfinished"  # leftovers of killed checkpoint writers, which are in no plan
_FORMAT = 1
_PLAN, _DONE = "plan.json", "done.json"
_TRIES = 1000


@dataclass(frozen=True)
class TrashEntry:
    """What one plan moved. Names of later entries sort after those of earlier ones.

    `kept_as` has the names in `path` of each item's files. `left` has the numbers of the items that
    were left in place, and why. Without `done`, the process that made the entry was killed.
    """

    path: Path
    kind: str
    title: str
    run_id: str | None
    created: str
    items: tuple[PlanItem, ...]
    kept_as: tuple[tuple[str, ...], ...]
    done: bool = False
    left: Mapping[int, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The entry's name, as `undo` takes it."""
        return self.path.name

    @property
    def skipped(self) -> tuple[tuple[str, str], ...]:
        """What the plan lists but was left in place, and why."""
        return tuple((self.items[n].full_name, why) for n, why in self.left.items())

    def holds(self, n: int) -> bool:
        """Whether files of the n-th item are in the trash."""
        return any(os.path.lexists(self.path / name) for name in self.kept_as[n])

    def bytes_freed(self, yard: Yard) -> int:
        """How many bytes emptying this entry alone frees."""
        return measure(yard, [[self.path]], alone=True)[0].freed

    def to_dict(self) -> dict[str, Any]:
        """As plain data for JSON."""
        return {
            "name": self.name,
            "kind": self.kind,
            "title": self.title,
            "run": self.run_id,
            "created": self.created,
            "done": self.done,
            "items": [item.to_dict() for item in self.items],
            "skipped": [{"what": what, "why": why} for what, why in self.skipped],
        }


def create_entry(yard: Yard, plan: Plan, run_id: str | None = None) -> TrashEntry:
    """Creates an entry with the intent to carry out `plan`; it is on disk when this returns."""
    counter = iter(range(sum(len(item.paths) for item in plan.items)))
    kept_as = tuple(tuple(f"{next(counter):04d}" for _ in item.paths) for item in plan.items)
    created = utc_now()
    path = _claim(yard, f"-rotation-{run_id}" if plan.kind == "rotation" else "")
    content = {
        "format": _FORMAT,
        "kind": plan.kind,
        "title": plan.title,
        "run": run_id,
        "created": created,
        "items": [{**item.to_dict(), "kept_as": kept_as[n]} for n, item in enumerate(plan.items)],
    }
    durable.write_json(path / _PLAN, content)
    return TrashEntry(path, plan.kind, plan.title, run_id, created, plan.items, kept_as)


def _claim(yard: Yard, suffix: str) -> Path:
    for _ in range(_TRIES):
        now = time.time()
        stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime(now))
        fraction = int(now % 1 * 0x10000)  # so that names sort by time even within a second
        path = yard.trash / f"{stamp}-{fraction:04x}{suffix}"
        if durable.claim_directory(path):
            return path
    raise YardError(
        f"No free name was found in {yard.trash}.",
        "Empty the trash: `trainyard clean --trash`.",
        value=_TRIES,
        place=yard.trash,
    )


def mark_done(entry: TrashEntry, left: Mapping[int, str]) -> TrashEntry:
    """Records in the entry that its plan was carried out, except for the items `left`."""
    durable.write_json(entry.path / _DONE, {"left": left}, sync=False)  # if it is lost, `settle` derives it again
    return replace(entry, done=True, left=left)


def read_entry(path: Path) -> TrashEntry | None:
    """The entry in `path`; None when it has no complete plan, in which case nothing was moved into it."""
    try:
        content = json.loads((path / _PLAN).read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return None
    items = []
    kept_as = []
    for item in content["items"]:
        kept_as.append(tuple(item.pop("kept_as")))
        items.append(PlanItem.from_dict(item))
    try:
        left = {int(n): str(why) for n, why in json.loads((path / _DONE).read_bytes())["left"].items()}
        done = True
    except (FileNotFoundError, ValueError):  # missing, or emptied by a power cut
        left, done = {}, False
    return TrashEntry(
        path,
        content["kind"],
        content["title"],
        content["run"],
        content["created"],
        tuple(items),
        tuple(kept_as),
        done,
        left,
    )


def list_trash(yard: Yard, run_id: str | None = None) -> list[TrashEntry]:
    """The entries of the trash, newest first; with `run_id` only that run's rotations."""
    if not yard.trash.is_dir():
        return []
    suffix = "" if run_id is None else f"-rotation-{run_id}"
    names = sorted((path.name for path in yard.trash.iterdir()), reverse=True)
    found = (
        read_entry(yard.trash / name)
        for name in names
        if name.endswith(suffix) and not name.startswith(".") and name != UNFINISHED
    )
    return [entry for entry in found if entry is not None]


def is_recorded(snapshot: Snapshot, item: PlanItem) -> bool:
    """Whether the run's journal still lists, or lists again, what `item` removes."""
    if item.action == "drop":
        return any(item.data["path"] in checkpoint.paths.values() for checkpoint in snapshot.checkpoints)
    if item.action == "strip":
        checkpoint = snapshot.checkpoint(item.data["step"])
        gone = set(item.data["files"])
        return checkpoint is not None and any(file["name"] in gone for file in checkpoint.files)
    return any(record.path == item.data["path"] for record in snapshot.records)


def is_as_it_was(yard: Yard, item: PlanItem, path: str) -> bool:
    """Whether the file or directory at `path` has exactly the bytes that the run recorded."""
    place = yard.root / path
    if item.action == "remove":
        digest = item.before["sha256"]
        return digest is None or (place.is_file() and durable.sha256_file(place) == str(digest))
    checkpoint = CheckpointRecord(**item.before)
    if item.action == "drop":
        return not faults(checkpoint, item.data["place"], place)
    digests = {file["name"]: file["sha256"] for file in checkpoint.files}
    return durable.sha256_file(place) == str(digests[place.name])
