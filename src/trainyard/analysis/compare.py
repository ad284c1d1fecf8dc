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
    """Runs side by side. Each mapping is from a name to one value per run, None where a run has none.

    Attributes:
        runs: {"id", "run", "state"} of each.
        config: settings that differ, by dotted name.
        data: properties of the data that differ: items, classes, and digests.
        results: final metrics, equal or not.
    """

    runs: list[dict[str, str]]
    config: dict[str, list[Any]]
    data: dict[str, list[Any]]
    results: dict[str, list[Any]]


def compare(snapshots: Sequence[Snapshot]) -> Comparison:
    """The runs side by side, in the order given."""
    configs = [_flat(snapshot.config) for snapshot in snapshots]
    facts = [
        _flat({k: v for k, v in snapshot.data.items() if k not in ("class_counts", "cache")}) for snapshot in snapshots
    ]
    results = [dict(snapshot.summary) for snapshot in snapshots]
    return Comparison(
        [{"id": s.id, "run": f"{s.project}/{s.dataset}/{s.name}", "state": s.state} for s in snapshots],
        _side_by_side(configs, only_different=True),
        _side_by_side(facts, only_different=True),
        _side_by_side(results, only_different=False),
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
    names = dict.fromkeys(name for mapping in mappings for name in mapping)
    rows: dict[str, list[Any]] = {}
    for name in names:
        values = [mapping.get(name, _MISSING) for mapping in mappings]
        if not only_different or any(value != values[0] for value in values):
            rows[name] = [None if value is _MISSING else value for value in values]
    return rows
