"""Restores what a plan moved into the trash: first the files, then the journal.

The inverse of `apply`. No existing file is replaced: what cannot be restored stays in the trash, and
the report says why. After a kill at any point, undoing again completes it.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from itertools import groupby

from trainyard import durable
from trainyard.checkpoints.formats import FORMATS
from trainyard.errors import CorruptError, RunBusyError, RunNotFoundError, UserError
from trainyard.retention.apply import erase, trash_locked
from trainyard.retention.plan import EVENTS, PlanItem
from trainyard.retention.policy import CHECKPOINT
from trainyard.retention.trash import TrashEntry, list_trash
from trainyard.runs import CheckpointRecord, RunWriter, Yard, amend
from trainyard.runs.events import RecordWritten, Restored, known_fields
from trainyard.wording import did_you_mean, listed


@dataclass(frozen=True)
class Report:
    """What was restored from the entry `name`, and what was not and why, one line each."""

    name: str
    restored: tuple[str, ...]
    problems: tuple[str, ...] = ()

    def describe(self) -> str:
        """The report as text. Ends with a newline."""
        lines = [f"Restored from the trash ({self.name}): {len(self.restored)}", *(f"  {x}" for x in self.restored)]
        if self.problems:
            lines += [f"Not restored: {len(self.problems)}", *(f"  {x}" for x in self.problems)]
        return "\n".join(lines) + "\n"


def undo(yard: Yard, entry: str | None = None) -> Report:
    """Restores everything in an entry of the trash and removes the entry, unless something must stay in it.

    `entry` is its name; None: the newest that is not the rotation of a training.

    Raises:
        UserError: there is no such entry.
    """
    with trash_locked(yard):
        chosen = _choose(yard, entry)
        outcomes: dict[int, str | bool] = {}  # True: restored; False: it was never removed; or why it was not restored
        items = chosen.items
        order = [n for n in reversed(range(len(items))) if n not in chosen.left]
        for home, group in groupby(order, key=lambda n: items[n].home if items[n].action in EVENTS else ""):
            numbers = list(group)
            if not home:  # whole runs, and files that no journal lists
                outcomes |= {n: _restore_files(yard, chosen, n) for n in numbers}
                continue
            try:
                with amend(yard, yard.root / home) as run:
                    for n in numbers:
                        outcomes[n] = _restore(run, chosen, n)
            except (RunBusyError, RunNotFoundError, CorruptError) as error:
                outcomes |= {n: error.what for n in numbers if n not in outcomes}
        names = {n: items[n].full_name for n in outcomes}
        problems = tuple(f"{names[n]}: {why}" for n, why in outcomes.items() if isinstance(why, str))
        if not problems and not any(chosen.holds(n) for n in order):
            erase(chosen.path)
        return Report(chosen.name, tuple(names[n] for n, outcome in outcomes.items() if outcome is True), problems)


def _choose(yard: Yard, name: str | None) -> TrashEntry:
    entries = list_trash(yard)
    found = next((e for e in entries if (e.kind != "rotation" if name is None else e.name == name)), None)
    if found is not None:
        return found
    known = [entry.name for entry in entries]
    refused: object = name
    if not entries:
        what = "The trash is empty: there is nothing to undo."
        remedy = "What was emptied from the trash cannot be restored."
    elif name is None:
        what = "There is no clean to undo: the trash contains only checkpoints that trainings rotated out."
        remedy, refused = "Restore one of those by name: `trainyard undo --list` shows them.", known
    else:
        what = f"There is no {name} in the trash."
        remedy = did_you_mean(name, known, then=f"Choose one of these, newest first: {listed(known, 10)}.")
    raise UserError(what, remedy, value=refused, place=yard.trash)


def _in_the_way(yard: Yard, entry: TrashEntry, n: int) -> str | None:
    """Why an item's files cannot be restored, if other files have their names now."""
    for path, name in zip(entry.items[n].paths, entry.kept_as[n], strict=True):
        if os.path.lexists(entry.path / name) and os.path.lexists(yard.root / path):
            return f"{path} exists; the removed one stays in the trash as {entry.name}/{name}"
    return None


