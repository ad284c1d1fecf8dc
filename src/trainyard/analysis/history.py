"""The table of a run's metric rows, as CSV text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from trainyard.analysis.csv_cells import csv_text

_LEADING = ("step", "epoch", "split", "time")


def history_csv(rows: Sequence[Mapping[str, object]]) -> str:
    """A table of metric rows: step, epoch, split and time, then every value in order of appearance.

    A missing value is an empty cell; NaN is `nan`.
    """
    seen: dict[str, None] = {}
    for row in rows:
        seen.update(dict.fromkeys(row))
    keys = [key for key in _LEADING if key in seen or not rows] + [key for key in seen if key not in _LEADING]
    return csv_text(keys, ([row.get(key) for key in keys] for row in rows))
