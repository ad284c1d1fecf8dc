from __future__ import annotations

import csv
import math
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings

from trainyard.analysis.classification.decisions import ARGMAX, Decision
from trainyard.analysis.classification.metrics import multi_label_metrics, per_class, single_label_metrics
from trainyard.analysis.classification.predictions import Predictions, per_class_csv, predictions_csv, read_predictions
from trainyard.analysis.classification.recompute import choices, per_class_table, summary
from trainyard.analysis.scoring import Disagreement
from trainyard.errors import DataError

sys.path.insert(0, str(Path(__file__).parent))

from made_up import CLASSES, found, predictions


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("recompute")


def as_read(folder: Path, case: Predictions) -> Predictions:
    text = predictions_csv(case.items, case.labels, case.predicted, case.probabilities, case.classes)
    (folder / "test.csv").write_bytes(text.encode())
    return read_predictions(folder / "test.csv")


def report(case: Predictions) -> dict[str, float]:
    if case.multi_label:
        return multi_label_metrics(case.probabilities, case.predicted, case.labels)
    return single_label_metrics(case.probabilities, case.labels)


@given(case=found())
@settings(deadline=None)
def test_nothing_disagrees_with_what_was_just_written(folder: Path, case: Predictions) -> None:
    read = as_read(folder, case)
    (folder / "classes.csv").write_bytes(per_class_csv(per_class(case.labels, case.predicted, CLASSES), "x").encode())
    assert list(per_class_table(folder / "classes.csv", read)) == []
    stored = report(case) | {"loss": 9.0, "wer": 9.0}
    assert list(summary(stored, read)) == []
    as_json = {key: None if math.isnan(value) else value for key, value in stored.items()}
    assert list(summary(as_json, read)) == []


@given(case=found())
@settings(deadline=None)
def test_every_changed_metric_is_named(folder: Path, case: Predictions) -> None:
    read = as_read(folder, case)
    right = report(case)
    stored = {key: 0.123 + 2 * (0 if math.isnan(value) else value) for key, value in right.items()}
    assert list(summary(stored, read)) == [
        Disagreement(key, repr(stored[key]), repr(value), of="summary") for key, value in right.items()
    ]
    [disagreement] = summary({"accuracy": "high"}, read)
    assert (disagreement.stored, disagreement.recomputed) == ("'high'", repr(right["accuracy"]))


def test_every_changed_cell_of_a_table_is_named(folder: Path) -> None:
    labels = np.array([0, 0, 1, 2, 3, 3])
    case = predictions(labels, np.array([0, 1, 1, 2, 3, 0]))
    path = folder / "classes.csv"
    text = per_class_csv(per_class(labels, case.predicted, CLASSES), "emotion")
    lines = list(csv.reader(text.splitlines()))
    for row, name in enumerate(CLASSES, 1):
        for column, key in enumerate(lines[0][1:], 1):
            changed = [list(line) for line in lines]
            changed[row][column] = "17" if key in ("support", "tp", "fp", "fn", "tn") else "0.123"
            with path.open("w", newline="") as file:
                csv.writer(file).writerows(changed)
            [disagreement] = per_class_table(path, case)
            assert (disagreement.where, disagreement.of) == (f"{key} of {name!r}", "statistics")
            assert disagreement.stored == changed[row][column]
            assert float(disagreement.recomputed) == float(lines[row][column])


def test_other_labels_in_a_table_and_what_is_no_table(folder: Path) -> None:
    labels = np.array([0, 1])
    case = predictions(labels, labels)
    path = folder / "classes.csv"
    path.write_text(per_class_csv(per_class(labels, labels, CLASSES)).replace("anger", "hate"))
    assert list(per_class_table(path, case)) == [
        Disagreement("the column 'label'", "joy, hate, fear, love", "joy, anger, fear, love", of="statistics")
    ]
    for text, header in (
        ("", []),
        ("a,b\n1,2\n", ["a", "b"]),
        ("label,f1_score,precision,recall,support,tp,fp,fn,tn\njoy,1\n", None),
    ):
        path.write_text(text)
        with pytest.raises(DataError) as raised:
            list(per_class_table(path, case))
        assert raised.value.place == str(path)
        assert raised.value.remedy
        assert raised.value.value == (text.splitlines()[0].split(",") if header is None else header)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(DataError) as raised:
        list(per_class_table(path, case))
    assert raised.value.place == str(path)
    assert isinstance(raised.value.__cause__, UnicodeDecodeError)


def test_labels_that_the_decision_does_not_choose_are_named() -> None:
    scores = np.array([[0.9, 0.2, 0.3, 0.1], [0.4, 0.2, 0.5, 0.6]], dtype=np.float32)
    decision = Decision("per_class", (0.9, 0.3, 0.3, 0.3))
    chosen = decision.choose(scores)
    case = predictions(chosen, chosen, scores)
    assert choices(decision, case) == []
    wrong = chosen.copy()
    wrong[1] = False
    assert choices(decision, replace(case, predicted=wrong)) == [
        Disagreement("pred_labels of item 2 ('item 1')", "no label", "fear, love", of="predictions")
    ]
    single = predictions(np.array([0, 3]), np.array([0, 2]), scores)
    assert choices(ARGMAX, single) == [
        Disagreement("pred_label of item 2 ('item 1')", "fear", "love", of="predictions")
    ]
