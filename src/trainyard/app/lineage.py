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


def used_steps(yard: Yard, run_id: str) -> dict[int, str]:
    """The steps of a run that other runs were made from, and by whom."""
    return {
        int(parent["step"]): f"{child['name']} ({child['id']}) was made from it"
        for child in Index(yard).children(run_id)
        for parent in child["parents"]
        if parent["run"] == run_id and parent["step"] is not None
    }
