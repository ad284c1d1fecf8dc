"""Runs: their identity, events, journal, history, snapshot and lock; how they are created, opened and written.

Knows nothing of torch, tensors or training. Trainyard's own files about a run are in `<home>/.run/`; files for
people are where the layout puts them.
"""

from trainyard.runs.events import BestStep, CheckpointRecord, Event
from trainyard.runs.history import read_history
from trainyard.runs.reader import RunReader, find_homes
from trainyard.runs.snapshot import Attempt, Record, Snapshot
from trainyard.runs.writer import RunWriter, amend, checked_names, create_run, resume_run
from trainyard.runs.yard import Yard

__all__ = [
    "Attempt",
    "BestStep",
    "CheckpointRecord",
    "Event",
    "Record",
    "RunReader",
    "RunWriter",
    "Snapshot",
    "Yard",
    "amend",
    "checked_names",
    "create_run",
    "find_homes",
    "read_history",
    "resume_run",
]
