"""From decisions about a run's checkpoints to items of a plan: which files, and what the journal is told.

Works on snapshots, so that it serves a run that is being trained as well as one that ended. Reads
no disk.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from typing import Any

from trainyard.checkpoints.formats import FORMATS, OPTIMIZER, RNG_STATE, SCALER, SCHEDULER
from trainyard.layouts import Layout
from trainyard.retention.plan import PlanItem, Spared
from trainyard.retention.policy import CHECKPOINT, Decision
from trainyard.runs import CheckpointRecord, RunReader, Snapshot, Yard

STATE_FILES = frozenset({OPTIMIZER, SCHEDULER, SCALER, RNG_STATE})  # what only resuming needs


def publishes_each_best(layout: Layout) -> bool:
    """Whether the layout has a name of its own for each best checkpoint, not one that moves along."""
    return layout.has("best") and bool({"step", "epoch"} & set(layout.facts_of("best")))


def ranking(snapshot: Snapshot) -> tuple[int | None, str, str]:
    """The run's best step, the metric that chose it, and "min" or "max"."""
    best = snapshot.best
    configured = snapshot.config.get("training")
    training: Mapping[str, Any] = configured if isinstance(configured, Mapping) else {}
    monitor = str((best and best.metric) or training.get("monitor") or "val_loss")
    mode = training.get("mode")
    if mode not in ("min", "max"):
        mode = "min" if any(word in monitor for word in ("loss", "error", "brier", "ece")) else "max"
    return (best.step if best else None), monitor, mode


class Whose:
    """The run that items are made for: its name in plans, and where its recorded paths are now.

    Args:
        yard: where it is.
        snapshot: the run.
        home: its home, relative to the yard, "/"-terminated.
    """

    def __init__(self, yard: Yard, snapshot: Snapshot, home: str) -> None:
        self.yard = yard
        self.snapshot = snapshot
        self.home = home

    @classmethod
    def of(cls, run: RunReader) -> Whose:
        """For a run that is being read."""
        return cls(run.yard, run.snapshot, run.yard.relative(run.home) + "/")

    def at(self, recorded: str) -> str:
        """Where a recorded path is now, relative to the yard."""
        was = self.snapshot.home
        return self.home + recorded[len(was) :] if was and recorded.startswith(was) else recorded

    def owns(self, recorded: str) -> bool:
        """Whether a recorded path is this run's: of a copied home, what lies outside belongs to the original."""
        return self.home == self.snapshot.home or recorded.startswith(self.snapshot.home)

    def item(self, **fields: Any) -> PlanItem:
        """An item of this run."""
        return PlanItem(
            run_id=self.snapshot.id,
            run_name=self.snapshot.name,
            home=self.home,
            attempts=len(self.snapshot.attempts),
            **fields,
        )

    def spared(self, what: str, why: str) -> Spared:
        """Something of this run that stays."""
        return Spared(self.snapshot.id, self.snapshot.name, what, why)


def drop_items(whose: Whose, decisions: Iterable[Decision]) -> Iterator[PlanItem]:
    """The items of what `decisions` do not keep."""
    for decision in decisions:
        checkpoint = whose.snapshot.checkpoint(decision.step)
        if decision.keep or checkpoint is None:
            continue
        path = checkpoint.paths[decision.place]
        if not whose.owns(path):
            continue
        yield whose.item(
            action="drop",
            what=called(decision.step, decision.place),
            why=decision.why,
            paths=(whose.at(path),),
            data={"step": decision.step, "place": decision.place, "path": path, "why": decision.why},
            before=asdict(checkpoint),
        )


def strip_items(whose: Whose, decisions: Iterable[Decision]) -> Iterator[PlanItem]:
    """The items that take optimizer state out of the checkpoints that `decisions` do not keep as they are."""
    for decision in decisions:
        checkpoint = whose.snapshot.checkpoint(decision.step)
        files = _state_files(checkpoint) if checkpoint is not None else []
        if decision.keep or checkpoint is None or not files:
            continue
        folder = whose.at(checkpoint.paths[CHECKPOINT])
        yield whose.item(
            action="strip",
            what=f"optimizer state of checkpoint {decision.step}",
            why=f"{decision.why}; it can no longer be resumed from, its weights stay",
            paths=tuple(folder + name for name in files),
            data={"step": decision.step, "files": files, "why": decision.why},
            before=asdict(checkpoint),
        )


def _state_files(checkpoint: CheckpointRecord) -> list[str]:
    if not FORMATS[checkpoint.format].is_directory:
        return []
    return [str(file["name"]) for file in checkpoint.files if file["name"] in STATE_FILES]


def called(step: int, place: str) -> str:
    """What plans call the checkpoint of `step` at `place`."""
    return f"checkpoint {step}" if place == CHECKPOINT else f"checkpoint {step} as published under '{place}'"
