"""The mean and spread of results over runs that differ only in the seed."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

# Settings that do not change what is trained: names, and where the run is executed.
_IGNORED = frozenset(("seed", "name", "tags", "note", "device"))


@dataclass(frozen=True)
class Spread:
    """A metric over the runs of a group that have it."""

    mean: float
    std: float | None  # the sample standard deviation, with n - 1; None for one run
    low: float
    high: float
    n: int  # the number of runs that have it


@dataclass(frozen=True)
class Group:
    """Runs whose configurations differ only in the seed, names and device."""

    runs: tuple[str, ...]  # their names, by seed
    seeds: tuple[int, ...]
    metrics: dict[str, Spread]  # every number in their summaries


def by_seed(runs: Iterable[tuple[str, Mapping[str, Any], Mapping[str, Any]]]) -> list[Group]:
    """The runs in groups, in order of each group's first run.

    Each is given by its name, its configuration (the `run` section holds the seed) and its summary. Values that are
    not finite numbers are skipped, so `Spread.n` may be below the number of runs.
    """
    groups: dict[str, list[tuple[int, str, Mapping[str, Any]]]] = {}
    for name, config, summary in runs:
        section = config.get("run", {})
        alike = {**config, "run": {key: value for key, value in section.items() if key not in _IGNORED}}
        key = json.dumps(alike, sort_keys=True, default=str)
        groups.setdefault(key, []).append((int(section.get("seed", 0)), name, summary))
    return [_group(sorted(members, key=lambda member: member[0])) for members in groups.values()]


def _group(members: Sequence[tuple[int, str, Mapping[str, Any]]]) -> Group:
    values: dict[str, list[float]] = {}
    for _, _, summary in members:
        for name, value in summary.items():
            if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
                values.setdefault(name, []).append(float(value))
    metrics = {name: spread(found) for name, found in values.items()}
    return Group(tuple(name for _, name, _ in members), tuple(seed for seed, _, _ in members), metrics)


def spread(values: Sequence[float]) -> Spread:
    """Mean, sample standard deviation and extremes of at least one number."""
    std = statistics.stdev(values) if len(values) > 1 else None
    return Spread(statistics.fmean(values), std, min(values), max(values), len(values))
