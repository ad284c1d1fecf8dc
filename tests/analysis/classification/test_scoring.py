"""The torch-free half of the tasks with classes."""

from __future__ import annotations

import csv
import io
import math
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import f1_score, precision_score, recall_score

from trainyard.analysis.classification.metrics import multi_label_metrics, single_label_metrics
from trainyard.analysis.classification.scoring import MultiLabel, SingleLabel
from trainyard.errors import ConfigError, DataError, DivergedError

CLASSES = ("a", "b", "c")
ONE = SingleLabel(CLASSES)
PROBABILITIES = np.array([[0.3, 0.9, 0.2], [0.1, 0.8, 0.1], [0.2, 0.2, 0.4]], dtype=np.float32)
COLUMNS = {"probabilities": PROBABILITIES}
SETS = np.array([[True, True, False], [False, True, False], [False, False, False]])
LABELS = np.array([1, 1, 0])


def several(mode: Any = "per_class", **options: Any) -> MultiLabel:
    return MultiLabel(CLASSES, mode=mode, **options)


def columns(rows: list[list[float]]) -> dict[str, np.ndarray]:
    return {"probabilities": np.array(rows, dtype=np.float32)}


# -- metrics, and their directions


def test_metrics_of_one_label_an_item() -> None:
    metrics = ONE.metrics(columns([[0.8, 0.1, 0.1], [0.3, 0.3, 0.4]]), np.array([0, 1]), None)
    assert next(iter(metrics)) == "accuracy"
    assert "loss" not in metrics
    assert metrics["accuracy"] == 0.5
    assert all(type(value) is float and math.isfinite(value) for value in metrics.values())


@pytest.mark.parametrize(
    ("scoring", "targets", "measured"),
    [
        (ONE, LABELS, single_label_metrics(PROBABILITIES, LABELS)),
        (several(), SETS, multi_label_metrics(PROBABILITIES, PROBABILITIES >= 0.5, SETS)),
    ],
)
def test_directions_cover_exactly_what_is_measured(scoring: Any, targets: np.ndarray, measured: dict) -> None:
    metrics = scoring.metrics(COLUMNS, targets, None)
    assert list(scoring.directions) == list(metrics) == list(measured)
    assert set(scoring.headline) <= {"loss", *metrics}


@pytest.mark.parametrize("scoring", [ONE, several()])
def test_a_direction_is_the_one_in_which_a_perfect_prediction_lies(scoring: Any) -> None:
    """Of certain and right predictions against certain and wrong ones, metric by metric."""
    truth = np.array([0, 1, 2, 1])
    right = np.eye(3, dtype=np.float32)[truth]
    wrong = np.roll(right, 1, axis=1)
    targets = truth if scoring is ONE else right.astype(bool)
    best, worst = (scoring.metrics({"probabilities": given}, targets, None) for given in (right, wrong))
    for name, direction in scoring.directions.items():
        assert best[name] != worst[name], name
        assert direction == ("max" if best[name] > worst[name] else "min"), name


# -- rules


def test_one_label_an_item_is_always_the_most_probable() -> None:
    assert ONE.tune(COLUMNS, LABELS) == (None, [])
    assert ONE.untuned() is None
    assert ONE.metrics(COLUMNS, LABELS, {"mode": "argmax"}) == ONE.metrics(COLUMNS, LABELS, None)
    with pytest.raises(ValueError, match="top_k"):
        ONE.metrics(COLUMNS, LABELS, {"mode": "top_k", "k": 1})


def test_several_labels_are_tuned_and_measured_with_what_was_tuned() -> None:
    rule, notes = several().tune(COLUMNS, SETS)
    assert rule == {"mode": "per_class", "thresholds": {"a": 0.25, "b": 0.5, "c": 0.5}}
    assert len(notes) == 1
    assert "'c'" in notes[0]
    metrics = several().metrics(COLUMNS, SETS, rule)
    assert next(iter(metrics)) == "accuracy"
    assert "loss" not in metrics
    assert metrics["accuracy"] == 1.0
    assert all(type(value) is float for value in metrics.values())
    untuned = several().metrics(COLUMNS, SETS, None)
    assert untuned["accuracy"] == pytest.approx(2 / 3), "0.3 is below 0.5"
    assert untuned["auc_macro"] == metrics["auc_macro"] == 1.0


def test_the_untuned_rule_of_several_labels() -> None:
    assert several().untuned() == {"mode": "per_class", "thresholds": dict.fromkeys(CLASSES, 0.5)}
    assert several("fixed", value=0.2).untuned() == {"mode": "fixed", "thresholds": dict.fromkeys(CLASSES, 0.2)}
    assert [several("top_k", k=k).untuned() for k in (None, 2)] == [{"mode": "top_k", "k": k} for k in (1, 2)]


def test_a_task_tunes_as_it_was_asked_to() -> None:
    given, truth = columns([[0.3, 0.9, 0.2]]), np.array([[True, True, False]])
    rules = [
        several("fixed", value=0.2).tune(given, truth)[0],
        several("global").tune(given, truth)[0],
        several("top_k").tune(given, truth)[0],
        several("top_k", k=3).tune(given, truth)[0],
    ]
    assert rules[0] == {"mode": "fixed", "thresholds": dict.fromkeys(CLASSES, 0.2)}
    assert rules[1] is not None
    assert rules[1]["mode"] == "global"
    assert rules[2:] == [{"mode": "top_k", "k": 2}, {"mode": "top_k", "k": 3}]


