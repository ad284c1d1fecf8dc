"""The journal folded into one object: the content of `run.json`, and what readers see.

Pure functions of events; touches no disk. `Snapshot.apply` adds one event.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
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
        _HANDLERS[type(event)](self, event)


def fold(happened: Iterable[Event]) -> Snapshot:
    """The snapshot after these events."""
    snapshot = Snapshot()
    for event in happened:
        snapshot.apply(event)
    return snapshot


def _created(run: Snapshot, event: events.Created) -> None:
    run.created = event.at
    run.id, run.name = event.id, event.name
    run.project, run.dataset, run.model = event.project, event.dataset, event.model
    run.layout, run.home, run.facts = event.layout, event.home, event.facts
    run.seed, run.tags, run.note, run.config = event.seed, event.tags, event.note, event.config


def _attempt(run: Snapshot, event: events.AttemptBegan) -> None:
    if run.attempts and run.attempts[-1].ended is None:
        run.attempts[-1].state = "crashed"
    run.attempts.append(Attempt(event.n, event.pid, event.host, started=event.at, resumed_from=event.resumed_from))
    run.started = run.started or event.at
    run.state, run.ended, run.error = "running", None, None
    if len(run.attempts) > 1:
        run.step = event.resumed_from or 0
        checkpoint = run.checkpoint(run.step)
        run.epoch = checkpoint.epoch if checkpoint is not None else 0.0
        if run.best is not None and run.best.step > run.step:
            run.best = None  # superseded like the rows; the resumed training reports it again


def _progress(run: Snapshot, event: events.Progressed) -> None:
    run.step, run.epoch, run.best = event.step, event.epoch, event.best
    run.metrics.update(event.metrics)


def _checkpoint(run: Snapshot, event: events.CheckpointCommitted) -> None:
    new = CheckpointRecord(
        event.step, event.epoch, event.format, event.metrics, event.files, dict(event.paths), at=event.at
    )
    _insert(run, new)


def _insert(run: Snapshot, new: CheckpointRecord) -> None:
    others = [c for c in run.checkpoints if c.step != new.step]
    run.checkpoints = sorted(
        [*others, new], key=lambda c: c.step
    )  # a new list: another thread may be reading the old one


def _published(run: Snapshot, event: events.Published) -> None:
    for checkpoint in run.checkpoints:
        if checkpoint.step == event.step:
            checkpoint.paths[event.place] = event.path
        elif checkpoint.paths.get(event.place) == event.path:
            del checkpoint.paths[event.place]  # the fixed name now belongs to the newer checkpoint
    run.checkpoints = [c for c in run.checkpoints if c.paths]


def _dropped(run: Snapshot, event: events.Dropped) -> None:
    for checkpoint in run.checkpoints:
        if checkpoint.step == event.step:
            checkpoint.paths.pop(event.place, None)
            if event.resumable is not None:
                checkpoint.resumable = event.resumable
            gone = set(event.files)  # files that are in no remaining place
            checkpoint.files = [file for file in checkpoint.files if file["name"] not in gone]
    run.checkpoints = [c for c in run.checkpoints if c.paths]


def _quarantined(run: Snapshot, event: events.Quarantined) -> None:
    _dropped(run, events.Dropped(event.step, event.place, event.path))


def _stripped(run: Snapshot, event: events.Stripped) -> None:
    checkpoint = run.checkpoint(event.step)
    if checkpoint is not None:
        gone = set(event.files)
        checkpoint.files = [file for file in checkpoint.files if file["name"] not in gone]
        checkpoint.resumable = False


def _restored(run: Snapshot, event: events.Restored) -> None:
    _insert(run, replace(event.checkpoint, paths=dict(event.checkpoint.paths)))


def _record(run: Snapshot, event: events.RecordWritten) -> None:
    run.records = [r for r in run.records if r.path != event.path]
    run.records.append(Record(event.kind, event.path, event.size, event.sha256, event.at, event.facts))


def _removed(run: Snapshot, event: events.RecordRemoved) -> None:
    run.records = [r for r in run.records if r.path != event.path]


def _ended(run: Snapshot, event: events.Ended) -> None:
    run.state, run.ended, run.error = event.state, event.at, event.error
    attempt = run.attempts[-1]
    attempt.state, attempt.ended, attempt.reason = event.state, event.at, event.error


def _warning(run: Snapshot, event: events.Warned) -> None:
    if event.text not in run.warnings:
        run.warnings.append(event.text)


def _task(run: Snapshot, event: events.TaskChosen) -> None:
    run.task = {"name": event.name, "headline": event.headline, "directions": event.directions}


def _data(run: Snapshot, event: events.DataSeen) -> None:
    run.data = event.data


def _summary(run: Snapshot, event: events.Summarised) -> None:
    run.summary.update(event.values)


def _parent(run: Snapshot, event: events.ParentUsed) -> None:
    parent = {"run": event.run, "step": event.step, "role": event.role}
    if parent not in run.parents:
        run.parents.append(parent)


def _artifact(run: Snapshot, event: events.ArtifactLinked) -> None:
    artifact = {"role": event.role, "artifact": event.artifact, "type": event.type}
    if artifact not in run.artifacts:
        run.artifacts.append(artifact)


_HANDLERS: Mapping[type[Event], Callable[[Snapshot, Any], None]] = {
    events.Created: _created,
    events.AttemptBegan: _attempt,
    events.Progressed: _progress,
    events.CheckpointCommitted: _checkpoint,
    events.Published: _published,
    events.Dropped: _dropped,
    events.Quarantined: _quarantined,
    events.Stripped: _stripped,
    events.Restored: _restored,
    events.RecordWritten: _record,
    events.RecordRemoved: _removed,
    events.Ended: _ended,
    events.Warned: _warning,
    events.TaskChosen: _task,
    events.DataSeen: _data,
    events.Summarised: _summary,
    events.ParentUsed: _parent,
    events.ArtifactLinked: _artifact,
}
