"""Differences between runs: settings, data, results. Pure functions of plain data; touches no disk."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trainyard.runs import Snapshot

_MISSING = object()


@dataclass(frozen=True)
class Comparison:
    """Runs side by side. Each mapping is from a name to one value per run, None where a run has none."""

    runs: list[dict[str, str]]  # {"id", "run", "state"} of each
    config: dict[str, list[Any]]  # settings that differ, by dotted name
    data: dict[str, list[Any]]  # properties of the data that differ: items, classes, and digests
    results: dict[str, list[Any]]  # final metrics, equal or not


def compare(snapshots: Sequence[Snapshot]) -> Comparison:
    """The runs side by side, in the order given."""
    facts = [{k: v for k, v in s.data.items() if k not in ("class_counts", "cache")} for s in snapshots]
    return Comparison(
        [{"id": s.id, "run": f"{s.project}/{s.dataset}/{s.name}", "state": s.state} for s in snapshots],
        _side_by_side([_flat(s.config) for s in snapshots], only_different=True),
        _side_by_side([_flat(each) for each in facts], only_different=True),
        _side_by_side([s.summary for s in snapshots], only_different=False),
    )


def _flat(mapping: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in mapping.items():
        if isinstance(value, Mapping) and value:
            flat.update(_flat(value, f"{above}{key}."))
        else:
            flat[f"{above}{key}"] = json.dumps(value) if isinstance(value, (list, Mapping)) else value
    return flat


def _side_by_side(mappings: Sequence[Mapping[str, Any]], *, only_different: bool) -> dict[str, list[Any]]:
    rows: dict[str, list[Any]] = {}
    for name in dict.fromkeys(name for mapping in mappings for name in mapping):
        values = [mapping.get(name, _MISSING) for mapping in mappings]
        if not only_different or any(value != values[0] for value in values):
            rows[name] = [None if value is _MISSING else value for value in values]
    return rows
