from __future__ import annotations

import math
from datetime import UTC, datetime

import pytest

from trainyard.index import values


@pytest.mark.parametrize(
    ("text", "expected"),
    [("3", 3), (".97", 0.97), ("-1e-4", -1e-4), ("5.", 5.0), ("inf", math.inf), ("9" * 30, 1e30), ("+2", 2)],
)
def test_numbers(text: str, expected: float) -> None:
    assert values.number(text) == expected


@pytest.mark.parametrize("text", ["", "nan", "1,5", "1_0", "0x10", "1e", "five", " 1", "٣"])
def test_what_is_no_number(text: str) -> None:
    assert values.number(text) is None


def test_large_integers_keep_their_digits() -> None:
    assert values.number(str(2**60 + 1)) == 2**60 + 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [("1GB", 10**9), ("1GiB", 2**30), ("1.5m", 1.5e6), ("200", 200), ("2kb", 2000), ("12B", 12), ("1 TB", 10**12)],
)
def test_sizes(text: str, expected: float) -> None:
    assert values.size(text) == expected


@pytest.mark.parametrize("text", ["", "GB", "1iB", "-1GB", "1XB"])
def test_what_is_no_size(text: str) -> None:
    assert values.size(text) is None


@pytest.mark.parametrize(("text", "expected"), [("90s", 90), ("1d12h", 129600), ("1.5h", 5400), ("2w", 1209600)])
def test_durations(text: str, expected: float) -> None:
    assert values.duration(text) == expected
    assert values.seconds(text) == expected


def test_a_plain_number_is_seconds_but_no_duration() -> None:
    assert values.seconds("90") == 90
    assert values.duration("90") is None
    assert values.duration("7 d") is None


@pytest.mark.parametrize(
    ("text", "start", "end"),
    [
        ("2026", datetime(2026, 1, 1), datetime(2027, 1, 1)),
        ("2026-12", datetime(2026, 12, 1), datetime(2027, 1, 1)),
        ("2026-02-28", datetime(2026, 2, 28), datetime(2026, 3, 1)),
        ("2026-02-28T10:30", datetime(2026, 2, 28, 10, 30), datetime(2026, 2, 28, 10, 31)),
        ("2026-02-28 10:30:05", datetime(2026, 2, 28, 10, 30, 5), datetime(2026, 2, 28, 10, 30, 6)),
        ("2026-02-28T10:30Z", datetime(2026, 2, 28, 10, 30, tzinfo=UTC), datetime(2026, 2, 28, 10, 31, tzinfo=UTC)),
        ("today", datetime(2026, 5, 4), datetime(2026, 5, 5)),
        ("Yesterday", datetime(2026, 5, 3), datetime(2026, 5, 4)),
    ],
)
def test_dates_are_spans_of_local_time(text: str, start: datetime, end: datetime) -> None:
    now = datetime(2026, 5, 4, 13, 30).timestamp()
    assert values.moment(text, now) == values.Span(start.timestamp(), end.timestamp())


@pytest.mark.parametrize("text", ["", "2026-13", "2026-02-30", "26-01-01", "2026-01-01T", "soon", "2026-1-1", "9999"])
def test_what_is_no_date(text: str) -> None:
    assert values.moment(text, 0.0) is None
