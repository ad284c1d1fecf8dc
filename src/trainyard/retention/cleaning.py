"""Turns decisions into plans: which files a checkpoint, a record, a log or a run consists of on disk.

Reads runs and deletes nothing. Whatever a policy says, this module spares what is still needed: live
runs, runs and checkpoints that a remaining run was made from, and files that several runs share.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from trainyard.checkpoints.formats import FORMATS
from trainyard.retention.items import Whose, called, checkpoint_items, strip_items
from trainyard.retention.plan import Plan, PlanItem, Spared, make_plan
from trainyard.retention.policy import KeepPolicy, superseded
from trainyard.retention.run_policy import RunDecision, RunFacts, Uses, old_records, protected_steps, spare
from trainyard.runs import RunReader, RunWriter, Snapshot, Yard, find_homes

LOG_KINDS = ("log", "error_log", "performance_log", "evaluation_log")
CACHES = ("cache", ".yard/cache")
_LIVE = "a process is working on it"


def run_facts(run: RunReader) -> RunFacts:
    """What run-level policies know of one run, as it is now."""
    snapshot = run.snapshot
    activity = [snapshot.created, snapshot.ended, *(attempt.started for attempt in snapshot.attempts)]
    ended = _moment(max(at for at in (*activity, *(c.at for c in snapshot.checkpoints)) if at))
    size, parents = snapshot.size_bytes, tuple(snapshot.parents)
    return RunFacts(snapshot.id, snapshot.name, snapshot.state, ended, size, live=run.is_alive(), parents=parents)


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def _protected(snapshot: Snapshot, uses: Uses | None) -> dict[int, str]:
    return protected_steps((uses or {}).get(snapshot.id, ()), [c.step for c in snapshot.checkpoints])


def _idle(runs: Sequence[RunReader], spared: list[Spared]) -> Iterator[Whose]:
    """The runs that no process is working on; the others are added to `spared`."""
    for run in runs:
        if run.is_alive():
            spared.append(Whose(run).spared("everything", _LIVE))
        else:
            yield Whose(run)


def clean_checkpoints(
    yard: Yard, runs: Sequence[RunReader], policy: KeepPolicy, *, uses: Uses | None = None, named: Collection[int] = ()
) -> Plan:
    """A plan that removes the checkpoints that `policy` does not keep.

    With `KeepPolicy(last=0)` it keeps the best and the newest and removes those in between. What other
    runs use according to `uses` (`find_uses` of the whole yard) is spared. The steps in `named` are
    removed even if best, newest or only.
    """
    items: list[PlanItem] = []
    spared: list[Spared] = []
    for whose in _idle(runs, spared):
        protected = _protected(whose.snapshot, uses)
        unwanted, decisions = checkpoint_items(whose, policy, protected, named=named)
        items += unwanted
        spared += [whose.spared(called(d.step, d.place), d.why) for d in decisions if d.step in protected]
    return make_plan(yard, "Checkpoints to drop", items, spared)


def strip_optimizer(yard: Yard, runs: Sequence[RunReader], *, uses: Uses | None = None) -> Plan:
    """A plan that removes optimizer, scheduler, scaler and RNG state from superseded checkpoints.

    Every checkpoint but the newest resumable one is superseded. Only directory checkpoints can lose a
    part; single-file checkpoints are listed as spared. `uses` is as in `clean_checkpoints`.
    """
    items: list[PlanItem] = []
    spared: list[Spared] = []
    for whose in _idle(runs, spared):
        protected = _protected(whose.snapshot, uses)
        decisions = superseded(whose.snapshot.checkpoints, protected)
        if FORMATS[whose.run.layout.checkpoint_format].is_directory:
            items += strip_items(whose, decisions)
            spared += [whose.spared(f"optimizer state of checkpoint {s}", why) for s, why in protected.items()]
        elif any(not decision.keep for decision in decisions):
            why = "each is a single file, which would have to be rewritten; drop whole checkpoints instead"
            spared.append(whose.spared("optimizer state", why))
    return make_plan(yard, "Optimizer state of superseded checkpoints", items, spared)


def remove_runs(
    yard: Yard,
    decisions: Sequence[RunDecision],
    runs: Sequence[RunReader],
    *,
    everyone: Sequence[RunFacts] | None = None,
    forced: Collection[str] = (),
) -> Plan:
    """A plan that removes whole runs: their homes, and their records elsewhere that no other run shares.

    `runs` are at least those to remove, `everyone` all of the yard (None: `runs` are all), because a run
    that others were made from is spared, unless its id is `forced`. Live runs are never removed.
    """
    facts = [run_facts(run) for run in runs] if everyone is None else everyone
    wanted = {d.run_id for d in decisions if d.remove}
    judged = {d.run_id: d for d in spare(decisions, facts, forced=forced) if d.run_id in wanted}
    copies = Counter(run.snapshot.id for run in runs)
    items: list[PlanItem] = []
    spared: list[Spared] = []
    for run in runs:
        whose, decision = Whose(run), judged.get(run.snapshot.id)
        if decision is None:
            continue
        why = None if decision.remove else decision.why
        if why is None and run.is_alive():
            why = _LIVE
        elif copies[run.snapshot.id] > 1:
            why = "another folder contains a run with the same id; remove the copy that you do not want by hand"
        elif whose.home == "./":
            why = "its home is the whole yard"
        if why is not None:
            spared.append(whose.spared("the run", why))
            continue
        paths = (whose.home, *_outside_home(whose))
        what = "the whole run" + (f", with {len(paths) - 1} files outside its home" if len(paths) > 1 else "")
        items.append(whose.item(action="delete", what=what, why=decision.why, paths=paths))
    return make_plan(yard, "Runs to remove", items, spared)


def _outside_home(whose: Whose) -> list[str]:
    """Existing paths outside the home that belong to this run only."""
    snapshot, layout = whose.snapshot, whose.run.layout
    recorded = [r.path for r in snapshot.records if not layout.has(r.kind) or not layout.is_shared(r.kind)]
    published = [path for checkpoint in snapshot.checkpoints for path in checkpoint.paths.values()]
    return [
        path
        for path in dict.fromkeys([*recorded, *published, *_fixed_paths(whose.run, layout.kinds)])
        if not path.startswith(snapshot.home) and whose.owns(path) and (whose.run.yard.root / path).exists()
    ]


def _fixed_paths(run: RunReader | RunWriter, kinds: Collection[str]) -> Iterator[str]:
    """Paths of this run only, at which a killed attempt may have left files that the journal does not list."""
    layout, facts = run.layout, run.snapshot.facts
    for kind in kinds:
        if layout.has(kind) and not layout.is_shared(kind) and set(layout.facts_of(kind)) <= set(facts):
            yield layout.path(kind, facts)


def remove_logs(yard: Yard, runs: Sequence[RunReader], days: float, *, now: datetime) -> Plan:
    """A plan that removes logs last written more than `days` before `now`, except those of live runs."""
    items: list[PlanItem] = []
    spared: list[Spared] = []
    sharers = Counter(r.path for run in runs for r in run.snapshot.records if r.kind in LOG_KINDS)
    for run in runs:
        whose = Whose(run)
        logs = (record for record in run.snapshot.records if record.kind in LOG_KINDS)
        records = {r.path: r for r in logs if whose.owns(r.path) and run.resolve(r.path).exists()}
        times = {path: _moment(record.at) for path, record in records.items()}
        for path in _fixed_paths(run, LOG_KINDS):
            if path not in times and whose.owns(path) and run.resolve(path).exists():
                times[path] = datetime.fromtimestamp(run.resolve(path).stat().st_mtime, UTC)
        old = old_records(times.items(), days, now=now)
        if old and run.is_alive():
            spared.append(whose.spared("logs", _LIVE))
            continue
        for path, why in old:
            known: dict[str, Any] = {"action": "file"}
            if path in records:
                known = {"action": "remove", "data": {"path": path, "why": why}, "before": asdict(records[path])}
            if sharers[path] > 1:
                spared.append(whose.spared(path, "other runs share it"))
            else:
                items.append(whose.item(what=path, why=why, paths=(whose.at(path),), **known))
    return make_plan(yard, "Old logs", items, spared)


def remove_cache(yard: Yard, *, live: Sequence[str] = ()) -> Plan:
    """A plan that removes the yard's cache folders, unless runs are `live` (their names)."""
    items: list[PlanItem] = []
    spared: list[Spared] = []
    for folder in CACHES:
        if not (yard.root / folder).is_dir():
            continue
        if live:
            spared.append(Spared("", "", folder, f"{live[0]} is live and may use it"))
        elif any(home.is_relative_to(yard.root / folder) for home in find_homes(yard)):
            spared.append(Spared("", "", folder, "it contains runs"))
        else:
            items.append(PlanItem("file", folder, "it can be rebuilt", (folder,)))
    return make_plan(yard, "Cache", items, spared)
