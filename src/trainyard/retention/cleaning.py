"""Turns decisions into plans: which files a checkpoint, a record, a log or a run consists of on disk.

Reads runs and deletes nothing. Whatever a policy says, this module spares what is still needed: live
runs, runs and checkpoints that a remaining run was made from, and files that several runs share.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime

from trainyard.checkpoints.formats import FORMATS
from trainyard.retention.items import Whose, called, drop_items, publishes_each_best, ranking, strip_items
from trainyard.retention.plan import Plan, PlanItem, Spared, make_plan
from trainyard.retention.policy import KeepPolicy, decide, superseded
from trainyard.retention.run_policy import RunDecision, RunFacts, Uses, old_records, protected_steps, spare
from trainyard.runs import RunReader, Snapshot, Yard, find_homes

LOG_KINDS = ("log", "error_log", "performance_log", "evaluation_log")
CACHES = ("cache", ".yard/cache")
_LIVE = "a process is working on it"


def run_facts(run: RunReader) -> RunFacts:
    """What run-level policies know of one run, as it is now."""
    snapshot = run.snapshot
    activity = [snapshot.created, snapshot.ended, *(a.started for a in snapshot.attempts)]
    activity += [checkpoint.at for checkpoint in snapshot.checkpoints]
    return RunFacts(
        snapshot.id,
        snapshot.name,
        snapshot.state,
        _moment(max(at for at in activity if at)),
        snapshot.size_bytes,
        live=run.is_alive(),
        parents=tuple(snapshot.parents),
    )


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def _protected(snapshot: Snapshot, uses: Uses | None) -> dict[int, str]:
    return protected_steps((uses or {}).get(snapshot.id, ()), [c.step for c in snapshot.checkpoints])


def clean_checkpoints(
    yard: Yard,
    runs: Sequence[RunReader],
    policy: KeepPolicy,
    *,
    uses: Uses | None = None,
    named: Collection[int] = (),
    title: str = "Checkpoints to drop",
) -> Plan:
    """A plan that removes the checkpoints that `policy` does not keep.

    With `KeepPolicy(last=0)` it keeps the best and the newest and removes those in between.

    Args:
        yard: the yard of the runs.
        runs: the runs to clean.
        policy: what to keep.
        uses: which run uses which in the whole yard (`find_uses`); what other runs use is spared.
        named: steps requested by number, which are removed even if best, newest or only.
        title: the heading of the plan.
    """
    items: list[PlanItem] = []
    spared: list[Spared] = []
    for run in runs:
        whose = Whose.of(run)
        if run.is_alive():
            spared.append(whose.spared("everything", _LIVE))
            continue
        protected = _protected(run.snapshot, uses)
        best_step, monitor, mode = ranking(run.snapshot)
        decisions = decide(
            run.snapshot.checkpoints,
            policy,
            best_step=best_step,
            monitor=monitor,
            mode=mode,
            has_best_place=publishes_each_best(run.layout),
            protected_steps=protected,
            named=named,
        )
        items += drop_items(whose, decisions)
        spared += [whose.spared(called(d.step, d.place), d.why) for d in decisions if d.step in protected]
        if policy.optimizer == "last":
            items += strip_items(whose, superseded(run.snapshot.checkpoints, protected))
    return make_plan(yard, title, items, spared)


def strip_optimizer(
    yard: Yard,
    runs: Sequence[RunReader],
    *,
    uses: Uses | None = None,
    title: str = "Optimizer state of superseded checkpoints",
) -> Plan:
    """A plan that removes optimizer, scheduler, scaler and RNG state from superseded checkpoints.

    Every checkpoint but the newest resumable one is superseded. Only directory checkpoints can lose a
    part; single-file checkpoints are listed as spared. `uses` is as in `clean_checkpoints`.
    """
    items: list[PlanItem] = []
    spared: list[Spared] = []
    for run in runs:
        whose = Whose.of(run)
        if run.is_alive():
            spared.append(whose.spared("everything", _LIVE))
            continue
        protected = _protected(run.snapshot, uses)
        decisions = superseded(run.snapshot.checkpoints, protected)
        if not FORMATS[run.layout.checkpoint_format].is_directory:
            if any(not decision.keep for decision in decisions):
                why = "each is a single file, which would have to be rewritten; drop whole checkpoints instead"
                spared.append(whose.spared("optimizer state", why))
            continue
        items += strip_items(whose, decisions)
        spared += [whose.spared(f"optimizer state of checkpoint {s}", why) for s, why in protected.items()]
    return make_plan(yard, title, items, spared)


def remove_runs(
    yard: Yard,
    decisions: Sequence[RunDecision],
    runs: Sequence[RunReader],
    *,
    everyone: Sequence[RunFacts] | None = None,
    forced: Collection[str] = (),
    title: str = "Runs to remove",
) -> Plan:
    """A plan that removes whole runs: their homes, and their records elsewhere that no other run shares.

    Args:
        yard: the yard of the runs.
        decisions: which runs to remove.
        runs: at least those runs.
        everyone: all runs of the yard, to find out which was made from which; None if `runs` are all.
        forced: ids to remove even if ended runs were made from them; live runs are never removed.
        title: the heading of the plan.
    """
    facts = [run_facts(run) for run in runs] if everyone is None else everyone
    judged = {d.run_id: d for d in spare(decisions, facts, forced=forced)}
    wanted = {d.run_id for d in decisions if d.remove}
    copies = Counter(run.snapshot.id for run in runs)
    items: list[PlanItem] = []
    spared: list[Spared] = []
    for run in runs:
        whose, decision = Whose.of(run), judged.get(run.snapshot.id)
        if decision is None or decision.run_id not in wanted:
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
        paths = (whose.home, *_outside_home(run, whose))
        what = "the whole run" + (f", with {len(paths) - 1} files outside its home" if len(paths) > 1 else "")
        items.append(whose.item(action="delete", what=what, why=decision.why, paths=paths))
    return make_plan(yard, title, items, spared)


def _outside_home(run: RunReader, whose: Whose) -> list[str]:
    """Existing paths outside the home that belong to this run only."""
    snapshot, layout = run.snapshot, run.layout
    recorded = {
        record.path: None
        for record in snapshot.records
        if not layout.has(record.kind) or not layout.is_shared(record.kind)
    }
    published = {path: None for checkpoint in snapshot.checkpoints for path in checkpoint.paths.values()}
    return [
        path
        for path in {**recorded, **published, **dict.fromkeys(_fixed_paths(run))}
        if not path.startswith(snapshot.home) and whose.owns(path) and (run.yard.root / path).exists()
    ]


def _fixed_paths(run: RunReader, kinds: Collection[str] | None = None) -> Iterator[str]:
    """Paths of this run only, at which a killed attempt may have left files that the journal does not list."""
    layout, facts = run.layout, run.snapshot.facts
    for kind in layout.kinds if kinds is None else kinds:
        if layout.has(kind) and not layout.is_shared(kind) and set(layout.facts_of(kind)) <= set(facts):
            yield layout.path(kind, facts)


def remove_logs(yard: Yard, runs: Sequence[RunReader], days: float, *, now: datetime, title: str = "Old logs") -> Plan:
    """A plan that removes logs last written more than `days` before `now`, except those of live runs."""
    items: list[PlanItem] = []
    spared: list[Spared] = []
    sharers = Counter(r.path for run in runs for r in run.snapshot.records if r.kind in LOG_KINDS)
    for run in runs:
        whose = Whose.of(run)
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
            record = records.get(path)
            if sharers[path] > 1:
                spared.append(whose.spared(path, "other runs share it"))
            elif record is None:
                items.append(whose.item(action="file", what=path, why=why, paths=(whose.at(path),)))
            else:
                items.append(
                    whose.item(
                        action="remove",
                        what=path,
                        why=why,
                        paths=(whose.at(path),),
                        data={"path": path, "why": why},
                        before=asdict(record),
                    )
                )
    return make_plan(yard, title, items, spared)


def remove_cache(
    yard: Yard, *, live: Sequence[str] = (), folders: Sequence[str] = CACHES, title: str = "Cache"
) -> Plan:
    """A plan that removes the yard's cache folders, unless runs are `live` (their names)."""
    items: list[PlanItem] = []
    spared: list[Spared] = []
    for folder in folders:
        path = yard.root / folder
        if not path.is_dir():
            continue
        if live:
            spared.append(Spared("", "", folder, f"{live[0]} is live and may use it"))
        elif next(find_homes_below(yard, folder), None) is not None:
            spared.append(Spared("", "", folder, "it contains runs"))
        else:
            items.append(PlanItem("file", folder, "it can be rebuilt", (folder,)))
    return make_plan(yard, title, items, spared)


def find_homes_below(yard: Yard, folder: str) -> Iterator[str]:
    """The homes of runs below a folder of the yard, relative to the yard."""
    prefix = folder.rstrip("/") + "/"
    for home in find_homes(yard):
        relative = yard.relative(home) + "/"
        if relative.startswith(prefix):
            yield relative
