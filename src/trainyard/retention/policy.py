"""Which checkpoints and runs may go, and why: pure functions from plain data to decisions.

Touches no disk and knows no paths; `plan` turns decisions into files, `apply` acts on them. Each
decision carries its reason, for keeping as for dropping.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from trainyard.runs import Checkpoint

CHECKPOINT, BEST, FINAL = "checkpoint", "best", "final"


@dataclass(frozen=True)
class KeepPolicy:
    """Which checkpoints of a run to keep. A checkpoint stays where any part of this keeps it.

    Args:
        last: how many of the newest; None keeps all.
        best: how many of the best by the monitored metric, at least one.
        every: also each n-th epoch.
        final: also the newest, and the newest that can be resumed, whatever `last` says.
        optimizer: "last" takes the optimizer state out of superseded checkpoint directories.

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
            raise ValueError(f"not a policy: last={self.last}, best={self.best}, every={self.every}")


@dataclass(frozen=True)
class Decision:
    """Whether the checkpoint of `step` stays at `place`, and why."""

    step: int
    place: str
    keep: bool
    why: str


def decide(
    checkpoints: Sequence[Checkpoint],
    policy: KeepPolicy,
    *,
    best_step: int | None,
    monitor: str,
    mode: str,
    has_best_place: bool,
    protected_steps: Mapping[int, str] | None = None,
    named: Collection[int] = (),
) -> list[Decision]:
    """One decision for each place of each checkpoint, by step.

    The best, the newest and an only checkpoint stay unless they are `named` (or the policy's `final`
    is false, which gives up the newest); some checkpoint always stays unless all are named.

    Args:
        checkpoints: those of one run.
        policy: what to keep.
        best_step: the step that the run calls its best; None when it has none yet.
        monitor: the metric that ranks checkpoints.
        mode: "min" or "max": which end of the metric is better.
        has_best_place: the layout publishes a name of its own for each best checkpoint. Then `best`
            counts those names and `last` the checkpoints' own; otherwise `best` counts their own too.
        protected_steps: steps that stay in any case, and why.
        named: steps that the user asked by number to drop.

    Raises:
        ValueError: `mode` is neither "min" nor "max".
    """
    if mode not in ("min", "max"):
        raise ValueError(f"mode must be min or max, not {mode!r}")
    ordered = sorted(checkpoints, key=lambda checkpoint: checkpoint.step)
    protected = protected_steps or {}
    best = _best_steps(ordered, max(policy.best, 1), best_step, monitor, mode, named_apart=has_best_place)
    kept_for = _reasons_by_step(ordered, policy, best, named_apart=has_best_place)

    def judge(checkpoint: Checkpoint, place: str) -> Decision:
        step = checkpoint.step
        if step in protected:
            return Decision(step, place, True, protected[step])
        if step in named:
            return Decision(step, place, False, "asked for by its step")
        if len(ordered) == 1:
            return Decision(step, place, True, "the only checkpoint")
        if place == FINAL:
            return Decision(step, place, True, "published as the final one")
        if place == BEST:
            if not has_best_place:
                return Decision(step, place, True, "published as the best one")
            if step in best:
                return Decision(step, place, True, best[step])
            return Decision(step, place, False, f"no longer {_among(policy.best, 'best')}")
        if step in kept_for:
            return Decision(step, place, True, kept_for[step])
        return Decision(step, place, False, _why_superseded(policy, elsewhere=BEST in checkpoint.paths))

    decisions = [judge(checkpoint, place) for checkpoint in ordered for place in checkpoint.paths]
    return _never_all(decisions, named)


def _best_steps(
    ordered: Sequence[Checkpoint], k: int, best_step: int | None, monitor: str, mode: str, *, named_apart: bool
) -> dict[int, str]:
    """The `k` best steps and what to call each. The run's own best comes first; ties go to the earlier."""
    sign = 1 if mode == "min" else -1
    ranked = sorted(
        (sign * checkpoint.metrics[monitor], checkpoint.step)
        for checkpoint in ordered
        if not math.isnan(checkpoint.metrics.get(monitor, math.nan))
        and (BEST in checkpoint.paths or not named_apart)
    )
    steps = [step for _, step in ranked]
    if any(checkpoint.step == best_step for checkpoint in ordered):
        steps = [best_step, *(step for step in steps if step != best_step)]  # type: ignore[list-item]
    return {step: "the best" if n == 0 else f"among the {k} best" for n, step in enumerate(steps[:k])}


