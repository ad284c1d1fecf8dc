"""Runs: their identity, events, journal, history, snapshot and lock; how they are made, opened and written.

Knows nothing of torch, of tensors or of what trains. Everything a run says about itself is in
`<home>/.run/`; what it leaves for people is where its layout says.
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
