"""What identifies a run and a moment. Touches no disk."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime

_ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789"


def new_id() -> str:
    """Eight random characters of [a-z0-9]: 2.8e12 possible ids."""
    return "".join(secrets.choice(_ALPHABET) for _ in range(8))


def utc_now() -> str:
    """This moment in UTC as ISO-8601 with milliseconds, such as 2026-11-21T20:43:01.123Z."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
