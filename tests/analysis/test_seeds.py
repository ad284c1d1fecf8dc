from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from trainyard.analysis.seeds import by_seed, spread


def config(seed: int, *, name: str | None = None, epochs: int = 3) -> dict[str, Any]:
    run = {"project": "p", "seed": seed, "name": name, "tags": [f"s{seed}"], "note": "", "device": "auto"}
    return {"run": run, "training": {"epochs": epochs, "optimizer": {"lr": 0.1}}}


def test_runs_that_differ_in_the_seed_alone_are_one_group() -> None:
    values = [0.5, 0.7, 0.6]
    runs = [(f"run-{seed}", config(seed, name=f"n{seed}"), {"f1": values[seed]}) for seed in (2, 0, 1)]
    other = ("longer", config(0, epochs=4), {"f1": 0.9})
    groups = by_seed([runs[0], other, *runs[1:]])
    assert [group.runs for group in groups] == [("run-0", "run-1", "run-2"), ("longer",)]
    assert groups[0].seeds == (0, 1, 2)
    found = groups[0].metrics["f1"]
    assert found.mean == pytest.approx(np.mean(values))
    assert found.std == pytest.approx(np.std(values, ddof=1))
    assert (found.low, found.high, found.n) == (0.5, 0.7, 3)
    assert groups[1].metrics["f1"].std is None, "one run has no spread"


def test_only_finite_numbers_count() -> None:
    summaries = [{"f1": 0.5, "auc": math.nan, "why": "done", "ok": True}, {"f1": None, "auc": 1}, {"only": 2}]
    (group,) = by_seed((str(seed), config(seed), summary) for seed, summary in enumerate(summaries))
    assert {name: (found.mean, found.n) for name, found in group.metrics.items()} == {
        "f1": (0.5, 1),
        "auc": (1.0, 1),
        "only": (2.0, 1),
    }


def test_order_of_keys_and_a_missing_section_do_not_part_runs() -> None:
    first = config(0)
    second = {"training": dict(reversed(first["training"].items())), "run": {**first["run"], "seed": 1}}
    assert len(by_seed([("a", first, {}), ("b", second, {})])) == 1
    (group,) = by_seed([("imported", {}, {"x": 1.0})])
    assert group.seeds == (0,)


def test_a_run_that_was_made_twice_with_one_seed_is_shown_twice() -> None:
    (group,) = by_seed([("a", config(0), {"x": 1.0}), ("b", config(0), {"x": 1.0})])
    assert group.seeds == (0, 0)
    assert group.metrics["x"] == spread([1.0, 1.0])
