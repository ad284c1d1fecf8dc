"""Turns decisions about a run's checkpoints into items of a plan: the files and the journal's event.

Works on snapshots, so that it serves a run in training as well as one that has ended. Does not read
the disk.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from typing import Any

from trainyard.checkpoints.formats import FORMATS, OPTIMIZER, RNG_STATE, SCALER, SCHEDULER
from trainyard.layouts import Layout
from trainyard.metric import Metric
from trainyard.retention.plan import PlanItem, Spared
from trainyard.retention.policy import CHECKPOINT, Decision
from trainyard.runs import CheckpointRecord, RunReader, Snapshot, Yard

STATE_FILES = frozenset({OPTIMIZER, SCHEDULER, SCALER, RNG_STATE})  # needed only to resume


def publishes_each_best(layout: Layout) -> bool:
    """Whether each best checkpoint is published under its own name rather than under one that moves along."""
    return layout.has("best") and bool({"step", "epoch"} & set(layout.facts_of("best")))


def ranking(snapshot: Snapshot) -> tuple[int | None, str, str]:
    """The run's best step, the metric that chose it, and "min" or "max"."""
    best = snapshot.best
    configured = snapshot.config.get("training")
    training: Mapping[str, Any] = configured if isinstance(configured, Mapping) else {}
    monitor = str((best and best.metric) or training.get("monitor") or "val_loss")
    mode = training.get("mode")
    if mode not in ("min", "max"):
        split, _, name = monitor.partition("_")
        mode = Metric(split, name or monitor).direction(snapshot.task.get("directions", {}))
    return (best.step if best else None), monitor, mode


class Whose:
    """The run that items are made for: its name in plans, and the current place of its recorded paths.

    Args:
        yard: the yard of the run.
        snapshot: the run.
        home: its home, relative to the yard, with a trailing "/".
    """

    def __init__(self, yard: Yard, snapshot: Snapshot, home: str) -> None:
        self.yard = yard
        self.snapshot = snapshot
        self.home = home

    @classmethod
    def of(cls, run: RunReader) -> Whose:
        """For an existing run."""
        return cls(run.yard, run.snapshot, run.yard.relative(run.home) + "/")

    def at(self, recorded: str) -> str:
        """Where a recorded path is now, relative to the yard."""
        old_home = self.snapshot.home
        return self.home + recorded[len(old_home) :] if old_home and recorded.startswith(old_home) else recorded

    def owns(self, recorded: str) -> bool:
        """Whether a recorded path belongs to this run: files outside a copied home belong to the original."""
        return self.home == self.snapshot.home or recorded.startswith(self.snapshot.home)

    def item(self, **fields: Any) -> PlanItem:
        """A plan item of this run."""
        return PlanItem(
            run_id=self.snapshot.id,
            run_name=self.snapshot.name,
            home=self.home,
            attempts=len(self.snapshot.attempts),
            **fields,
        )

    def spared(self, what: str, why: str) -> Spared:
        """Something of this run that is kept."""
        return Spared(self.snapshot.id, self.snapshot.name, what, why)


def drop_items(whose: Whose, decisions: Iterable[Decision]) -> Iterator[PlanItem]:
    """One item for each place of a checkpoint that `decisions` do not keep."""
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
    """The items that remove optimizer state from the checkpoints that `decisions` do not keep whole."""
    for decision in decisions:
        checkpoint = whose.snapshot.checkpoint(decision.step)
        files = _state_files(checkpoint) if checkpoint is not None else []
        if decision.keep or checkpoint is None or not files:
            continue
        folder = whose.at(checkpoint.paths[CHECKPOINT])
        yield whose.item(
            action="strip",
            what=f"optimizer state of checkpoint {decision.step}",
            why=f"{decision.why}; it can no longer be resumed from; its weights stay",
            paths=tuple(folder + name for name in files),
            data={"step": decision.step, "files": files, "why": decision.why},
            before=asdict(checkpoint),
        )


def _state_files(checkpoint: CheckpointRecord) -> list[str]:
    if not FORMATS[checkpoint.format].is_directory:
        return []
    return [str(file["name"]) for file in checkpoint.files if file["name"] in STATE_FILES]


def called(step: int, place: str) -> str:
    """The name of a checkpoint's place in plans."""
    return f"checkpoint {step}" if place == CHECKPOINT else f"checkpoint {step} published as '{place}'"
