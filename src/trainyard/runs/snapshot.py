"""The journal folded into one object: what `run.json` holds and what readers see.

Pure: events in, snapshot out; touches no disk. `Snapshot.apply` takes one more event.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

FORMAT = 1
Event = Mapping[str, Any]


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
    """One thing the run left: a file at `path`, relative to the yard."""

    kind: str
    path: str
    size: int
    sha256: str | None = None
    at: str = ""
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass
class Checkpoint:
    """A committed checkpoint.

    `paths` maps a place ("checkpoint": its own; "best", "final": published names) to a path
    relative to the yard. `files` are {"name", "size", "sha256"}; the single file of a
    one-file format has the name "".
    """

    step: int
    epoch: float
    format: str
    metrics: dict[str, float]
    files: list[dict[str, Any]]
    paths: dict[str, str]
    resumable: bool = True
    at: str = ""

    @property
    def size(self) -> int:
        """Bytes of its files, each counted once whatever they share with others."""
        return sum(file["size"] for file in self.files)


@dataclass
class Snapshot:
    """Everything the journal says about a run so far. All paths are relative to the yard."""

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
    best: dict[str, Any] | None = None
    data: dict[str, Any] = field(default_factory=dict)
    task: dict[str, Any] = field(default_factory=dict)
    attempts: list[Attempt] = field(default_factory=list)
    records: list[Record] = field(default_factory=list)
    checkpoints: list[Checkpoint] = field(default_factory=list)
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

    def checkpoint(self, step: int) -> Checkpoint | None:
        """The checkpoint of this step, if it still exists."""
        return next((c for c in self.checkpoints if c.step == step), None)

    def to_dict(self) -> dict[str, Any]:
        """The contents of run.json."""
        return {**asdict(self), "size_bytes": self.size_bytes}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Snapshot:
        """The inverse of `to_dict`.

        Raises:
            TypeError: it is no such thing, or of another version.
        """
        if not isinstance(data, Mapping):
            raise TypeError(f"a snapshot is a table, not {type(data).__name__}")
        plain = {key: value for key, value in data.items() if key != "size_bytes"}
        plain["attempts"] = [Attempt(**item) for item in plain["attempts"]]
        plain["records"] = [Record(**item) for item in plain["records"]]
        plain["checkpoints"] = [Checkpoint(**item) for item in plain["checkpoints"]]
        return cls(**plain)

    def apply(self, event: Event) -> None:
        """Takes one more event in. Events of a later version of the format are passed over."""
        handler = _HANDLERS.get(event["event"])
        if handler is not None:
            handler(self, event)


def fold(events: Iterable[Event]) -> Snapshot:
    """The snapshot after `events`."""
    snapshot = Snapshot()
    for event in events:
        snapshot.apply(event)
    return snapshot


def _created(run: Snapshot, event: Event) -> None:
    run.created = event["at"]
    for key in (
        "id",
        "name",
        "project",
        "dataset",
        "model",
        "layout",
        "home",
        "facts",
        "seed",
        "tags",
        "note",
        "config",
    ):
        setattr(run, key, event[key])


def _attempt(run: Snapshot, event: Event) -> None:
    resumed_from = event["resumed_from"]
    if run.attempts and run.attempts[-1].ended is None:
        run.attempts[-1].state = "crashed"
    run.attempts.append(
        Attempt(event["n"], event["pid"], event["host"], started=event["at"], resumed_from=resumed_from)
    )
    run.started = run.started or event["at"]
    run.state, run.ended, run.error = "running", None, None
    if len(run.attempts) > 1:
        run.step = resumed_from or 0
        checkpoint = run.checkpoint(run.step)
        run.epoch = checkpoint.epoch if checkpoint is not None else 0.0
        best = run.best
        if best is not None and best["step"] > run.step:
            run.best = None  # taken back with the rest; the resumed training says it again


def _progress(run: Snapshot, event: Event) -> None:
    run.step, run.epoch = event["step"], event["epoch"]
    run.metrics.update(event["metrics"])
    run.best = event.get("best", run.best)


def _checkpoint(run: Snapshot, event: Event) -> None:
    _insert(
        run,
        Checkpoint(
            event["step"],
            event["epoch"],
            event["format"],
            event["metrics"],
            event["files"],
            dict(event["paths"]),
            at=event["at"],
        ),
    )


def _insert(run: Snapshot, new: Checkpoint) -> None:
    others = [c for c in run.checkpoints if c.step != new.step]
    run.checkpoints = sorted([*others, new], key=lambda c: c.step)  # a new list: others may be reading the old


def _published(run: Snapshot, event: Event) -> None:
    for checkpoint in run.checkpoints:
        if checkpoint.step == event["step"]:
            checkpoint.paths[event["place"]] = event["path"]
        elif checkpoint.paths.get(event["place"]) == event["path"]:
            del checkpoint.paths[event["place"]]  # a fixed name now holds the newer one
    run.checkpoints = [c for c in run.checkpoints if c.paths]


def _dropped(run: Snapshot, event: Event) -> None:
    for checkpoint in run.checkpoints:
        if checkpoint.step == event["step"]:
            checkpoint.paths.pop(event["place"], None)
            checkpoint.resumable = event.get("resumable", checkpoint.resumable)
            gone = set(event.get("files", ()))  # what no remaining place holds
            checkpoint.files = [file for file in checkpoint.files if file["name"] not in gone]
    run.checkpoints = [c for c in run.checkpoints if c.paths]


def _stripped(run: Snapshot, event: Event) -> None:
    checkpoint = run.checkpoint(event["step"])
    if checkpoint is not None:
        gone = set(event["files"])
        checkpoint.files = [file for file in checkpoint.files if file["name"] not in gone]
        checkpoint.resumable = False


def _restored(run: Snapshot, event: Event) -> None:
    _insert(run, Checkpoint(**event["checkpoint"]))


def _record(run: Snapshot, event: Event) -> None:
    run.records = [r for r in run.records if r.path != event["path"]]
    run.records.append(
        Record(event["kind"], event["path"], event["size"], event["sha256"], event["at"], event["facts"])
    )


def _removed(run: Snapshot, event: Event) -> None:
    run.records = [r for r in run.records if r.path != event["path"]]


def _ended(run: Snapshot, event: Event) -> None:
    run.state, run.ended = event["state"], event["at"]
    run.error = event["error"]
    attempt = run.attempts[-1]
    attempt.state, attempt.ended, attempt.reason = event["state"], event["at"], event["error"]


def _warning(run: Snapshot, event: Event) -> None:
    if event["text"] not in run.warnings:
        run.warnings.append(event["text"])


def _data(run: Snapshot, event: Event) -> None:
    run.data = event["data"]


def _task(run: Snapshot, event: Event) -> None:
    run.task = {key: event[key] for key in ("name", "headline", "directions")}


def _summary(run: Snapshot, event: Event) -> None:
    run.summary.update(event["values"])


def _parent(run: Snapshot, event: Event) -> None:
    parent = {"run": event["run"], "step": event["step"], "role": event["role"]}
    if parent not in run.parents:
        run.parents.append(parent)


def _artifact(run: Snapshot, event: Event) -> None:
    artifact = {key: event[key] for key in ("role", "artifact", "type")}
    if artifact not in run.artifacts:
        run.artifacts.append(artifact)


_HANDLERS = {
    "created": _created,
    "attempt": _attempt,
    "progress": _progress,
    "checkpoint": _checkpoint,
    "published": _published,
    "dropped": _dropped,
    "quarantined": _dropped,
    "stripped": _stripped,
    "restored": _restored,
    "record": _record,
    "removed": _removed,
    "ended": _ended,
    "warning": _warning,
    "data": _data,
    "task": _task,
    "summary": _summary,
    "parent": _parent,
    "artifact": _artifact,
}
