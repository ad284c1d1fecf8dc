"""The values of a query: numbers, sizes, durations, moments. Pure; times are local."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?|[+-]?inf", re.IGNORECASE | re.ASCII)
_INTEGER = re.compile(r"[+-]?\d+", re.ASCII)
_SIZE = re.compile(r"(\d+\.?\d*|\.\d+)\s*([kmgt]?)(i?)b?", re.IGNORECASE | re.ASCII)
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?[smhdwy])+", re.IGNORECASE | re.ASCII)
_PART = re.compile(r"(\d+(?:\.\d+)?)([smhdwy])", re.IGNORECASE | re.ASCII)
_MOMENT = re.compile(
    r"(?P<year>\d{4})(?:-(?P<month>\d\d)(?:-(?P<day>\d\d)"
    r"(?:[T ](?P<hour>\d\d):(?P<minute>\d\d)(?::(?P<second>\d\d)(?:\.\d+)?)?(?P<zone>Z|[+-]\d\d:?\d\d)?)?)?)?",
    re.ASCII,
)
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400, "y": 365 * 86400}
_DAYS_BACK = {"today": 0, "yesterday": 1}
_LARGEST = 2**63 - 1


@dataclass(frozen=True)
class Span:
    """The time span of a date, in seconds since 1970: of a day, from its start to its end."""

    start: float
    end: float  # exclusive


def number(text: str) -> int | float | None:
    """The number, such as 3, .97 or 1e-4; None when it is not a number."""
    if not _NUMBER.fullmatch(text):
        return None
    if _INTEGER.fullmatch(text) and len(text) < 20 and abs(int(text)) <= _LARGEST:
        return int(text)
    return float(text)


def size(text: str) -> float | None:
    """Bytes of 1GB (10^9), 1GiB (2^30), 1.5M or 1000; None when it is not a size."""
    match = _SIZE.fullmatch(text)
    if match is None:
        return None
    amount, unit, binary = match.groups()
    if binary and not unit:
        return None
    return float(amount) * float(1024 if binary else 1000) ** " kmgt".index(unit.lower() or " ")


def duration(text: str) -> float | None:
    """Seconds of 90s, 30m, 12h, 7d, 2w, 1y or 1d12h; None when it is not a duration."""
    if not _DURATION.fullmatch(text):
        return None
    return sum(float(amount) * _SECONDS[unit.lower()] for amount, unit in _PART.findall(text))


def seconds(text: str) -> float | None:
    """Seconds of a duration or a plain number; None when it is neither."""
    plain = number(text)
    return duration(text) if plain is None else plain


def moment(text: str, now: float) -> Span | None:
    """The span of today, yesterday, 2026, 2026-11, 2026-11-01 or 2026-11-01T20:43; None for anything else."""
    if text.lower() in _DAYS_BACK:
        today = datetime.fromtimestamp(now).replace(hour=0, minute=0, second=0, microsecond=0)
        start = today - timedelta(days=_DAYS_BACK[text.lower()])
        return Span(start.timestamp(), (start + timedelta(days=1)).timestamp())
    match = _MOMENT.fullmatch(text)
    if match is None:
        return None
    parts = match.groupdict()
    filled = text if parts["day"] else f"{parts['year']}-{parts['month'] or '01'}-01"
    try:
        start = datetime.fromisoformat(filled)
        if parts["second"]:
            end = start + timedelta(seconds=1)
        elif parts["hour"]:
            end = start + timedelta(minutes=1)
        elif parts["day"]:
            end = start + timedelta(days=1)
        elif parts["month"]:
            end = (start + timedelta(days=31)).replace(day=1)
        else:
            end = start.replace(year=start.year + 1)
        return Span(start.timestamp(), end.timestamp())
    except (ValueError, OverflowError, OSError):
        return None  # no such day
