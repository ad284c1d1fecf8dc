"""The run that a checkpoint belongs to, and the checkpoints of a run that other runs started from."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from trainyard.errors import TrainyardError
from trainyard.index import Index
from trainyard.runs import RunReader, Yard
from trainyard.runs.events import ParentUsed


def source_of(yard: Yard, checkpoint: Path, role: str) -> ParentUsed | None:
    """The event that records the use of `checkpoint`; None if it is not a checkpoint of a run in this yard.

    `checkpoint` is its path under any of its names, or that of a file in it; `role` its purpose, such as "teacher".
    The run is found by the paths that runs recorded, so that this works for any layout.
    """
    path = Path(os.path.abspath(checkpoint))
    wanted = {found for place in (path, path.parent) if (found := _inode(place)) is not None}
    homes = [yard.root / row["home"] for row in Index(yard).query().rows]
    # The home around the path comes first; the others follow, because a layout may put checkpoints outside homes.
    for home in sorted(homes, key=lambda home: not path.is_relative_to(home)):
        with contextlib.suppress(TrainyardError):  # a run that cannot be read has no checkpoint to protect
            run = RunReader(yard, home)
            for known in run.snapshot.checkpoints:
                if any(_inode(run.resolve(recorded)) in wanted for recorded in known.paths.values()):
                    return ParentUsed(run.snapshot.id, known.step, role)
    return None


def _inode(path: Path) -> tuple[int, int] | None:
    """Device and inode of a path, however it is spelled; None if it does not exist."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


class UsedSteps:
    """Callable: the steps of a run that other runs started from, with a reason to keep each.

    Called after every checkpoint, so it queries the index only if some run of the yard has changed.
    """

    def __init__(self, yard: Yard, run_id: str) -> None:
        self._yard, self._run_id = yard, run_id
        self._changes = -1  # bytes of the yard's list of changes at the last query
        self._used: dict[int, str] = {}

    def __call__(self) -> dict[int, str]:
        """Maps each used step to a sentence about its user."""
        changes = self._yard.changes_path.stat().st_size if self._yard.changes_path.exists() else 0
        if changes != self._changes:
            self._changes = changes
            self._used = {
                int(parent["step"]): f"{child['name']} ({child['id']}) started from it"
                for child in Index(self._yard).children(self._run_id)
                for parent in child["parents"]
                if parent["run"] == self._run_id and parent["step"] is not None
            }
        return self._used
