"""The lineage of a version, up and down, over runs and other artifacts. Never writes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from trainyard.artifacts.store import Artifacts
from trainyard.artifacts.versions import Version


@dataclass(frozen=True)
class UsedBy:
    """A run that used a version, when, and what it logged afterwards."""

    run: str
    at: str
    made: tuple[Lineage, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The form that `--json` prints."""
        return {"run": self.run, "at": self.at, "made": [one.to_dict() for one in self.made]}


@dataclass(frozen=True)
class Lineage:
    """A version in a lineage. The traced version has inputs and uses, the others only one of them.

    Attributes:
        reference: the version's reference.
        version: the version; None when it was removed.
        made_by: ids of the runs that logged it, the first one first.
        inputs: the versions that this run had used, with their inputs.
        used_by: the runs that used it, and what they logged.
    """

    reference: str
    version: Version | None
    made_by: tuple[str, ...] = ()
    inputs: tuple[Lineage, ...] = ()
    used_by: tuple[UsedBy, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The form that `--json` prints."""
        return {
            "artifact": self.reference,
            "there": self.version is not None,
            "type": self.version.type if self.version else None,
            "made_by": list(self.made_by),
            "inputs": [one.to_dict() for one in self.inputs],
            "used_by": [use.to_dict() for use in self.used_by],
        }


def trace(store: Artifacts, version: Version) -> Lineage:
    """The lineage of a version: everything it was made from, and everything that was made from it."""
    known = {one.reference: one for one in store.versions() if isinstance(one, Version)}
    up = _upstream(store, known, version.reference, frozenset())
    return Lineage(up.reference, up.version, up.made_by, up.inputs, _uses(store, known, version, frozenset()))


def _makers(store: Artifacts, version: Version) -> tuple[str, ...]:
    logged = [note["run"] for note in store.notes(version, "logged")]
    return tuple(dict.fromkeys([version.made_by, *logged] if version.made_by else logged))


def _upstream(store: Artifacts, known: Mapping[str, Version], reference: str, above: frozenset[str]) -> Lineage:
    version = known.get(reference)
    if version is None:
        return Lineage(reference, None)
    seen = above | {reference}  # a run may use a version and log the same content again
    inputs = tuple(_upstream(store, known, one, seen) for one in version.inputs if one not in seen)
    return Lineage(reference, version, _makers(store, version), inputs)


def _uses(
    store: Artifacts, known: Mapping[str, Version], version: Version, above: frozenset[str]
) -> tuple[UsedBy, ...]:
    seen = above | {version.reference}
    uses = []
    for note in store.notes(version, "used"):
        made = tuple(
            Lineage(one.reference, one, _makers(store, one), used_by=_uses(store, known, one, seen))
            for one in known.values()
            if one.made_by == note["run"] and version.reference in one.inputs and one.reference not in seen
        )
        uses.append(UsedBy(note["run"], note["at"], made))
    return tuple(uses)
