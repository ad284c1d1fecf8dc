"""Carries out a plan: the only code in Trainyard that deletes, and it deletes into the trash.

The order of steps makes it safe against kills: first the plan is written to the trash, then the run's
journal records what is removed, then the files are moved. A reader never finds a recorded file missing.
What a killed process left between journal and move is moved by the next `apply`, `rotate` or
`empty_trash`, or restored by `undo`. A whole run is removed by one rename of its home; then its records
elsewhere follow.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import groupby
from pathlib import Path
from typing import Any

from trainyard import durable
from trainyard.checkpoints.formats import FORMATS
from trainyard.errors import CorruptError, RunBusyError, RunNotFoundError
from trainyard.retention.items import Whose, checkpoint_items
from trainyard.retention.measure import measure
from trainyard.retention.plan import EVENTS, Plan, PlanItem, make_plan
from trainyard.retention.policy import CHECKPOINT, KeepPolicy
from trainyard.retention.trash import UNFINISHED, TrashEntry, create_entry, list_trash, read_entry
from trainyard.runs import CheckpointRecord, RunReader, RunWriter, Snapshot, Yard, amend, find_homes
from trainyard.runs.lock import RunLock
from trainyard.runs.reader import read_snapshot

_EMPTYING = ".emptying-"
_SETTLED_S = 3600.0  # anything younger may belong to a live process and is left alone
GONE = "it is gone already"
INTERRUPTED = "the process was killed before moving it"
CHANGED = "the run has changed since the plan was made"


def trash_locked(yard: Yard) -> contextlib.AbstractContextManager[None]:
    """Keeps other cleaning processes out during the block; rotations of trainings are not blocked."""
    return durable.locked(yard.own / "trash.lock")


def apply(yard: Yard, plan: Plan) -> TrashEntry | None:
    """Moves everything in `plan` into a new entry of the trash and returns it; None for an empty plan.

    What is busy, gone or changed by now is left in place and listed in the entry's `skipped`.
    After a kill at any point, `undo` restores everything, and applying the plan again completes it.

    Raises:
        DiskFullError: there is no room for the plan; nothing was moved.
    """
    with trash_locked(yard):
        settle(yard)
        if not plan.items:
            return None
        entry = create_entry(yard, plan)
        left: dict[int, str] = {}
        for home, group in groupby(range(len(entry.items)), key=lambda n: entry.items[n].home):
            numbers = list(group)
            try:
                left |= _apply_to_run(yard, entry, home, numbers)
            except (RunBusyError, RunNotFoundError, CorruptError) as error:
                left |= dict.fromkeys(numbers, GONE if isinstance(error, RunNotFoundError) else error.what)
        return entry.mark_done(left)


def _apply_to_run(yard: Yard, entry: TrashEntry, home: str, numbers: list[int]) -> dict[int, str]:
    """Carries out items with the same home; returns those that were left in place, and why."""
    if home and not any(entry.items[n].action == "delete" for n in numbers):
        with amend(yard, yard.root / home) as run:
            return _act(run, entry, numbers)
    act = _delete if home else _carry
    return {n: why for n in numbers if (why := act(yard, entry, n)) is not None}


def _act(run: RunWriter, entry: TrashEntry, numbers: Sequence[int]) -> dict[int, str]:
    """Carries out items on an open run; returns those that were left in place, and why."""
    with run.batch():
        left = {n: why for n in numbers if (why := _record_removal(run, entry.items[n])) is not None}
    run.flush()  # the journal before the files, even inside a batch of the caller's
    for n in numbers:
        if n not in left:
            _carry(run.yard, entry, n)
    return left


def _record_removal(run: RunWriter, item: PlanItem) -> str | None:
    """Records in the journal that an item is removed; returns the reason if it must stay in place."""
    if _has_changed(run.snapshot, item):
        return CHANGED
    if item.action == "file":
        return None
    if not item.is_recorded(run.snapshot):
        return GONE
    details = dict(item.data)
    if item.action == "drop":
        checkpoint = run.snapshot.checkpoint(item.data["step"])
        if checkpoint is None or checkpoint.paths.get(item.data["place"]) != item.data["path"]:
            return CHANGED
        details |= _lost_with(checkpoint, item.data["place"])
    run.event(EVENTS[item.action](**details))
    return None


def _lost_with(checkpoint: CheckpointRecord, place: str) -> dict[str, Any]:
    """What else is lost when a checkpoint directory is dropped but its published one, without resume files, stays."""
    format_ = FORMATS[checkpoint.format]
    if place != CHECKPOINT or not format_.is_directory or len(checkpoint.paths) == 1:
        return {}
    files = [file["name"] for file in checkpoint.files if not format_.is_published(file["name"])]
    return {"resumable": False, "files": files}


def _carry(yard: Yard, entry: TrashEntry, n: int) -> str | None:
    """Moves an item's files into the entry, unless they are there already; returns `GONE` when there are none."""
    for path, name in zip(entry.items[n].paths, entry.kept_as[n], strict=True):
        source, target = yard.root / path, entry.path / name
        if os.path.lexists(source) and not os.path.lexists(target):
            durable.move(source, target)
    return None if entry.holds(n) else GONE


def _delete(yard: Yard, entry: TrashEntry, n: int) -> str | None:
    """Moves a whole run: first its home, with its journal and its lock."""
    item = entry.items[n]
    home = yard.root / item.home
    if not (home / ".run").is_dir():
        return GONE
    lock = RunLock(home / ".run" / "lock")
    try:
        if _has_changed(read_snapshot(home), item):
            return CHANGED
        _carry(yard, entry, n)
    finally:
        lock.release()
        yard.note_change(item.home)
    return None


