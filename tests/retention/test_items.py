"""Which checkpoint of a run is best, as its own records say."""

from __future__ import annotations

import pytest

from trainyard.retention.items import ranking
from trainyard.runs import BestStep, Snapshot


@pytest.mark.parametrize(
    ("metric", "directions", "mode"),
    [
        ("val_perplexity", {"perplexity": "min"}, "min"),
        ("val_piece_accuracy", {"piece_accuracy": "max"}, "max"),  # a name that holds "ece"
        ("val_loss", {}, "min"),
        ("val_f1_macro", {}, "max"),
    ],
)
def test_the_direction_of_a_metric_is_the_tasks(metric: str, directions: dict[str, str], mode: str) -> None:
    run = Snapshot(best=BestStep(7, 1.0, 0.5, metric), task={"name": "own", "directions": directions})
    assert ranking(run) == (7, metric, mode)


def test_a_setting_wins() -> None:
    run = Snapshot(best=BestStep(7, 1.0, 0.5, "val_loss"), config={"training": {"mode": "max"}})
    assert ranking(run) == (7, "val_loss", "max")
