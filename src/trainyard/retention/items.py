"""Turns decisions about a run's checkpoints into items of a plan: the files and the journal's event.

Works on snapshots, so that it serves a run in training as well as one that has ended. Does not read
the disk.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import asdict
from typing import Any

from trainyard.checkpoints.formats import FORMATS, OPTIMIZER, RNG_STATE, SCALER, SCHEDULER
from trainyard.metric import Metric
from trainyard.retention.plan import PlanItem, Spared
from trainyard.retention.policy import CHECKPOINT, Decision, KeepPolicy, decide, superseded
from trainyard.runs import RunReader, RunWriter, Snapshot

STATE_FILES = frozenset({OPTIMIZER, SCHEDULER, SCALER, RNG_STATE})  # needed only to resume


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
    """The run that items are made for: its name in plans, and the current place of its recorded paths."""

    def __init__(self, run: RunReader | RunWriter) -> None:
        self.run = run
        self.snapshot = run.snapshot
        self.home = run.yard.relative(run.home) + "/"

    def at(self, recorded: str) -> str:
        """Where a recorded path is now, relative to the yard."""
        old_home = self.snapshot.home
        return self.home + recorded[len(old_home) :] if old_home and recorded.startswith(old_home) else recorded

    def owns(self, recorded: str) -> bool:
        """Whether a recorded path belongs to this run: files outside a copied home belong to the original."""
        return self.home == self.snapshot.home or recorded.startswith(self.snapshot.home)

    def item(self, **fields: Any) -> PlanItem:
        """A plan item of this run."""
        run = self.snapshot
        return PlanItem(run_id=run.id, run_name=run.name, home=self.home, attempts=len(run.attempts), **fields)

    def spared(self, what: str, why: str) -> Spared:
        """Something of this run that is kept."""
        return Spared(self.snapshot.id, self.snapshot.name, what, why)


def checkpoint_items(
    whose: Whose,
    policy: KeepPolicy,
    protected: Mapping[int, str],
    *,
    named: Collection[int] = (),
    monitor: str | None = None,
    mode: str | None = None,
) -> tuple[list[PlanItem], list[Decision]]:
    """The items for what `policy` does not keep of a run, and its decisions on each place of each checkpoint.

    `protected` and `named` are as in `decide`; `monitor` and `mode` replace what the run recorded.
    """
    checkpoints, layout = whose.snapshot.checkpoints, whose.run.layout
    best_step, recorded_monitor, recorded_mode = ranking(whose.snapshot)
    decisions = decide(
        checkpoints,
        policy,
        best_step=best_step,
        monitor=monitor or recorded_monitor,
        mode=mode or recorded_mode,
        has_best_place=layout.has("best") and bool({"step", "epoch"} & set(layout.facts_of("best"))),
        protected_steps=protected,
        named=named,
    )
    items = list(_drop_items(whose, decisions))
    if policy.optimizer == "last":
        items += strip_items(whose, superseded(checkpoints, protected))
    return items, decisions


def _drop_items(whose: Whose, decisions: Iterable[Decision]) -> Iterator[PlanItem]:
    """One item for each place of a checkpoint that `decisions` do not keep."""
    for decision in decisions:
        checkpoint = whose.snapshot.checkpoint(decision.step)
        if decision.keep or checkpoint is None:
            continue
        path = checkpoint.paths[decision.place]
        if whose.owns(path):
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
        if decision.keep or checkpoint is None or not FORMATS[checkpoint.format].is_directory:
            continue
        files = [str(file["name"]) for file in checkpoint.files if file["name"] in STATE_FILES]
        folder = whose.at(checkpoint.paths[CHECKPOINT])
        if files:
            yield whose.item(
                action="strip",
                what=f"optimizer state of checkpoint {decision.step}",
                why=f"{decision.why}; it can no longer be resumed from; its weights stay",
                paths=tuple(folder + name for name in files),
                data={"step": decision.step, "files": files, "why": decision.why},
                before=asdict(checkpoint),
            )


def called(step: int, place: str) -> str:
    """The name of a checkpoint's place in plans."""
    return f"checkpoint {step}" if place == CHECKPOINT else f"checkpoint {step} published as '{place}'"
