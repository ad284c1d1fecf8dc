"""The identity of a run: its id, and the facts that fill its path templates. Touches no disk."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from datetime import UTC, datetime

_ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789"


def utc_now() -> str:
    """This moment in UTC as ISO-8601 with milliseconds, such as 2026-11-21T20:43:01.123Z."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def path_facts(names: Mapping[str, str], now: datetime) -> dict[str, str]:
    """The facts that fill a new run's path templates: its `names`, an id, and the local time, as people expect.

    The id never changes: eight random characters of [a-z0-9], 2.8e12 possible ids.
    """
    return {
        **{fact: names[fact] for fact in ("project", "dataset", "run", "model")},
        "id": "".join(secrets.choice(_ALPHABET) for _ in range(8)),
        "date": f"{now:%Y-%m-%d}",
        "time": f"{now:%H-%M-%S}",
        "timestamp": f"{now:%Y%m%d-%H%M%S}",
    }
