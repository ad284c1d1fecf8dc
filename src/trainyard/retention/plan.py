"""A plan: what would be removed, why, how many bytes that frees, and what is spared. Deletes nothing.

`cleaning` builds plans from decisions, `apply` carries them out. A plan is plain data, so that a dry
run costs nothing and a killed one can be completed from the trash.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from trainyard import durable
from trainyard.checkpoints.reader import faults
from trainyard.retention.measure import measure
from trainyard.runs import CheckpointRecord, Event, Snapshot, Yard
from trainyard.runs.events import Dropped, RecordRemoved, Stripped
from trainyard.units import human_size

Action = Literal["drop", "strip", "remove", "delete", "file"]
EVENTS: Mapping[Action, type[Event]] = {"drop": Dropped, "strip": Stripped, "remove": RecordRemoved}


@dataclass(frozen=True)
class PlanItem:
    """One thing to remove.

    `action`: "drop" a checkpoint from a place, "strip" files from a checkpoint, "remove" a record, "delete" a
    whole run, or remove a "file" that no journal lists. `paths` are the current paths of the files, relative to
    the yard, a run's home first; `home` likewise. `data` are the fields of the journal's event, `before` the
    checkpoint or record as it was, `attempts` how many the run had.
    """

    action: Action
    what: str
    why: str
    paths: tuple[str, ...]
    run_id: str = ""
    run_name: str = ""
    home: str = ""
    data: Mapping[str, Any] = field(default_factory=dict)
    before: Mapping[str, Any] = field(default_factory=dict)
    attempts: int = 0
    bytes_apparent: int = 0
    bytes_freed: int = 0

    @property
    def full_name(self) -> str:
        """What it is, and of which run."""
        return f"{self.what} of {self.run_name} ({self.run_id})" if self.run_id else self.what

    def to_dict(self) -> dict[str, Any]:
        """As plain data for JSON."""
        event = EVENTS.get(self.action)
        return {**asdict(self), "event": event and event.journal_name}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> PlanItem:
        """The inverse of `to_dict`."""
        plain = {key: value for key, value in data.items() if key != "event"}
        return cls(**{**plain, "paths": tuple(plain["paths"])})

    def is_recorded(self, snapshot: Snapshot) -> bool:
        """Whether the run's journal still lists, or lists again, what this removes."""
        if self.action == "drop":
            return any(self.data["path"] in checkpoint.paths.values() for checkpoint in snapshot.checkpoints)
        if self.action == "strip":
            checkpoint = snapshot.checkpoint(self.data["step"])
            return checkpoint is not None and any(file["name"] in self.data["files"] for file in checkpoint.files)
        return any(record.path == self.data["path"] for record in snapshot.records)

    def is_as_it_was(self, place: Path) -> bool:
        """Whether the file or directory at `place` has exactly the bytes that the run recorded."""
        if self.action == "remove":
            digest = self.before["sha256"]
            return digest is None or (place.is_file() and durable.sha256_file(place) == str(digest))
        checkpoint = CheckpointRecord(**self.before)
        if self.action == "drop":
            return not faults(checkpoint, self.data["place"], place)
        digests = {file["name"]: str(file["sha256"]) for file in checkpoint.files}
        return durable.sha256_file(place) == digests[place.name]


@dataclass(frozen=True)
class Spared:
    """Something that was considered and is kept, with the reason."""

    run_id: str
    run_name: str
    what: str
    why: str


@dataclass(frozen=True)
class Plan:
    """What to remove, in order, and what is spared. `kind` is "clean" or "rotation"."""

    title: str
    items: tuple[PlanItem, ...] = ()
    spared: tuple[Spared, ...] = ()
    kind: Literal["clean", "rotation"] = "clean"

    @property
    def bytes_apparent(self) -> int:
        """The sum of the files' sizes, counting each link."""
        return sum(item.bytes_apparent for item in self.items)

    @property
    def bytes_freed(self) -> int:
        """What emptying the trash will free: an inode counts when its last link is removed."""
        return sum(item.bytes_freed for item in self.items)

    def describe(self) -> str:
        """The plan as text: what, why, how many bytes. Ends with a newline."""
        return "\n".join(self._lines()) + "\n"

    def _lines(self) -> Iterator[str]:
        yield self.title
        run = None
        for item in self.items:
            if item.run_id != run and item.run_id:
                yield f"  {item.run_name} ({item.run_id})"
            run = item.run_id
            yield f"    {item.what}: {item.why} [{_sizes(item.bytes_apparent, item.bytes_freed)}]"
        if self.spared:
            yield "  Spared:"
            for spared in self.spared:
                whose = f" of {spared.run_name} ({spared.run_id})" if spared.run_id else ""
                yield f"    {spared.what}{whose}: {spared.why}"
        if not self.items:
            yield "  Nothing to do."
            return
        yield f"  {len(self.items)} to remove, {human_size(self.bytes_apparent)} in files."
        freed = human_size(self.bytes_freed)
        yield f"  Emptying the trash will free {freed}; until then, `trainyard undo` restores it."

    def to_dict(self) -> dict[str, Any]:
        """As `--json` prints it."""
        sizes = {"bytes_apparent": self.bytes_apparent, "bytes_freed": self.bytes_freed}
        items, spared = [item.to_dict() for item in self.items], [asdict(one) for one in self.spared]
        return {"title": self.title, "kind": self.kind, **sizes, "items": items, "spared": spared}


def _sizes(apparent: int, freed: int) -> str:
    if freed == 0 < apparent:
        return f"{human_size(apparent)}, hard-linked elsewhere: frees nothing by itself"
    return f"frees {human_size(freed)}"


def make_plan(
    yard: Yard,
    title: str,
    items: Iterable[PlanItem],
    spared: Iterable[Spared] = (),
    *,
    kind: Literal["clean", "rotation"] = "clean",
    measured: bool = True,
) -> Plan:
    """A plan of `items`, without those that others cover.

    With `measured`, bytes are counted, for all items together; that reads the status of every file.
    """
    chosen = _without_covered(list(items))
    if measured:
        groups = [[yard.root / path for path in item.paths] for item in chosen]
        chosen = [
            replace(item, bytes_apparent=size.apparent, bytes_freed=size.freed)
            for item, size in zip(chosen, measure(yard, groups), strict=True)
        ]
    return Plan(title, tuple(chosen), tuple(dict.fromkeys(spared)), kind)


def combine(yard: Yard, title: str, plans: Sequence[Plan]) -> Plan:
    """One plan from several; what two of them name is listed once."""
    items = (item for plan in plans for item in plan.items)
    return make_plan(yard, title, items, (spared for plan in plans for spared in plan.spared))


def _without_covered(items: list[PlanItem]) -> list[PlanItem]:
    """Leaves out what is inside a run or directory that is removed as a whole, and what is named twice."""
    deleted = {item.home for item in items if item.action == "delete"}
    owners: dict[PurePosixPath, int] = {}
    for n, item in enumerate(items):
        for path in item.paths:
            owners.setdefault(PurePosixPath(path), n)

    def is_covered(n: int, path: PurePosixPath) -> bool:
        return owners[path] != n or any(owners.get(above, n) != n for above in path.parents)

    kept: list[PlanItem] = []
    for n, item in enumerate(items):
        paths = tuple(path for path in item.paths if not is_covered(n, PurePosixPath(path)))
        if paths and (item.action == "delete" or not item.home or item.home not in deleted):
            kept.append(replace(item, paths=paths))
    return kept
