"""The journal folded into one object: the content of `run.json`, and what readers see.

Pure functions of events; touches no disk. `Snapshot.apply` adds one event.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from trainyard.runs import events
from trainyard.runs.events import BestStep, CheckpointRecord, Event

FORMAT = 1


@dataclass
class Attempt:
    """One process working on the run."""

    n: int
    pid: int
    host: str
    started: str
    resumed_from: int | None = None  # step; None: from the beginning
    ended: str | None = None
    state: str = "running"
    reason: str | None = None


@dataclass
class Record:
    """A file or directory written by the run, at `path` relative to the yard."""

    kind: str
    path: str
    size: int
    sha256: str | None = None
    at: str = ""
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass
class Snapshot:
    """The state of a run after all events of its journal. All paths are relative to the yard."""

    id: str = ""
    name: str = ""
    project: str = ""
    dataset: str = ""
    model: str = ""
    layout: str = ""
    state: str = "created"  # created, running, finished, stopped, failed; a reader adds crashed
    created: str = ""
    started: str | None = None
    ended: str | None = None
    home: str = ""
    facts: dict[str, str] = field(default_factory=dict)
    seed: int | None = None
    tags: list[str] = field(default_factory=list)
    note: str = ""
    config: dict[str, Any] = field(default_factory=dict)
    step: int = 0
    epoch: float = 0.0
    metrics: dict[str, float] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    best: BestStep | None = None
    task: dict[str, Any] = field(default_factory=dict)  # {"name", "headline", "directions"}; empty in old journals
    data: dict[str, Any] = field(default_factory=dict)
    attempts: list[Attempt] = field(default_factory=list)
    records: list[Record] = field(default_factory=list)
    checkpoints: list[CheckpointRecord] = field(default_factory=list)
    parents: list[dict[str, Any]] = field(default_factory=list)
    artifacts: list[dict[str, Any]] = field(default_factory=list)  # {"role": "logged" or "used", "artifact", "type"}
    warnings: list[str] = field(default_factory=list)
    error: str | None = None
    journal_bytes: int = 0
    format: int = FORMAT

    @property
    def size_bytes(self) -> int:
        """Bytes of all records and checkpoints, shared files counted each time."""
        return sum(r.size for r in self.records) + sum(c.size for c in self.checkpoints)

    def checkpoint(self, step: int) -> CheckpointRecord | None:
        """The checkpoint of this step, if it still exists."""
        return next((c for c in self.checkpoints if c.step == step), None)

    def to_dict(self) -> dict[str, Any]:
        """The contents of run.json."""
        return {**asdict(self), "size_bytes": self.size_bytes}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Snapshot:
        """The inverse of `to_dict`.

        Raises:
            TypeError: it is not a snapshot, or it is of another version.
        """
        if not isinstance(data, Mapping):
            raise TypeError(f"a snapshot must be a mapping, not {type(data).__name__}")
        plain = {key: value for key, value in data.items() if key != "size_bytes"}
        plain["attempts"] = [Attempt(**item) for item in plain["attempts"]]
        plain["records"] = [Record(**item) for item in plain["records"]]
        plain["checkpoints"] = [CheckpointRecord(**item) for item in plain["checkpoints"]]
        plain["best"] = None if plain["best"] is None else BestStep(**plain["best"])
        return cls(**plain)

    def apply(self, event: Event) -> None:
        """Updates the snapshot with one more event."""
        match event:
            case events.Created():
                self.id, self.created, self.home, self.name = event.id, event.at, event.home, event.name
                self.project, self.dataset, self.model = event.project, event.dataset, event.model
                self.layout, self.facts, self.config = event.layout, event.facts, event.config
                self.seed, self.tags, self.note = event.seed, event.tags, event.note
            case events.AttemptBegan():
                self._begin_attempt(event)
            case events.Ended():
                self.state, self.ended, self.error = event.state, event.at, event.error
                attempt = self.attempts[-1]
                attempt.state, attempt.ended, attempt.reason = event.state, event.at, event.error
            case events.TaskChosen():
                self.task = {"name": event.name, "headline": event.headline, "directions": event.directions}
            case events.DataSeen():
                self.data = event.data
            case events.Progressed():
                self.step, self.epoch, self.best = event.step, event.epoch, event.best
                self.metrics.update(event.metrics)
            case events.Summarised():
                self.summary.update(event.values)
            case events.Warned():
                _add(self.warnings, event.text)
            case events.CheckpointCommitted(step, epoch, format_, metrics, files, paths):
                self._insert(CheckpointRecord(step, epoch, format_, metrics, files, dict(paths), at=event.at))
            case events.Published():
                self._publish(event)
            case events.Dropped() | events.Quarantined():
                self._drop(event)
            case events.Stripped():
                checkpoint = self.checkpoint(event.step)
                if checkpoint is not None:
                    checkpoint.files = [file for file in checkpoint.files if file["name"] not in event.files]
                    checkpoint.resumable = False
            case events.Restored():
                self._insert(replace(event.checkpoint, paths=dict(event.checkpoint.paths)))
            case events.RecordWritten(kind, path, size, sha256, facts):
                kept = [record for record in self.records if record.path != path]
                self.records = [*kept, Record(kind, path, size, sha256, event.at, facts)]
            case events.RecordRemoved():
                self.records = [record for record in self.records if record.path != event.path]
            case events.ParentUsed():
                _add(self.parents, {"run": event.run, "step": event.step, "role": event.role})
            case events.ArtifactLinked():
                _add(self.artifacts, {"role": event.role, "artifact": event.artifact, "type": event.type})
            case _:
                raise TypeError(f"a snapshot cannot be folded from {type(event).__name__}")

    def _begin_attempt(self, event: events.AttemptBegan) -> None:
        if self.attempts and self.attempts[-1].ended is None:
            self.attempts[-1].state = "crashed"
        self.attempts.append(Attempt(event.n, event.pid, event.host, started=event.at, resumed_from=event.resumed_from))
        self.started = self.started or event.at
        self.state, self.ended, self.error = "running", None, None
        if len(self.attempts) > 1:
            self.step = event.resumed_from or 0
            checkpoint = self.checkpoint(self.step)
            self.epoch = checkpoint.epoch if checkpoint is not None else 0.0
            if self.best is not None and self.best.step > self.step:
                self.best = None  # superseded like the rows; the resumed training reports it again

    def _insert(self, new: CheckpointRecord) -> None:
        others = [checkpoint for checkpoint in self.checkpoints if checkpoint.step != new.step]
        # a new list: another thread may be reading the old one
        self.checkpoints = sorted([*others, new], key=lambda checkpoint: checkpoint.step)

    def _publish(self, event: events.Published) -> None:
        for checkpoint in self.checkpoints:
            if checkpoint.step == event.step:
                checkpoint.paths[event.place] = event.path
            elif checkpoint.paths.get(event.place) == event.path:
                del checkpoint.paths[event.place]  # the fixed name now belongs to the newer checkpoint
        self.checkpoints = [checkpoint for checkpoint in self.checkpoints if checkpoint.paths]

    def _drop(self, event: events.Dropped | events.Quarantined) -> None:
        checkpoint = self.checkpoint(event.step)
        if checkpoint is not None:
            checkpoint.paths.pop(event.place, None)
            if isinstance(event, events.Dropped):
                checkpoint.files = [file for file in checkpoint.files if file["name"] not in event.files]
                checkpoint.resumable = checkpoint.resumable if event.resumable is None else event.resumable
        self.checkpoints = [checkpoint for checkpoint in self.checkpoints if checkpoint.paths]


def _add(items: list[Any], item: object) -> None:
    if item not in items:
        items.append(item)


def fold(happened: Iterable[Event]) -> Snapshot:
    """The snapshot after these events."""
    snapshot = Snapshot()
    for event in happened:
        snapshot.apply(event)
    return snapshot