def _reasons_by_step(
    ordered: Sequence[Checkpoint], policy: KeepPolicy, best: Mapping[int, str], *, named_apart: bool
) -> dict[int, str]:
    """Which checkpoints stay at their own path, and why; the weightiest reason is told."""
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
    for checkpoint in ordered[len(ordered) - min(last, len(ordered)) :]:
        why = "all are kept" if policy.last is None else _among(last, "newest")
        kept.setdefault(checkpoint.step, why)
    if policy.every is not None:
        for checkpoint in ordered:
            if checkpoint.epoch > 0 and checkpoint.epoch % policy.every == 0:
                kept.setdefault(checkpoint.step, f"each {_ordinal(policy.every)} epoch is kept")
    return kept


def _why_superseded(policy: KeepPolicy, *, elsewhere: bool) -> str:
    parts = [_among(policy.last, "newest")] if policy.last else []
    if elsewhere:
        return f"not {parts[0] if parts else 'the newest'}; its published name stays or goes by itself"
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


def _never_all(decisions: list[Decision], named: Collection[int]) -> list[Decision]:
    """Spares the newest when nothing would be left that nobody asked to drop."""
    spareable = [d for d in decisions if d.step not in named]
    if not spareable or any(d.keep for d in spareable):
        return decisions
    newest = max(d.step for d in spareable)
    return [
        Decision(d.step, d.place, True, "the only one that would be left") if d.step == newest else d
        for d in decisions
    ]


def superseded(
    checkpoints: Sequence[Checkpoint], protected_steps: Mapping[int, str] | None = None
) -> list[Decision]:
    """Which checkpoints may lose what only resuming needs: all but the newest that can be resumed.

    One decision for each checkpoint that can be resumed from and has its own path; `keep` is about
    its optimizer state.
    """
    protected = protected_steps or {}
    candidates = sorted(c.step for c in checkpoints if c.resumable and CHECKPOINT in c.paths)
    return [
        Decision(
            step, CHECKPOINT, step == candidates[-1] or step in protected,
            protected.get(step, "the newest that can be resumed" if step == candidates[-1] else "superseded"),
        )
        for step in candidates
    ]  # fmt: skip


@dataclass(frozen=True)
class RunFacts:
    """What a run-level policy looks at. `ended` is when it was last heard of; `parents` are {"run", "step", "role"}."""

    id: str
    name: str
    state: str
    ended: datetime
    size_bytes: int
    live: bool = False
    parents: tuple[Mapping[str, object], ...] = ()


@dataclass(frozen=True)
class Use:
    """That the run `by` was made from, or with, another's checkpoint of `step` (None: from the run as a whole)."""

    by: RunFacts
    step: int | None
    role: str

    def __str__(self) -> str:
        how = {"resume": "resumed from it", "teacher": "learns from it"}.get(self.role, f"uses it ({self.role})")
        return f"run {self.by.name}{' is live and' if self.by.live else ''} {how}"


Uses = Mapping[str, Sequence[Use]]


def find_uses(runs: Iterable[RunFacts]) -> dict[str, list[Use]]:
    """Who uses whom: run id to its uses by other runs, live ones first."""
    uses: dict[str, list[Use]] = {}
    for run in sorted(runs, key=lambda run: (not run.live, run.ended, run.id)):
        for parent in run.parents:
            if parent["run"] != run.id:
                step = parent.get("step")
                use = Use(run, step if isinstance(step, int) else None, str(parent.get("role") or "parent"))
                uses.setdefault(str(parent["run"]), []).append(use)
    return uses


def protected_steps(uses: Sequence[Use], steps: Iterable[int]) -> dict[int, str]:
    """Which of a run's `steps` others use, and who. A use without a step protects all of them."""
    protected: dict[int, str] = {}
    for step in steps:
        why = next((str(use) for use in uses if use.step in (None, step)), None)
        if why is not None:
            protected[step] = why
    return protected


@dataclass(frozen=True)
class RunDecision:
    """Whether a whole run goes, and why (or why not)."""

    run_id: str
    remove: bool
    why: str


def by_age(runs: Iterable[RunFacts], days: float, *, now: datetime) -> list[RunDecision]:
    """Removes runs that ended more than `days` before `now`."""
    return [
        RunDecision(run.id, (now - run.ended) > timedelta(days=days), f"ended {_ago(now - run.ended)} ago")
        for run in runs
    ]


