"""Turns the options of `trainyard clean` into one plan. Reads runs and removes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from trainyard.errors import CorruptError, UserError
from trainyard.index import Index
from trainyard.retention import (
    KeepPolicy,
    Plan,
    RunDecision,
    RunFacts,
    Uses,
    by_age,
    by_choice,
    by_size,
    by_state,
    clean_checkpoints,
    combine,
    find_uses,
    remove_cache,
    remove_logs,
    remove_runs,
    run_facts,
    strip_optimizer,
)
from trainyard.runs import RunReader, Yard, find_homes


@dataclass(frozen=True)
class Wanted:
    """What to clean. Every field that is set applies to the runs that match `query`; "" matches all.

    `keep` cleans checkpoints; `step` drops one checkpoint of one run; `runs` removes whole runs,
    restricted by `older_than_days` and `states`; `until_below_bytes` removes the oldest runs of the
    whole yard. `force` removes runs even if other runs were made from them.
    """

    query: str = ""
    keep: KeepPolicy | None = None
    step: int | None = None
    optimizer: bool = False
    runs: bool = False
    older_than_days: float | None = None
    states: tuple[str, ...] = ()
    until_below_bytes: int | None = None
    logs_older_than_days: float | None = None
    cache: bool = False
    force: bool = False


def make_clean_plan(yard: Yard, wanted: Wanted) -> Plan:
    """One plan for everything in `wanted`; what must be spared is listed with its reason.

    Raises:
        UserError: `step` is set and not exactly one run matches, or the run has no such step.
        QueryError: `query` cannot be parsed.
    """
    everyone = [run for run in _readers(yard) if run is not None]
    facts = [run_facts(run) for run in everyone]
    chosen = everyone
    if wanted.query:
        ids = {row["id"] for row in Index(yard).query(wanted.query).rows}
        chosen = [run for run in everyone if run.snapshot.id in ids]
    uses = find_uses(facts)
    plans = []
    if wanted.step is not None:
        plans.append(_named_step(yard, chosen, wanted.step, wanted.query, uses))
    if wanted.keep is not None:
        plans.append(clean_checkpoints(yard, chosen, wanted.keep, uses=uses))
    if wanted.optimizer:
        plans.append(strip_optimizer(yard, chosen, uses=uses))
    if wanted.runs or wanted.until_below_bytes is not None:
        decisions = _runs_to_go(wanted, chosen, facts)
        forced = {run.snapshot.id for run in chosen} if wanted.force else set()
        plans.append(remove_runs(yard, decisions, everyone, everyone=facts, forced=forced))
    now = datetime.now(UTC)
    if wanted.logs_older_than_days is not None:
        plans.append(remove_logs(yard, chosen, wanted.logs_older_than_days, now=now))
    if wanted.cache:
        plans.append(remove_cache(yard, live=[fact.name for fact in facts if fact.live]))
    return plans[0] if len(plans) == 1 else combine(yard, "To clean", plans)


def _readers(yard: Yard) -> list[RunReader | None]:
    readers: list[RunReader | None] = []
    for home in sorted(find_homes(yard)):
        try:
            readers.append(RunReader(yard, home))
        except CorruptError:
            readers.append(None)  # what it uses is unknown; `trainyard verify` reports it
    return readers


def _named_step(yard: Yard, chosen: Sequence[RunReader], step: int, query: str, uses: Uses) -> Plan:
    if len(chosen) != 1:
        raise UserError(
            f"--step {step} needs exactly one run; the filter {query!r} matches {len(chosen)}.",
            "Pass the run's id (see `trainyard runs`).",
            value=query,
            place="--step",
        )
    run = chosen[0]
    known = [c.step for c in run.snapshot.checkpoints]
    if step not in known:
        raise UserError(
            f"Run {run.snapshot.name} has no checkpoint of step {step}.",
            f"Choose one of its steps: {', '.join(map(str, known)) or 'none'}.",
            value=step,
            place=run.snapshot.name,
        )
    return clean_checkpoints(yard, [run], KeepPolicy(last=None), uses=uses, named=[step])


def _runs_to_go(wanted: Wanted, chosen: Sequence[RunReader], facts: Sequence[RunFacts]) -> list[RunDecision]:
    if wanted.until_below_bytes is not None:
        return by_size(facts, wanted.until_below_bytes)
    ids = {run.snapshot.id for run in chosen}
    chosen_facts = [fact for fact in facts if fact.id in ids]
    why = f"it matches {wanted.query!r}" if wanted.query else "all runs were requested"
    decisions = by_choice(chosen_facts, ids, why)
    for narrowing in (
        by_state(chosen_facts, wanted.states) if wanted.states else None,
        by_age(chosen_facts, wanted.older_than_days, now=datetime.now(UTC))
        if wanted.older_than_days is not None
        else None,
    ):
        if narrowing is not None:
            going = {d.run_id for d in decisions if d.remove}
            decisions = [d for d in narrowing if d.run_id in going]
    return decisions
