"""Verifies that a run's files have the bytes that were written, and that its numbers follow from its predictions.

Reads every byte, recomputes statistics and metrics from the saved predictions, and changes nothing.
A run without predictions is verified without NumPy.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby, islice
from typing import TYPE_CHECKING

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

OTHER_BYTES = "Restore it from a copy: it was edited, or the disk is failing."
_NAMED = 10  # how many disagreements of one file are listed individually


@dataclass(frozen=True)
class Finding:
    """A fault: the run (its home, relative to the yard), what is wrong, and what to do.

    `harmless`: left behind by a kill; everything that was written is still there.
    """

    home: str
    what: str
    remedy: str
    harmless: bool = False


@dataclass
class Tally:
    """Counts of what was checked."""

    runs: int = 0
    checkpoints: int = 0
    files: int = 0
    bytes: int = 0
    artifacts: int = 0  # versions of them


def verify_run(reader: RunReader, tally: Tally, *, trust: bool = False) -> Iterator[Finding]:
    """Yields every fault of one run; adds to `tally`.

    `trust` allows importing a task of the user's own, to recompute its metrics.
    """
    home = reader.yard.relative(reader.home)
    tally.runs += 1
    try:
        events, good = read_journal(reader.home / ".run" / "journal.jsonl")
        if good != (reader.home / ".run" / "journal.jsonl").stat().st_size and not reader.is_alive():
            remedy = "The next resume cuts it off; no complete line is lost."
            yield Finding(home, "the journal ends in a torn line", remedy, harmless=True)
        if events and good == reader.snapshot.journal_bytes:  # otherwise it grew since, or run.json is not used
            changed = _differing(reader.snapshot, fold(events))
            if changed:
                remedy = "Remove that file: the journal has everything and is read instead."
                what = f"{reader.home / '.run' / 'run.json'} differs from the journal in: {', '.join(changed)}"
                yield Finding(home, what, remedy)
    except CorruptError as error:
        yield Finding(home, error.what, error.remedy)
    try:
        reader.history()
    except CorruptError as error:
        yield Finding(home, error.what, error.remedy)
    for checkpoint in reader.snapshot.checkpoints:
        tally.checkpoints += 1
        tally.bytes += checkpoint.size
        for fault in problems(reader, checkpoint):
            remedy = remedy_of_damage(reader, checkpoint, resuming=reader.snapshot.state != "finished")
            yield Finding(home, f"checkpoint of step {checkpoint.step}: {fault}", remedy)
    for record in reader.snapshot.records:
        if record.sha256 is None:
            continue
        path = reader.resolve(record.path)
        tally.files += 1
        tally.bytes += record.size
        if not path.exists():
            again = "" if reader.snapshot.state == "finished" else ", or resume the run to write it again"
            yield Finding(home, f"{path} is missing", f"Restore it from a copy{again}.")
        elif durable.sha256_file(path) != record.sha256:
            yield Finding(home, f"{path} has other bytes than were written", OTHER_BYTES)
    for what, remedy, harmless in _recomputed(reader, trust=trust):
        yield Finding(home, what, remedy, harmless)
    for fault in _leftovers(reader):
        yield Finding(home, fault, "It is removed when the run is resumed.", harmless=True)


def _differing(kept: Snapshot, folded: Snapshot) -> list[str]:
    """The fields in which two snapshots of a run differ, without the state, which depends on the lock, too."""
    one, other = ({key: json.dumps(value) for key, value in snapshot.to_dict().items()} for snapshot in (kept, folded))
    return [key for key in one if key not in ("state", "journal_bytes") and one[key] != other[key]]


def _recomputed(reader: RunReader, *, trust: bool) -> Iterator[tuple[str, str, bool]]:
    """Stored values that do not follow from the saved predictions: a sentence, the remedy, whether it is harmless."""
    records = [
        (record, path)
        for record in reader.snapshot.records
        if record.kind in ("final_predictions", "per_class") and (path := reader.resolve(record.path)).exists()
    ]
    if reader.is_alive() or not any(record.kind == "final_predictions" for record, _ in records):
        return  # while a run is ending, its predictions are newer than its summary
    try:
        from trainyard.analysis.classification.recorded import rule_of
        from trainyard.analysis.scoring import Saved, scoring_class

        scoring = scoring_class(reader.snapshot.task.get("name"), trust=trust)
    except ModuleNotFoundError as error:
        yield (
            f"the predictions were not recomputed: {error.name} is missing",
            "Run `pip install 'trainyard[train]'`.",
            True,
        )
        return
    except UnsafeTargetError as error:
        yield f"the predictions were not recomputed: {error.what}", error.remedy, True
        return
    name = reader.snapshot.name
    for record, path in records:
        split = str(record.facts.get("split"))
        if record.kind != "final_predictions":
            continue
        remedy = (
            f"One of the two was changed after the run wrote it: restore it from a copy, or `trainyard evaluate "
            f"{reader.snapshot.id} --split {split}` measures again."
        )
        tables = [table for other, table in records if other.kind == "per_class" and other.facts.get("split") == split]
        subjects = {
            "predictions": str(path),
            "statistics": str(tables[0]) if tables else "",
            "summary": f"the summary of run {name}",
        }
        try:
            rule = rule_of(reader)
            saved = Saved(path, tables[0] if tables else None, of_split(reader.snapshot.summary, split), rule)
            for subject, found in groupby(scoring.disagreements(saved), key=lambda one: one.of):
                for sentence in _sentences(found, split):
                    yield f"{subjects[subject]}: {sentence}, from {path.name}", remedy, False
        except TrainyardError as error:  # an unreadable file is reported like any other fault
            yield error.what, error.remedy or remedy, False


def _sentences(disagreements: Iterable[Disagreement], split: str) -> Iterator[str]:
    """One sentence for each of the first disagreements, and one for all others."""
    rest = iter(disagreements)
    for found in islice(rest, _NAMED):
        where = str(Metric(split, found.where)) if found.of == "summary" else found.where
        yield f"{where} is {found.stored}, recomputed {found.recomputed}"
    more = sum(1 for _ in rest)
    if more:
        yield f"{more:,} more values differ from those recomputed"


def _leftovers(reader: RunReader) -> Iterator[str]:
    if not reader.is_alive():
        for path in sorted(reader.home.iterdir()):
            if durable.is_temporary(path):
                yield f"{path} was left half-written by a killed process"


def verify_yard(yard: Yard, tally: Tally, *, trust: bool = False) -> Iterator[Finding]:
    """Yields every fault of every run and artifact in the yard."""
    for home in sorted(find_homes(yard)):
        try:
            reader = RunReader(yard, home)
        except CorruptError as error:
            tally.runs += 1
            yield Finding(yard.relative(home), error.what, error.remedy)
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
            yield Finding(f"{series.project}/{series.name}", error.what, error.remedy)
    for version in store.versions():
        if not isinstance(version, Version):
            yield Finding(version.reference, version.error.what, version.error.remedy)
            continue
        tally.artifacts += 1
        tally.files += len(version.files)
        tally.bytes += version.size
        for fault in store.faults(version):
            remedy = "Log the same content again, which repairs it; or use another version."
            yield Finding(version.reference, fault, remedy)