def _ago(age: timedelta) -> str:
    days = age / timedelta(days=1)
    return f"{days:.0f} days" if days >= 2 else f"{days * 24:.0f} hours"


def by_state(runs: Iterable[RunFacts], states: Collection[str]) -> list[RunDecision]:
    """Removes runs in one of `states`, such as failed or crashed."""
    return [RunDecision(run.id, run.state in states, f"its state is {run.state}") for run in runs]


def by_choice(runs: Iterable[RunFacts], ids: Collection[str], why: str) -> list[RunDecision]:
    """Removes the runs with these ids (the matches of a query, say), for the reason `why`."""
    return [RunDecision(run.id, run.id in ids, why if run.id in ids else "not chosen") for run in runs]


def by_size(
    runs: Sequence[RunFacts], limit_bytes: int, *, yard_bytes: int | None = None
) -> list[RunDecision]:
    """Removes runs, those that ended first foremost, until the yard has at most `limit_bytes`.

    A run goes only when nothing that stays was made from it, so a child goes before its parent.

    Args:
        runs: all runs of the yard.
        limit_bytes: what the yard may have.
        yard_bytes: what it has; None: the sum of its runs' sizes.
    """
    left = sum(run.size_bytes for run in runs) if yard_bytes is None else yard_bytes
    known = {run.id: run for run in runs}
    waiting = {run_id: {use.by.id for use in uses} & set(known) for run_id, uses in find_uses(runs).items()}
    ready = [(run.ended, run.id) for run in runs if not run.live and not waiting.get(run.id)]
    heapq.heapify(ready)
    gone: dict[str, str] = {}
    while ready and left > limit_bytes:
        run_id = heapq.heappop(ready)[1]
        run = known[run_id]
        gone[run_id] = f"among the oldest, and the yard has {left:,} bytes of {limit_bytes:,}"
        left -= run.size_bytes
        for parent_id in {str(parent["run"]) for parent in run.parents} & set(waiting):
            waiting[parent_id].discard(run_id)
            parent_run = known.get(parent_id)
            if not waiting[parent_id] and parent_run is not None and not parent_run.live and parent_id not in gone:
                heapq.heappush(ready, (parent_run.ended, parent_id))
                waiting.pop(parent_id)
    fits = f"the yard is down to {left:,} bytes" if left <= limit_bytes else "it is live, or others were made from it"
    return [RunDecision(run.id, run.id in gone, gone.get(run.id, fits)) for run in runs]


def spare(
    decisions: Sequence[RunDecision], runs: Sequence[RunFacts], *, forced: Collection[str] = ()
) -> list[RunDecision]:
    """`decisions`, with runs kept that are live or that a run which stays was made from.

    Args:
        decisions: what a policy wants.
        runs: all runs of the yard.
        forced: ids that go although others that ended were made from them. A live run stays in any
            case, and so does what it uses.
    """
    known = {run.id: run for run in runs}
    uses = find_uses(runs)
    going = {d.run_id for d in decisions if d.remove}
    kept_because: dict[str, str] = {}
    judge: Callable[[str], str | None] = lambda run_id: _why_spared(  # noqa: E731
        known.get(run_id), uses.get(run_id, ()), going, forced=run_id in forced
    )
    changed = True
    while changed:  # a run that stays can keep its parent, which can keep its own
        spared = {run_id: why for run_id in going if (why := judge(run_id)) is not None}
        kept_because |= spared
        going -= set(spared)
        changed = bool(spared)
    return [
        RunDecision(d.run_id, False, kept_because[d.run_id]) if d.run_id in kept_because else d for d in decisions
    ]


def _why_spared(run: RunFacts | None, uses: Sequence[Use], going: Collection[str], *, forced: bool) -> str | None:
    if run is None:
        return "it is not in this yard"
    if run.live:
        return "a process is working on it"
    for use in uses:
        if use.by.live or (use.by.id not in going and not forced):
            return str(use)
    return None


def old_records(
    records: Iterable[tuple[str, datetime]], days: float, *, now: datetime
) -> list[tuple[str, str]]:
    """Of (path, when it was last written): the paths older than `days`, and why."""
    limit = timedelta(days=days)
    return [(path, f"{_ago(now - at)} old") for path, at in records if now - at > limit]
