"""The events of a run: a frozen dataclass for each, and its encoding as a line of the journal.

A writer accepts only these, and a snapshot is folded from these alone. On disk an event is a JSON object with
the time (`at`), its journal name (`event`) and a key per field. Events and keys of a later version are ignored;
a key that was added after a journal was written takes its default.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field
from typing import Any, ClassVar

from trainyard.errors import CorruptError

_OMITTED = {"omitted_at_default": True}  # metadata of fields that a line omits when they have their default


def known_fields(cls: type, data: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of `data` that are fields of the dataclass `cls`."""
    return {item.name: data[item.name] for item in dataclasses.fields(cls) if item.name in data}


@dataclass(frozen=True)
class BestStep:
    """The best step so far. `metric` is the one that chose it; None in journals that did not record it."""

    step: int
    epoch: float | None
    value: float | None
    metric: str | None = None


@dataclass
class CheckpointRecord:
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
        """Bytes of its files, each counted once, shared with other checkpoints or not."""
        return sum(file["size"] for file in self.files)


@dataclass(frozen=True)
class Event:
    """Base of the events. `at` is the time in UTC; empty: set when the event is written to the journal."""

    journal_name: ClassVar[str]
    at: str = field(default="", kw_only=True)


@dataclass(frozen=True)
class Created(Event):
    """The run exists: its identity, home and configuration."""

    journal_name = "created"
    id: str
    project: str
    dataset: str
    model: str
    name: str
    layout: str
    home: str
    facts: dict[str, str]
    seed: int | None
    tags: list[str]
    note: str
    config: dict[str, Any]


@dataclass(frozen=True)
class AttemptBegan(Event):
    """A process started to work on the run, from the step `resumed_from` (None: from the beginning)."""

    journal_name = "attempt"
    n: int
    pid: int
    host: str
    resumed_from: int | None


@dataclass(frozen=True)
class Ended(Event):
    """The attempt ended as `state`: finished, stopped or failed."""

    journal_name = "ended"
    state: str
    error: str | None


@dataclass(frozen=True)
class TaskChosen(Event):
    """The task that the run trains for. `headline`: metrics that a list or a console line shows first.

    `directions` maps the name of a metric to "min" or "max".
    """

    journal_name = "task"
    name: str
    headline: list[str]
    directions: dict[str, str]


@dataclass(frozen=True)
class DataSeen(Event):
    """The data's name, sizes and fingerprint."""

    journal_name = "data"
    data: dict[str, Any]


@dataclass(frozen=True)
class Progressed(Event):
    """Training reached a step. `best` is the best step so far, None before there is one."""

    journal_name = "progress"
    step: int
    epoch: float
    metrics: dict[str, float]
    best: BestStep | None = None


@dataclass(frozen=True)
class Summarised(Event):
    """Final values: what lists and comparisons show."""

    journal_name = "summary"
    values: dict[str, Any]


@dataclass(frozen=True)
class Warned(Event):
    """A warning for the user."""

    journal_name = "warning"
    text: str


@dataclass(frozen=True)
class CheckpointCommitted(Event):
    """A complete checkpoint is on disk."""

    journal_name = "checkpoint"
    step: int
    epoch: float
    format: str
    metrics: dict[str, float]
    files: list[dict[str, Any]]
    paths: dict[str, str]


@dataclass(frozen=True)
class Published(Event):
    """A checkpoint has the published name `path` for `place`; another that had it has lost it."""

    journal_name = "published"
    step: int
    place: str
    path: str


@dataclass(frozen=True)
class Dropped(Event):
    """A checkpoint was removed from a place. `files`: those that are in no other place of it.

    `resumable` is None when dropping the place did not change it.
    """

    journal_name = "dropped"
    step: int
    place: str
    path: str
    why: str | None = field(default=None, metadata=_OMITTED)
    resumable: bool | None = field(default=None, metadata=_OMITTED)
    files: list[str] = field(default_factory=list, metadata=_OMITTED)


@dataclass(frozen=True)
class Quarantined(Event):
    """A damaged checkpoint was set aside from a place."""

    journal_name = "quarantined"
    step: int
    place: str
    path: str
    why: str


@dataclass(frozen=True)
class Stripped(Event):
    """A checkpoint lost the files that only resuming needs."""

    journal_name = "stripped"
    step: int
    files: list[str]
    why: str | None = field(default=None, metadata=_OMITTED)


@dataclass(frozen=True)
class Restored(Event):
    """A checkpoint, or a part of it, was restored from the trash: its record is now `checkpoint`."""

    journal_name = "restored"
    checkpoint: CheckpointRecord


@dataclass(frozen=True)
class RecordWritten(Event):
    """A file or directory of record is on disk; `sha256` is None for a directory."""

    journal_name = "record"
    kind: str
    path: str
    size: int
    sha256: str | None
    facts: dict[str, Any]


@dataclass(frozen=True)
class RecordRemoved(Event):
    """A record was removed."""

    journal_name = "removed"
    path: str
    why: str | None = field(default=None, metadata=_OMITTED)


@dataclass(frozen=True)
class ParentUsed(Event):
    """The run uses step `step` of another run; `role` is its use, such as "teacher"."""

    journal_name = "parent"
    run: str
    step: int | None
    role: str


@dataclass(frozen=True)
class ArtifactLinked(Event):
    """The run logged or used a version of an artifact; `role` is "logged" or "used"."""

    journal_name = "artifact"
    role: str
    artifact: str
    type: str


_KINDS: Mapping[str, type[Event]] = {kind.journal_name: kind for kind in Event.__subclasses__()}
_NESTED: Mapping[str, type[BestStep | CheckpointRecord]] = {"best": BestStep, "checkpoint": CheckpointRecord}


def encode(event: Event) -> dict[str, Any]:
    """The JSON object of a journal line."""
    record: dict[str, Any] = {"at": event.at, "event": event.journal_name}
    for item in dataclasses.fields(event):
        value = getattr(event, item.name)
        if item.metadata.get("omitted_at_default") and value == _default(item):
            continue
        record[item.name] = asdict(value) if isinstance(value, BestStep | CheckpointRecord) else value
    return record


def _default(item: dataclasses.Field[Any]) -> Any:
    """The default of a field; MISSING when it has none."""
    return item.default if item.default_factory is MISSING else item.default_factory()


def decode(record: Mapping[str, Any]) -> Event | None:
    """The event of a journal line; None for one of a later version.

    Raises:
        CorruptError: a key without a default is missing; `value` lists the missing ones.
    """
    kind = _KINDS.get(record["event"])
    if kind is None:
        return None
    values = known_fields(kind, record)
    try:
        for name, nested in _NESTED.items():
            if values.get(name) is not None:
                values[name] = nested(**known_fields(nested, values[name]))
        return kind(**values)
    except TypeError as error:
        required = [item.name for item in dataclasses.fields(kind) if _default(item) is MISSING]
        what = f"The event {kind.journal_name!r} of {record.get('at')} lacks a key ({error})."
        remedy = "Restore the journal from a copy; `trainyard verify` names every damaged file."
        place = f"event {kind.journal_name} of {record.get('at')}"
        missing = [name for name in required if name not in values]
        raise CorruptError(what, remedy, value=missing, place=place) from None
