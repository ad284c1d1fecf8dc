"""Turns the options of `trainyard clean` into one plan. Reads runs and removes nothing."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from trainyard.errors import CorruptError, UserError
from trainyard.index import Index
from trainyard.retention import KeepPolicy, Plan, cleaning, combine
from trainyard.retention.run_policy import RunDecision, RunFacts, Uses, by_age, by_choice, by_size, by_state, find_uses
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
    everyone: list[RunReader] = []
    for home in sorted(find_homes(yard)):
        with contextlib.suppress(CorruptError):  # what it uses is unknown; `trainyard verify` reports it
            everyone.append(RunReader(yard, home))
    facts = [cleaning.run_facts(run) for run in everyone]
    chosen = everyone
    if wanted.query:
        ids = {row["id"] for row in Index(yard).query(wanted.query).rows}
        chosen = [run for run in everyone if run.snapshot.id in ids]
    uses = find_uses(facts)
    now = datetime.now(UTC)
    plans = []
    if wanted.step is not None:
        plans.append(_named_step(yard, chosen, wanted.step, wanted.query, uses))
    if wanted.keep is not None:
        plans.append(cleaning.clean_checkpoints(yard, chosen, wanted.keep, uses=uses))
    if wanted.optimizer:
        plans.append(cleaning.strip_optimizer(yard, chosen, uses=uses))
    if wanted.runs or wanted.until_below_bytes is not None:
        decisions = _runs_to_go(wanted, chosen, facts, now)
        forced = {run.snapshot.id for run in chosen} if wanted.force else set()
        plans.append(cleaning.remove_runs(yard, decisions, everyone, everyone=facts, forced=forced))
    if wanted.logs_older_than_days is not None:
        plans.append(cleaning.remove_logs(yard, chosen, wanted.logs_older_than_days, now=now))
    if wanted.cache:
        plans.append(cleaning.remove_cache(yard, live=[fact.name for fact in facts if fact.live]))
    return plans[0] if len(plans) == 1 else combine(yard, "To clean", plans)


def _named_step(yard: Yard, chosen: Sequence[RunReader], step: int, query: str, uses: Uses) -> Plan:
    if len(chosen) != 1:
        what = f"--step {step} needs exactly one run; the filter {query!r} matches {len(chosen)}."
        raise UserError(what, "Pass the run's id (see `trainyard runs`).", value=query, place="--step")
    snapshot = chosen[0].snapshot
    if snapshot.checkpoint(step) is None:
        known = ", ".join(str(checkpoint.step) for checkpoint in snapshot.checkpoints) or "none"
        what = f"Run {snapshot.name} has no checkpoint of step {step}."
        raise UserError(what, f"Choose one of its steps: {known}.", value=step, place=snapshot.name)
    return cleaning.clean_checkpoints(yard, chosen, KeepPolicy(last=None), uses=uses, named=[step])


def _runs_to_go(
    wanted: Wanted, chosen: Sequence[RunReader], facts: Sequence[RunFacts], now: datetime
) -> list[RunDecision]:
    if wanted.until_below_bytes is not None:
        return by_size(facts, wanted.until_below_bytes)
    ids = {run.snapshot.id for run in chosen}
    candidates = [fact for fact in facts if fact.id in ids and (not wanted.states or fact.state in wanted.states)]
    if wanted.older_than_days is not None:
        return by_age(candidates, wanted.older_than_days, now=now)
    if wanted.states:
        return by_state(candidates, wanted.states)
    return by_choice(candidates, ids, f"it matches {wanted.query!r}" if wanted.query else "all runs were requested")