@pytest.mark.parametrize("k", [0, 4])
def test_no_more_labels_an_item_than_there_are(k: int) -> None:
    with pytest.raises(ConfigError) as raised:
        several("top_k", k=k)
    assert raised.value.keys == ("training.thresholds.k",)
    assert str(k) in raised.value.problems[0]


def test_a_rule_for_other_labels_is_refused() -> None:
    with pytest.raises(DataError):
        several().metrics(COLUMNS, SETS, {"mode": "fixed", "thresholds": {"a": 0.5, "b": 0.5, "rage": 0.5}})


@pytest.mark.parametrize(("scoring", "targets"), [(ONE, LABELS), (several(), SETS)])
def test_a_prediction_that_is_no_number_is_not_scored(scoring: Any, targets: np.ndarray) -> None:
    spoilt = PROBABILITIES.copy()
    spoilt[1, 1] = math.nan
    with pytest.raises(DivergedError):
        scoring.metrics({"probabilities": spoilt}, targets, None)


# -- records


def rows(text: str | bytes) -> list[dict[str, str]]:
    assert isinstance(text, str)
    return list(csv.DictReader(io.StringIO(text)))


def test_the_table_holds_what_the_rule_chooses() -> None:
    rule = {"mode": "fixed", "thresholds": dict.fromkeys(CLASSES, 0.2)}
    [first, second, third] = rows(several().table(["x", "y", "z"], SETS, COLUMNS, rule, "text"))
    assert [first["text"], second["text"], third["text"]] == ["x", "y", "z"]
    assert [row["true_labels"] for row in (first, second, third)] == ['["a", "b"]', '["b"]', "[]"]
    assert [row["pred_labels"] for row in (first, second, third)] == ['["a", "b", "c"]', '["b"]', '["a", "b", "c"]']
    [row, *_] = rows(ONE.table(["x", "y", "z"], LABELS, COLUMNS, None, "id"))
    assert (row["id"], row["true_label"], row["pred_label"]) == ("x", "b", "b")
    assert [float(row[f"pred_prob_{name}"]) for name in CLASSES] == pytest.approx([0.3, 0.9, 0.2])


def test_the_table_of_items_without_a_truth_has_no_column_for_it() -> None:
    [row, *_] = rows(ONE.table(["x", "y", "z"], None, COLUMNS, None, "id"))
    assert "true_label" not in row
    assert row["pred_label"] == "b"


@pytest.mark.parametrize("plots", [True, False])
def test_the_records_of_a_split(plots: bool) -> None:
    found = dict(SingleLabel(CLASSES, "digit").records(COLUMNS, LABELS, None, title="test", plots=plots))
    assert list(found) == (["per_class", "confusion_matrix"] if plots else ["per_class"])
    table = rows(found["per_class"])
    guess = PROBABILITIES.argmax(axis=1)
    assert [row["digit"] for row in table] == list(CLASSES)
    for column, measure in (("f1_score", f1_score), ("precision", precision_score), ("recall", recall_score)):
        expected = measure(LABELS, guess, average=None, labels=[0, 1, 2], zero_division=0)
        assert [float(row[column]) for row in table] == pytest.approx(list(expected))
    if plots:
        assert bytes(found["confusion_matrix"]).startswith(b"\x89PNG")
    assert list(dict(several().records(COLUMNS, SETS, None, title="test", plots=plots))) == ["per_class"]


def test_without_a_rule_labels_are_chosen_by_the_untuned_one() -> None:
    scoring, rule = several("top_k", k=2), {"mode": "top_k", "k": 2}
    assert scoring.untuned() == rule
    for plain, ruled in (
        (scoring.metrics(COLUMNS, SETS, None), scoring.metrics(COLUMNS, SETS, rule)),
        (scoring.table("xyz", SETS, COLUMNS, None, "id"), scoring.table("xyz", SETS, COLUMNS, rule, "id")),
        (scoring.final_values(COLUMNS, SETS, None), scoring.final_values(COLUMNS, SETS, rule)),
    ):
        assert plain == ruled


def test_final_values_are_the_statistics_by_label() -> None:
    rule, _ = several().tune(COLUMNS, SETS)
    statistics = several().final_values(COLUMNS, SETS, rule)["per_class"]
    assert list(statistics) == list(CLASSES)
    assert [statistics[name]["support"] for name in CLASSES] == [1, 2, 0]
    assert [statistics[name]["f1_score"] for name in CLASSES] == [1.0, 1.0, 0.0]
    assert "label" not in statistics["a"]


def test_scoring_loads_nothing_of_torch() -> None:
    code = (
        "import sys\nfrom trainyard.analysis.classification.scoring import MultiLabel, SingleLabel\n"
        "print(*{'torch', 'sklearn', 'pandas', 'matplotlib', 'transformers'}.intersection(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, timeout=60, capture_output=True, text=True)
    assert done.stdout.split() == []
