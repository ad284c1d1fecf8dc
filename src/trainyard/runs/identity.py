"""The identity of a run: its id, its names, and the facts that fill its path templates. Touches no disk."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import UTC, datetime

_ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789"


def new_id() -> str:
    """Eight random characters of [a-z0-9]: 2.8e12 possible ids."""
    return "".join(secrets.choice(_ALPHABET) for _ in range(8))


def utc_now() -> str:
    """This moment in UTC as ISO-8601 with milliseconds, such as 2026-11-21T20:43:01.123Z."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


@dataclass(frozen=True)
class Identity:
    """The names of a run. `name` is for the user; `id` never changes."""

    id: str
    project: str
    dataset: str
    model: str
    name: str

    def facts(self, now: datetime) -> dict[str, str]:
        """The facts that fill path templates; times are local, as people expect."""
        return {
            "project": self.project,
            "dataset": self.dataset,
            "run": self.name,
            "model": self.model,
            "id": self.id,
            "date": f"{now:%Y-%m-%d}",
            "time": f"{now:%H-%M-%S}",
            "timestamp": f"{now:%Y%m%d-%H%M%S}",
        }
