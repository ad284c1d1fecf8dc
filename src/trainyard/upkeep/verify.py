"""Verifies that a run's files have the bytes that were written, and that its numbers follow from its predictions.

Reads every byte, recomputes statistics and metrics from the saved predictions, and changes nothing.
A run without predictions is verified without NumPy.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby, islice
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from trainyard import durable
from trainyard.artifacts import Artifacts, Version
from trainyard.checkpoints import problems
from trainyard.checkpoints.reader import remedy_of_damage
from trainyard.errors import CorruptError, TrainyardError, UnsafeTargetError
from trainyard.metric import Metric, of_split
from trainyard.runs import RunReader, find_homes
from trainyard.runs.journal import read_journal
from trainyard.runs.snapshot import Snapshot, fold
from trainyard.runs.yard import Yard

if TYPE_CHECKING:
    from trainyard.analysis.scoring import Disagreement

_NAMED = 10  # how many disagreements of one file are listed individually

Fault = Literal[
    "unreadable",  # a file or record cannot be read as what it is
    "torn",  # the journal ends in an incomplete line
    "snapshot",  # run.json differs from the journal
    "checkpoint",  # a checkpoint is damaged or missing
    "missing",  # a file of record is missing
    "changed",  # a file of record has other bytes than were written
    "disagrees",  # a stored value does not follow from the saved predictions
    "unchecked",  # the predictions could not be recomputed
    "leftover",  # a temporary file of a killed process
    "artifact",  # a version of an artifact is damaged
]


@dataclass(frozen=True)
class Finding:
    """Something that is wrong with a run or an artifact.

    Programs read the fields; `what` and `remedy` are for people and may change.
    """

    home: str  # of the run, relative to the yard, or the reference of the artifact
    what: str
    remedy: str
    harmless: bool = False  # a killed process leaves such things behind; everything that was written is still there
    fault: Fault = "unreadable"
    path: str = ""  # the file at fault; for a value of the summary the predictions that it disagrees with
    # For `disagrees`: the row of the table or the metric with its split, and both values; all empty where the
    # finding stands for further disagreements.
    where: str = ""
    stored: str = ""
    recomputed: str = ""


@dataclass
class Tally:
    """Counts of what was verified."""

    runs: int = 0
    checkpoints: int = 0
    files: int = 0
    bytes: int = 0
    artifacts: int = 0  # versions of them


def verify_run(reader: RunReader, tally: Tally, *, trust: bool = False) -> Iterator[Finding]:
    """Yields every fault of one run; adds to `tally`.

    `trust` imports tasks that do not ship with Trainyard, which runs their code, to recompute their metrics.
    """
    home, snapshot = reader.yard.relative(reader.home), reader.snapshot
    tally.runs += 1
    try:
        journal = reader.home / ".run" / "journal.jsonl"
        events, good = read_journal(journal)
        if good != journal.stat().st_size and not reader.is_alive():
            remedy = "The next resume removes that line; no complete line is lost."
            yield Finding(home, "the journal ends in an incomplete line", remedy, True, "torn", str(journal))
        if events and good == snapshot.journal_bytes:  # otherwise it grew since, or run.json is not used
            keys = ", ".join(_differing(snapshot, fold(events)))
            if keys:
                remedy = "Remove that file: the journal holds everything in it and is read instead."
                kept = str(reader.home / ".run" / "run.json")
                what = f"{kept} differs from the journal: {keys}"
                yield Finding(home, what, remedy, fault="snapshot", path=kept, where=keys)
    except CorruptError as error:
        yield _unreadable(home, error)
    try:
        reader.history()
    except CorruptError as error:
        yield _unreadable(home, error)
    for checkpoint in snapshot.checkpoints:
        tally.checkpoints += 1
        tally.bytes += checkpoint.size
        for fault in problems(reader, checkpoint):
            remedy = remedy_of_damage(reader, checkpoint, resuming=snapshot.state != "finished")
            where = f"step {checkpoint.step}"
            yield Finding(home, f"checkpoint of {where}: {fault}", remedy, fault="checkpoint", where=where)
    for record in snapshot.records:
        if record.sha256 is None:
            continue
        path = reader.resolve(record.path)
        tally.files += 1
        tally.bytes += record.size
        if not path.exists():
            again = "" if snapshot.state == "finished" else ", or resume the run to write it again"
            remedy = f"Restore it from a copy{again}."
            yield Finding(home, f"{path} is missing", remedy, fault="missing", path=str(path))
        elif durable.sha256_file(path) != record.sha256:
            remedy = "Restore it from a copy: it was edited, or the disk is failing."
            what = f"{path} has other bytes than were written"
            yield Finding(home, what, remedy, fault="changed", path=str(path))
    yield from _recomputed(reader, home, trust=trust)
    for path in () if reader.is_alive() else sorted(filter(durable.is_temporary, reader.home.iterdir())):
        what, remedy = f"{path} is a partial file of a killed process", "Resuming the run removes it."
        yield Finding(home, what, remedy, True, "leftover", str(path))


def _unreadable(home: str, error: TrainyardError, remedy: str = "") -> Finding:
    return Finding(home, error.what, error.remedy or remedy, fault="unreadable", path=error.place or "")


def _differing(kept: Snapshot, folded: Snapshot) -> list[str]:
    """The keys in which two snapshots of a run differ. `state` is left out: for a dead run the lock decides it."""
    one, other = ({key: json.dumps(value) for key, value in snapshot.to_dict().items()} for snapshot in (kept, folded))
    return [key for key in one if key not in ("state", "journal_bytes") and one[key] != other[key]]


def _recomputed(reader: RunReader, home: str, *, trust: bool) -> Iterator[Finding]:
    """Every stored value that does not follow from the saved predictions."""
    snapshot = reader.snapshot

    def existing(kind: str) -> list[tuple[str, Path]]:
        found = ((str(r.facts.get("split")), reader.resolve(r.path)) for r in snapshot.records if r.kind == kind)
        return [(split, path) for split, path in found if path.exists()]

    predictions, tables = existing("final_predictions"), dict(reversed(existing("per_class")))
    if reader.is_alive() or not predictions:
        return  # while a run is ending, its predictions are newer than its summary
    try:
        from trainyard.analysis.recorded import rule_of
        from trainyard.analysis.scoring import Saved, scoring_class

        scoring = scoring_class(snapshot.task.get("name"), trust=trust)
    except ModuleNotFoundError as error:
        missing = str(error.name).partition(".")[0]
        what = f"the predictions were not recomputed: {missing} is missing"
        remedy = "Run `pip install 'trainyard[train]'`."
        yield Finding(home, what, remedy, True, "unchecked", where=missing)
        return
    except UnsafeTargetError as error:
        what = f"the predictions were not recomputed: {error.what}"
        yield Finding(home, what, error.remedy, True, "unchecked", where=str(error.value))
        return
    for split, path in predictions:
        again = f"`trainyard evaluate {snapshot.id} --split {split}` to measure again"
        remedy = f"One of the two was changed after the run wrote it: restore it from a copy, or run {again}."
        table = tables.get(split)
        subjects = {"predictions": path, "statistics": table, "summary": f"the summary of run {snapshot.name}"}
        try:
            saved = Saved(path, table, of_split(snapshot.summary, split), rule_of(reader))
            for subject, found in groupby(scoring.disagreements(saved), key=lambda one: one.of):
                at = str(table if subject == "statistics" else path)
                for sentence, where, stored, recomputed in _sentences(found, split):
                    what = f"{subjects[subject]}: {sentence}, from {path.name}"
                    yield Finding(home, what, remedy, False, "disagrees", at, where, stored, recomputed)
        except TrainyardError as error:  # an unreadable file is reported like any other fault
            yield _unreadable(home, error, remedy)


def _sentences(disagreements: Iterable[Disagreement], split: str) -> Iterator[tuple[str, str, str, str]]:
    """Sentence, where, stored, recomputed for each of the first disagreements; for all others, one sentence alone."""
    rest = iter(disagreements)
    for found in islice(rest, _NAMED):
        where = str(Metric(split, found.where)) if found.of == "summary" else found.where
        yield f"{where} is {found.stored}, recomputed {found.recomputed}", where, found.stored, found.recomputed
    more = sum(1 for _ in rest)
    if more:
        yield f"{more:,} more values differ from those recomputed", "", "", ""


def verify_yard(yard: Yard, tally: Tally, *, trust: bool = False) -> Iterator[Finding]:
    """Yields every fault of every run and artifact in the yard."""
    for home in sorted(find_homes(yard)):
        try:
            reader = RunReader(yard, home)
        except CorruptError as error:
            tally.runs += 1
            yield _unreadable(yard.relative(home), error)
            continue
        yield from verify_run(reader, tally, trust=trust)
    yield from _artifacts(yard, tally)


def _artifacts(yard: Yard, tally: Tally) -> Iterator[Finding]:
    """Yields every fault of every artifact in the yard, with the artifact's reference as the home."""
    store = Artifacts(yard)
    for series in store.all_series():
        try:
            series.notes()
        except CorruptError as error:
            yield _unreadable(f"{series.project}/{series.name}", error)
    for version in store.versions():
        if not isinstance(version, Version):
            yield _unreadable(version.reference, version.error)
            continue
        tally.artifacts += 1
        tally.files += len(version.files)
        tally.bytes += version.size
        for fault in store.faults(version):
            remedy = "Log the same content again, which repairs it; or use another version."
            yield Finding(version.reference, fault, remedy, fault="artifact")
