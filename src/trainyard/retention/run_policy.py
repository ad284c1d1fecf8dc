"""Which whole runs may be removed, and why: by age, state, size or choice, but none that others need.

Pure functions from plain data to decisions with reasons. Does not touch the disk; knows neither paths
nor the contents of checkpoints.
"""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta


@dataclass(frozen=True)
class RunFacts:
    """What a run-level policy knows of a run.

    `ended` is the time of its last activity; `parents` are {"run", "step", "role"}.
    """

    id: str
    name: str
    state: str
    ended: datetime
    size_bytes: int
    live: bool = False
    parents: tuple[Mapping[str, object], ...] = ()


@dataclass(frozen=True)
class Use:
    """The run `by` was made from or with another run's checkpoint of `step` (None: the run as a whole)."""

    by: RunFacts
    step: int | None
    role: str

    def __str__(self) -> str:
        user = f"{self.by.name} ({self.by.id})"
        return f"{user}{', which is live,' if self.by.live else ''} needs it ({self.role})"


Uses = Mapping[str, Sequence[Use]]


def find_uses(runs: Iterable[RunFacts]) -> dict[str, list[Use]]:
    """Which run uses which: each run id with its uses by other runs, live ones first."""
    uses: dict[str, list[Use]] = {}
    for run in sorted(runs, key=lambda run: (not run.live, run.ended, run.id)):
        for parent in run.parents:
            if parent["run"] != run.id:
                step = parent.get("step")
                use = Use(run, step if isinstance(step, int) else None, str(parent.get("role") or "parent"))
                uses.setdefault(str(parent["run"]), []).append(use)
    return uses


def protected_steps(uses: Sequence[Use], steps: Iterable[int]) -> dict[int, str]:
    """Which of a run's `steps` other runs use, and why. A use without a step protects all of them."""
    users = {step: next((use for use in uses if use.step in (None, step)), None) for step in steps}
    return {step: str(use) for step, use in users.items() if use is not None}


@dataclass(frozen=True)
class RunDecision:
    """Whether to remove a whole run, and why or why not."""

    run_id: str
    remove: bool
    why: str


def by_age(runs: Iterable[RunFacts], days: float, *, now: datetime) -> list[RunDecision]:
    """Removes runs that ended more than `days` before `now`."""
    ages = [(run, now - run.ended) for run in runs]
    return [RunDecision(run.id, age > timedelta(days=days), f"ended {_ago(age)} ago") for run, age in ages]


def _ago(age: timedelta) -> str:
    days = age / timedelta(days=1)
    return f"{days:.0f} days" if days >= 2 else f"{days * 24:.0f} hours"


def by_state(runs: Iterable[RunFacts], states: Collection[str]) -> list[RunDecision]:
    """Removes runs in one of `states`, such as failed or crashed."""
    return [RunDecision(run.id, run.state in states, f"its state is {run.state}") for run in runs]


def by_choice(runs: Iterable[RunFacts], ids: Collection[str], why: str) -> list[RunDecision]:
    """Removes the runs with these ids (for example the matches of a query), for the reason `why`."""
    return [RunDecision(run.id, run.id in ids, why if run.id in ids else "not chosen") for run in runs]


def by_size(runs: Sequence[RunFacts], limit_bytes: int) -> list[RunDecision]:
    """Removes runs of the yard, in the order in which they ended, until the rest has at most `limit_bytes`.

    A run is removed only when no remaining run was made from it, so a child goes before its parent.
    """
    # `waiting` has the children that must be removed before each run; `ready` is a heap of those without any.
    left = sum(run.size_bytes for run in runs)
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
            if not waiting[parent_id] and parent_run is not None and not parent_run.live:
                heapq.heappush(ready, (parent_run.ended, parent_id))
                waiting.pop(parent_id)
    too_large = left > limit_bytes
    stays = "it is live, or remaining runs were made from it" if too_large else f"the yard is down to {left:,} bytes"
    return [RunDecision(run.id, run.id in gone, gone.get(run.id, stays)) for run in runs]


def spare(
    decisions: Sequence[RunDecision], runs: Sequence[RunFacts], *, forced: Collection[str] = ()
) -> list[RunDecision]:
    """`decisions`, but keeping those of all `runs` of the yard that are live or that a remaining run was made from.

    The ids in `forced` are removed even if ended runs were made from them. A live run and what it uses
    are always kept.
    """
    known = {run.id: run for run in runs}
    uses = find_uses(runs)
    going = {d.run_id for d in decisions if d.remove}
    kept_because: dict[str, str] = {}
    to_check = sorted(going)
    while to_check:
        run_id = to_check.pop()
        if run_id not in going:
            continue
        why = _why_spared(known.get(run_id), uses.get(run_id, ()), going, forced=run_id in forced)
        if why is not None:
            kept_because[run_id] = why
            going.discard(run_id)
            if run_id in known:  # keeping a run can mean keeping its parents, and theirs
                to_check += [str(parent["run"]) for parent in known[run_id].parents]
    return [RunDecision(d.run_id, False, kept_because[d.run_id]) if d.run_id in kept_because else d for d in decisions]


def _why_spared(run: RunFacts | None, uses: Sequence[Use], going: Collection[str], *, forced: bool) -> str | None:
    if run is None:
        return "it is not in this yard"
    if run.live:
        return "a process is working on it"
    return next((str(use) for use in uses if use.by.live or (use.by.id not in going and not forced)), None)


def old_records(records: Iterable[tuple[str, datetime]], days: float, *, now: datetime) -> list[tuple[str, str]]:
    """The paths that are older than `days`, and why; `records` are (path, time of the last write)."""
    limit = timedelta(days=days)
    return [(path, f"{_ago(now - at)} old") for path, at in records if now - at > limit]
