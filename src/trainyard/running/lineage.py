"""Which run a checkpoint belongs to, and which of a run's checkpoints other runs were made from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from trainyard.errors import LayoutError, YardError
from trainyard.index import Index
from trainyard.layouts import LAYOUTS, load_layout
from trainyard.runs import RunReader, Yard

_CHECKPOINTS = ("checkpoint", "step_checkpoint", "best", "final")


def source_of(yard: Yard, checkpoint: Path, role: str) -> dict[str, Any] | None:
    """The parent that using `checkpoint` makes: {"run", "step", "role"}; None when it is no run's of this yard."""
    try:
        path = yard.relative(checkpoint.absolute())
    except YardError:
        return None
    path += "/" if checkpoint.is_dir() else ""
    for name in LAYOUTS:
        layout = load_layout(name)
        for kind, facts in layout.match(path):
            if kind not in _CHECKPOINTS:
                continue
            try:
                home = yard.root / layout.path("home", facts)
            except LayoutError:
                continue
            if not (home / ".run").is_dir():
                continue
            run = RunReader(yard, home).snapshot
            for known in run.checkpoints:
                if path in known.paths.values():
                    return {"run": run.id, "step": known.step, "role": role}
    return None


class UsedSteps:
    """Callable: the steps of a run that other runs were made from, and by whom.

    Asked after every checkpoint, so it looks again only when some run of the yard has changed.
    """

    def __init__(self, yard: Yard, run_id: str) -> None:
        self._yard, self._run_id = yard, run_id
        self._changes = -1  # bytes of the yard's list of changes when last looked
        self._used: dict[int, str] = {}

    def __call__(self) -> dict[int, str]:
        """Step to a sentence that says who uses it."""
        changes = self._yard.changes_path.stat().st_size if self._yard.changes_path.exists() else 0
        if changes != self._changes:
            self._changes = changes
            self._used = {
                int(parent["step"]): f"{child['name']} ({child['id']}) was made from it"
                for child in Index(self._yard).children(self._run_id)
                for parent in child["parents"]
                if parent["run"] == self._run_id and parent["step"] is not None
            }
        return self._used