def _move_back(yard: Yard, entry: TrashEntry, n: int) -> bool:
    """Moves back what is in the entry, the first path (a run's home) last; False when there was nothing."""
    moved = False
    for path, name in reversed(list(zip(entry.items[n].paths, entry.kept_as[n], strict=True))):
        if os.path.lexists(entry.path / name):
            durable.move(entry.path / name, yard.root / path)
            moved = True
    return moved


def _restore_files(yard: Yard, entry: TrashEntry, n: int) -> str | bool:
    """Restores a whole run, or files that no journal lists: True if restored, False if never removed, or why not."""
    item = entry.items[n]
    if (why := _in_the_way(yard, entry, n)) is not None:
        return why
    moved = _move_back(yard, entry, n)
    if item.action == "delete":
        yard.note_change(item.home)
    if not moved and not (yard.root / item.paths[0]).exists():
        return _lost(entry)
    return moved


def _lost(entry: TrashEntry) -> str | bool:
    """The outcome when files are neither in the trash nor in their place: never removed if the entry is not done."""
    return "its files are no longer in the trash" if entry.done else False


def _restore(run: RunWriter, entry: TrashEntry, n: int) -> str | bool:
    """Restores a checkpoint's place, its optimizer state, or a record; returns as `_restore_files` does."""
    item = entry.items[n]
    if run.id != item.run_id:
        return f"{item.home} is another run now; the removed files stay in the trash"
    recorded = item.is_recorded(run.snapshot)
    kept = entry.holds(n)
    why = _in_the_way(run.yard, entry, n) or _misfit(run, item)
    if why is not None and (kept or not recorded):
        return why
    if kept:
        _move_back(run.yard, entry, n)
    if recorded:
        return kept
    places = [run.yard.root / path for path in item.paths]
    if not all(place.exists() for place in places):
        return _lost(entry)
    if not kept and not all(item.is_as_it_was(place) for place in places):
        return "other files have its names now"
    if item.action == "remove":
        run.event(RecordWritten(**item.before))  # with its old time: restoring it did not write it
    else:
        run.event(Restored(_merged(run.snapshot.checkpoint(item.data["step"]), item)))
    return True


def _misfit(run: RunWriter, item: PlanItem) -> str | None:
    """Why a part of a checkpoint does not fit the run's present checkpoint of that step."""
    if item.action == "remove":
        return None
    now = run.snapshot.checkpoint(item.data["step"])
    if now is not None and now.at != item.before["at"]:
        return "the run has a newer checkpoint of this step"
    if item.action == "strip":
        if now is None or now.paths.get(CHECKPOINT) != item.before["paths"][CHECKPOINT]:
            return "its checkpoint was dropped, too; restore that first"
    elif now is not None and now.paths.get(item.data["place"], item.data["path"]) != item.data["path"]:
        return f"the checkpoint's {item.data['place']} path is {now.paths[item.data['place']]} now"
    return None


def _merged(now: CheckpointRecord | None, item: PlanItem) -> CheckpointRecord:
    """The run's present checkpoint together with what `item` restores."""
    before = CheckpointRecord(**known_fields(CheckpointRecord, item.before))
    format_ = FORMATS[before.format]
    if item.action == "strip":
        assert now is not None  # checked by _misfit
        names = {file["name"] for file in now.files} | set(item.data["files"])
        files = [file for file in before.files if file["name"] in names]
        return replace(now, files=files, resumable=before.resumable)
    place = item.data["place"]
    paths = {**(now.paths if now is not None else {}), place: item.data["path"]}
    ordered = {key: paths[key] for key in (*before.paths, *paths) if key in paths}
    if place == CHECKPOINT or not format_.is_directory:
        return replace(before, paths=ordered)
    if now is not None:
        return replace(before, paths=ordered, files=now.files, resumable=now.resumable)
    published = [file for file in before.files if format_.is_published(file["name"])]
    return replace(before, paths=ordered, files=published, resumable=False)
