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
from trainyard.errors import YardError
from trainyard.retention.plan import Plan, PlanItem
from trainyard.runs import Yard
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

    def mark_done(self, left: Mapping[int, str]) -> TrashEntry:
        """Records in the entry that its plan was carried out, except for the items `left`."""
        durable.write_json(self.path / _DONE, {"left": left}, sync=False)  # if it is lost, `settle` derives it again
        return replace(self, done=True, left=left)


def create_entry(yard: Yard, plan: Plan, run_id: str | None = None) -> TrashEntry:
    """Creates an entry with the intent to carry out `plan`; it is on disk when this returns."""
    counter = iter(range(sum(len(item.paths) for item in plan.items)))
    kept_as = tuple(tuple(f"{next(counter):04d}" for _ in item.paths) for item in plan.items)
    items = [{**item.to_dict(), "kept_as": names} for item, names in zip(plan.items, kept_as, strict=True)]
    path = _claim(yard, f"-rotation-{run_id}" if plan.kind == "rotation" else "")
    entry = TrashEntry(path, plan.kind, plan.title, run_id, utc_now(), plan.items, kept_as)
    content = {"format": _FORMAT, "kind": plan.kind, "title": plan.title, "run": run_id, "created": entry.created}
    durable.write_json(path / _PLAN, {**content, "items": items})
    return entry


def _claim(yard: Yard, suffix: str) -> Path:
    for _ in range(_TRIES):
        now = time.time()
        stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime(now))
        fraction = int(now % 1 * 0x10000)  # so that names sort by time even within a second
        path = yard.trash / f"{stamp}-{fraction:04x}{suffix}"
        if durable.claim_directory(path):
            return path
    what, remedy = f"No free name was found in {yard.trash}.", "Empty the trash: `trainyard clean --trash`."
    raise YardError(what, remedy, value=_TRIES, place=yard.trash)


def read_entry(path: Path) -> TrashEntry | None:
    """The entry in `path`; None when it has no complete plan, in which case nothing was moved into it."""
    try:
        content: dict[str, Any] = json.loads((path / _PLAN).read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return None
    kept_as = tuple(tuple(item.pop("kept_as")) for item in content["items"])
    items = tuple(PlanItem.from_dict(item) for item in content["items"])
    entry = TrashEntry(path, content["kind"], content["title"], content["run"], content["created"], items, kept_as)
    try:
        left = json.loads((path / _DONE).read_bytes())["left"]
    except (FileNotFoundError, ValueError):  # missing, or emptied by a power cut
        return entry
    return replace(entry, done=True, left={int(n): str(why) for n, why in left.items()})


def list_trash(yard: Yard, run_id: str | None = None) -> list[TrashEntry]:
    """The entries of the trash, newest first; with `run_id` only that run's rotations."""
    if not yard.trash.is_dir():
        return []
    suffix = "" if run_id is None else f"-rotation-{run_id}"
    names = sorted((path.name for path in yard.trash.iterdir()), reverse=True)
    names = [name for name in names if name.endswith(suffix) and not name.startswith(".") and name != UNFINISHED]
    return [entry for name in names if (entry := read_entry(yard.trash / name)) is not None]
