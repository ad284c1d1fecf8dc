"""What can happen to a run: a frozen dataclass per event, and how each becomes a line of the journal.

These are the only things that a writer takes and that a snapshot is folded from. On disk an event is
an object with the time (`at`), its journal name (`event`) and a key per field. Events and keys of a
later version are ignored; a key that was added after a journal was written takes its default.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, asdict, dataclass, field
from typing import Any, ClassVar, Self

from trainyard.errors import CorruptError

_OMITTED = {"omitted_at_default": True}  # metadata of fields that a line names only when they say something


def known_fields(cls: type, data: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of `data` that are fields of the dataclass `cls`."""
    return {item.name: data[item.name] for item in dataclasses.fields(cls) if item.name in data}


@dataclass(frozen=True)
class BestStep:
    """The best step so far. `metric` is the one that chose it; None in journals that did not keep it."""

    step: int
    epoch: float | None
    value: float | None
    metric: str | None = None

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """The inverse of `asdict`; unknown keys are ignored."""
        return cls(**known_fields(cls, data))


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
        """Bytes of its files, each counted once whatever they share with others."""
        return sum(file["size"] for file in self.files)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """The inverse of `asdict`; unknown keys are ignored."""
        return cls(**known_fields(cls, data))


@dataclass(frozen=True)
class Event:
    """Something that happened. `at` is when, in UTC; empty: the moment it is written to the journal."""

    journal_name: ClassVar[str]
    at: str = field(default="", kw_only=True)


# -- the run and its attempts


@dataclass(frozen=True)
class Created(Event):
    """The run exists: who it is, where, and what it was asked to do."""

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


# -- training


@dataclass(frozen=True)
class TaskChosen(Event):
    """What the run learns to do. `headline`: metrics that a list or a console line shows first.

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
    """Something a person should know."""

    journal_name = "warning"
    text: str


# -- checkpoints


@dataclass(frozen=True)
class CheckpointCommitted(Event):
    """A whole checkpoint is on disk."""

    journal_name = "checkpoint"
    step: int
    epoch: float
    format: str
    metrics: dict[str, float]
    files: list[dict[str, Any]]
    paths: dict[str, str]


@dataclass(frozen=True)
class Published(Event):
    """A checkpoint has the published name `path` for `place`; no other checkpoint has it any more."""

    journal_name = "published"
    step: int
    place: str
    path: str


@dataclass(frozen=True)
class Dropped(Event):
    """A checkpoint is gone from a place. `files`: those that no other place of it holds.

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
    """A checkpoint, or a part of it, came back from the trash: it is `checkpoint` now."""

    journal_name = "restored"
    checkpoint: CheckpointRecord


# -- other files, and other runs


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
    """A record is gone."""

    journal_name = "removed"
    path: str
    why: str | None = field(default=None, metadata=_OMITTED)


@dataclass(frozen=True)
class ParentUsed(Event):
    """The run was made from step `step` of another run; `role` says how, such as "teacher"."""

    journal_name = "parent"
    run: str
    step: int | None
    role: str


@dataclass(frozen=True)
class ArtifactLinked(Event):
    """The run logged or used a version of an artifact; `role` says which."""

    journal_name = "artifact"
    role: str
    artifact: str
    type: str


_KINDS: Mapping[str, type[Event]] = {
    kind.journal_name: kind
    for kind in (
        Created,
        AttemptBegan,
        Ended,
        TaskChosen,
        DataSeen,
        Progressed,
        Summarised,
        Warned,
        CheckpointCommitted,
        Published,
        Dropped,
        Quarantined,
        Stripped,
        Restored,
        RecordWritten,
        RecordRemoved,
        ParentUsed,
        ArtifactLinked,
    )
}
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
    return item.default if item.default_factory is MISSING else item.default_factory()


def decode(record: Mapping[str, Any]) -> Event | None:
    """The event of a journal line; None for one of a later version.

    Raises:
        CorruptError: a key is missing that the event always had.
    """
    kind = _KINDS.get(record["event"])
    if kind is None:
        return None
    values = known_fields(kind, record)
    try:
        for name, nested in _NESTED.items():
            if values.get(name) is not None:
                values[name] = nested.from_dict(values[name])
        return kind(**values)
    except TypeError as error:
        raise CorruptError(
            f"The event {kind.journal_name!r} of {record.get('at')} lacks a key ({error}).",
            "Restore the journal from a copy; `trainyard verify` names every damaged file.",
        ) from None


def decode_all(records: Iterable[Mapping[str, Any]]) -> list[Event]:
    """The events of journal lines, in order, without those of a later version."""
    return [event for record in records if (event := decode(record)) is not None]
