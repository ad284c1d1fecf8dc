"""Which checkpoints of a run may be removed, and why: pure functions from plain data to decisions.

Does not touch the disk and knows no paths; `cleaning` turns decisions into plans, `apply` carries them
out. Each decision has a reason, for keeping as well as for dropping. For whole runs see `run_policy`.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from trainyard.runs import CheckpointRecord

CHECKPOINT, BEST, FINAL = "checkpoint", "best", "final"


@dataclass(frozen=True)
class KeepPolicy:
    """Which checkpoints of a run to keep. A checkpoint is kept at a place if any field keeps it there.

    Args:
        last: how many of the newest to keep; None keeps all.
        best: how many of the best by the monitored metric to keep; 0 means 1.
        every: keep also every n-th epoch.
        final: keep also the newest, and the newest that can be resumed, whatever `last` is.
        optimizer: "last" removes the optimizer state from superseded checkpoint directories.

    Raises:
        ValueError: a number is negative, or `every` is not positive.
    """

    last: int | None = None
    best: int = 1
    every: int | None = None
    final: bool = True
    optimizer: Literal["all", "last"] = "all"

    def __post_init__(self) -> None:
        if (self.last or 0) < 0 or self.best < 0 or (self.every is not None and self.every < 1):
            given = f"last={self.last}, best={self.best}, every={self.every}"
            raise ValueError(f"{given}: numbers must not be negative, every not 0")


@dataclass(frozen=True)
class Decision:
    """Whether to keep the checkpoint of `step` at `place`, and why."""

    step: int
    place: str
    keep: bool
    why: str


def decide(
    checkpoints: Sequence[CheckpointRecord],
    policy: KeepPolicy,
    *,
    best_step: int | None,
    monitor: str,
    mode: str,
    has_best_place: bool,
    protected_steps: Mapping[int, str] | None = None,
    named: Collection[int] = (),
) -> list[Decision]:
    """One decision for each place of each checkpoint, ordered by step.

    The best, the newest and an only checkpoint are kept unless they are `named` (with `final=False`
    the newest is not kept for being newest). Some checkpoint is always kept unless all are named.

    `protected_steps` are always kept, for the reasons given; `named` were asked to be dropped. The run's
    `best_step` ranks first (None: there is none yet), then the metric `monitor` does, of which less ("min")
    or more ("max") is better; any other `mode` is a ValueError. With `has_best_place`, the layout publishes
    each best checkpoint under its own name: then `policy.best` counts those names and `policy.last` the
    checkpoints' own paths; otherwise both count the latter.
    """
    if mode not in ("min", "max"):
        raise ValueError(f"mode must be min or max, not {mode!r}")
    ordered = sorted(checkpoints, key=lambda checkpoint: checkpoint.step)
    protected = protected_steps or {}
    best = _best_steps(ordered, max(policy.best, 1), best_step, monitor, mode, named_apart=has_best_place)
    kept_for = _reasons_by_step(ordered, policy, best, named_apart=has_best_place)

    def judge(checkpoint: CheckpointRecord, place: str) -> tuple[bool, str]:
        step = checkpoint.step
        if step in protected:
            return True, protected[step]
        if step in named:
            return False, "requested by step number"
        if len(ordered) == 1:
            return True, "the only checkpoint"
        if place == FINAL:
            return True, "published as the final one"
        if place == BEST:
            if not has_best_place:
                return True, "published as the best one"
            return step in best, best.get(step, f"no longer {_among(policy.best, 'best')}")
        if step in kept_for:
            return True, kept_for[step]
        return False, _why_superseded(policy, elsewhere=BEST in checkpoint.paths)

    decisions = [Decision(c.step, place, *judge(c, place)) for c in ordered for place in c.paths]
    spareable = [d for d in decisions if d.step not in named]
    if not spareable or any(d.keep for d in spareable):
        return decisions
    newest, why = max(d.step for d in spareable), "the only one that would be left"
    return [Decision(d.step, d.place, True, why) if d.step == newest else d for d in decisions]


def _best_steps(
    ordered: Sequence[CheckpointRecord], k: int, best_step: int | None, monitor: str, mode: str, *, named_apart: bool
) -> dict[int, str]:
    """The `k` best steps, each with its reason. The run's recorded best is first; earlier steps win ties."""
    sign = 1 if mode == "min" else -1
    ranked = sorted(
        (sign * checkpoint.metrics[monitor], checkpoint.step)
        for checkpoint in ordered
        if not math.isnan(checkpoint.metrics.get(monitor, math.nan)) and (BEST in checkpoint.paths or not named_apart)
    )
    steps = [step for _, step in ranked]
    if best_step is not None and any(checkpoint.step == best_step for checkpoint in ordered):
        steps = [best_step, *(step for step in steps if step != best_step)]
    return {step: "the best" if n == 0 else f"among the {k} best" for n, step in enumerate(steps[:k])}


def _reasons_by_step(
    ordered: Sequence[CheckpointRecord], policy: KeepPolicy, best: Mapping[int, str], *, named_apart: bool
) -> dict[int, str]:
    """Which checkpoints are kept at their own path, and why. `setdefault` keeps the most important reason."""
    kept: dict[int, str] = {}
    if policy.final and ordered:
        kept[ordered[-1].step] = "the newest"
        resumable = [checkpoint.step for checkpoint in ordered if checkpoint.resumable]
        if resumable:
            kept.setdefault(resumable[-1], "the newest that can be resumed")
    for checkpoint in ordered:
        if checkpoint.step in best and not (named_apart and BEST in checkpoint.paths):
            kept.setdefault(checkpoint.step, best[checkpoint.step])
    last = len(ordered) if policy.last is None else policy.last
    why = "all are kept" if policy.last is None else _among(last, "newest")
    for checkpoint in ordered[len(ordered) - min(last, len(ordered)) :]:
        kept.setdefault(checkpoint.step, why)
    if policy.every is not None:
        for checkpoint in ordered:
            if checkpoint.epoch > 0 and checkpoint.epoch % policy.every == 0:
                kept.setdefault(checkpoint.step, f"every {_ordinal(policy.every)} epoch is kept")
    return kept


def _why_superseded(policy: KeepPolicy, *, elsewhere: bool) -> str:
    parts = [_among(policy.last, "newest")] if policy.last else []
    if elsewhere:
        return f"not {parts[0] if parts else 'the newest'}; its published name is decided separately"
    if policy.best:
        parts.append(_among(policy.best, "best"))
    if policy.every is not None:
        parts.append(f"a {_ordinal(policy.every)} epoch")
    return "superseded: not " + " nor ".join(parts or ["the newest"])


def _among(n: int | None, what: str) -> str:
    return f"the {what}" if n in (0, 1, None) else f"among the {n} {what}"


def _ordinal(n: int) -> str:
    ending = "th" if n % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(n % 10, "th")
    return f"{n}{ending}"


def superseded(
    checkpoints: Sequence[CheckpointRecord], protected_steps: Mapping[int, str] | None = None
) -> list[Decision]:
    """Which checkpoints may lose what is needed only to resume: all but the newest resumable one.

    One decision for each resumable checkpoint that still has its own path; `keep` refers to its
    optimizer state.
    """
    protected = protected_steps or {}
    candidates = sorted(c.step for c in checkpoints if c.resumable and CHECKPOINT in c.paths)
    kept_for = dict.fromkeys(candidates[-1:], "the newest that can be resumed") | dict(protected)
    return [Decision(step, CHECKPOINT, step in kept_for, kept_for.get(step, "superseded")) for step in candidates]