def _has_changed(snapshot: Snapshot, item: PlanItem) -> bool:
    """Whether another run, or another attempt, is in the item's home now."""
    return snapshot.id != item.run_id or len(snapshot.attempts) != item.attempts


def settle(yard: Yard) -> None:
    """Completes what killed processes began, unless its run is busy: moves what a journal already dropped.

    Items that those processes had not begun are not begun now.
    """
    for entry in list_trash(yard):
        if not entry.done:
            _settle_entry(yard, entry)


def _settle_entry(yard: Yard, entry: TrashEntry, own: RunWriter | None = None) -> bool:
    """Completes one entry; False when one of its runs is busy. `own` is a run that is open already."""
    for n, item in enumerate(entry.items):
        if item.action == "delete":
            if (entry.path / entry.kept_as[n][0]).exists() and not (yard.root / item.home).exists():
                _carry(yard, entry, n)
        elif item.action != "file":
            try:
                with contextlib.nullcontext(own) if own else amend(yard, yard.root / item.home) as run:
                    if run.id == item.run_id and not item.is_recorded(run.snapshot):
                        places = [place for path in item.paths if (place := yard.root / path).exists()]
                        if all(item.is_as_it_was(place) for place in places):  # else, others have those names now
                            _carry(yard, entry, n)
            except RunBusyError:
                return False
            except (RunNotFoundError, CorruptError):
                continue
    entry.mark_done({n: INTERRUPTED for n in range(len(entry.items)) if not entry.holds(n)})
    return True


def rotate(
    run: RunWriter,
    policy: KeepPolicy,
    *,
    monitor: str | None = None,
    mode: str | None = None,
    protected_steps: Mapping[int, str] | None = None,
) -> TrashEntry | None:
    """Drops what `policy` does not keep of a run in training; None when there is nothing to drop.

    The newest checkpoint is always kept, and so are the steps that other runs use. `monitor` and `mode`
    ("min" or "max") rank checkpoints; None: as the run recorded or was configured. The run's previous
    rotation is emptied, so that only the last one can be undone and the disk holds a bounded number of
    checkpoints. Call this after a checkpoint was committed and published, from one thread at a time.
    """
    items, _ = checkpoint_items(Whose(run), policy, protected_steps or {}, monitor=monitor, mode=mode)
    if not items:
        return None
    before = list_trash(run.yard, run.id)
    plan = make_plan(run.yard, f"Rotation of {run.name}", items, kind="rotation", measured=False)
    entry = create_entry(run.yard, plan, run.id)
    left = _act(run, entry, range(len(entry.items)))
    for earlier in before:
        if earlier.done or _settle_entry(run.yard, earlier, run):
            erase(earlier.path)
    return entry.mark_done(left)


def erase(path: Path) -> None:
    """Permanently deletes something in the trash. It is renamed first, so that no reader sees half of it."""
    target = path
    if not path.name.startswith(_EMPTYING):
        target = path.with_name(_EMPTYING + path.name)
        try:
            durable.move(path, target)
        except FileNotFoundError:
            return  # another process deletes it
        except FileExistsError:
            erase(target)
            durable.move(path, target)
    while target.exists():
        with contextlib.suppress(FileNotFoundError):  # another process deletes it, too
            durable.remove(target)


def empty_trash(yard: Yard, *, older_than_days: float | None = None) -> int:
    """Permanently deletes entries of the trash, and objects that nothing uses any more; returns the bytes freed.

    Objects that a live run may be about to link are kept until it has ended.
    """
    if not yard.own.is_dir():
        return 0
    with trash_locked(yard):
        settle(yard)
        present = sorted(yard.trash.iterdir()) if yard.trash.is_dir() else []
        doomed = [path for path in present if _is_doomed(path, older_than_days)]
        freed = sum(size.freed for size in measure(yard, [[path] for path in doomed], alone=True))
        for path in doomed:
            erase(path)
        return freed + _remove_unused_objects(yard)


def _is_doomed(path: Path, older_than_days: float | None) -> bool:
    if path.name.startswith(_EMPTYING):
        return True
    entry = read_entry(path)
    if entry is not None:
        age = datetime.now(UTC) - datetime.fromisoformat(entry.created)
        return entry.done and (older_than_days is None or age > timedelta(days=older_than_days))
    if path.name != UNFINISHED and _age_s(path) < _SETTLED_S:
        return False  # another process may be creating it
    return older_than_days is None or _age_s(path) > older_than_days * 86400


def _age_s(path: Path) -> float:
    return time.time() - path.stat().st_mtime


def _remove_unused_objects(yard: Yard) -> int:
    unused = yard.objects.unreferenced()
    live: list[Snapshot] = []
    for home in find_homes(yard) if unused else ():
        with contextlib.suppress(CorruptError, RunNotFoundError):
            reader = RunReader(yard, home)
            if reader.is_alive():
                live.append(reader.snapshot)
    wanted = {str(file["sha256"]) for run in live for checkpoint in run.checkpoints for file in checkpoint.files}
    # A run that has saved nothing in this attempt may be about to link an object that no checkpoint of it names.
    anything = any(all(c.at < run.attempts[-1].started for c in run.checkpoints) for run in live)
    freed = 0
    for path, _ in unused:
        if not live or not (anything or path.name in wanted or _age_s(path) < _SETTLED_S):
            freed += path.stat().st_blocks * 512
            durable.remove(path)
    return freed
