"""Is everything a run left still what was written? Reads every byte; changes nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from trainyard import durable
from trainyard.checkpoints import problems
from trainyard.errors import CorruptError
from trainyard.runs import RunReader, find_homes
from trainyard.runs.journal import read_journal
from trainyard.runs.yard import Yard


@dataclass(frozen=True)
class Finding:
    """Something wrong: in which run (its home, relative to the yard), with what, and what to do.

    `harmless`: what a kill leaves behind. Everything that was written is still there.
    """

    home: str
    what: str
    remedy: str
    harmless: bool = False


@dataclass
class Tally:
    """What was looked at."""

    runs: int = 0
    checkpoints: int = 0
    files: int = 0
    bytes: int = 0


def verify_run(reader: RunReader, tally: Tally) -> Iterator[Finding]:
    """Every fault of one run, as it is found; counts into `tally`."""
    home = reader.yard.relative(reader.home)
    tally.runs += 1
    try:
        _, good = read_journal(reader.home / ".run" / "journal.jsonl")
        if good != (reader.home / ".run" / "journal.jsonl").stat().st_size and not reader.is_alive():
            remedy = "The next resume cuts it off; nothing whole is lost."
            yield Finding(home, "the journal ends in a torn line", remedy, harmless=True)
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
            yield Finding(home, f"checkpoint of step {checkpoint.step}: {fault}", _use_another(reader, checkpoint.step))
    for record in reader.snapshot.records:
        if record.sha256 is None:
            continue
        path = reader.resolve(record.path)
        tally.files += 1
        tally.bytes += record.size
        if not path.exists():
            yield Finding(home, f"{path} is missing", "Restore it from a copy, or resume the run to write it again.")
        elif durable.sha256_file(path) != record.sha256:
            yield Finding(home, f"{path} has other bytes than were written", "It was edited, or the disk is failing.")
    for fault in _leftovers(reader):
        yield Finding(home, fault, "It is removed when the run is resumed.", harmless=True)


def _use_another(reader: RunReader, step: int) -> str:
    others = [str(c.step) for c in reader.snapshot.checkpoints if c.step != step]
    return f"Resume goes on from an earlier whole one (steps {', '.join(others)})." if others else "It is the only one."


def _leftovers(reader: RunReader) -> Iterator[str]:
    if not reader.is_alive():
        for path in sorted(reader.home.iterdir()):
            if durable.is_temporary(path):
                yield f"{path} was left half-written by a killed process"


def verify_yard(yard: Yard, tally: Tally) -> Iterator[Finding]:
    """Every fault of every run in the yard."""
    for home in sorted(find_homes(yard)):
        try:
            reader = RunReader(yard, home)
        except CorruptError as error:
            tally.runs += 1
            yield Finding(yard.relative(home), error.what, error.remedy)
            continue
        yield from verify_run(reader, tally)
