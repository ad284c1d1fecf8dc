from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn import metrics as sk

from trainyard.analysis.classification.metrics import multi_label_metrics, per_class
from trainyard.errors import DivergedError

KEYS = {
    "accuracy",
    "hamming_loss",
    "jaccard",
    "brier",
    "ece",
    *(f"{name}_{how}" for name in ("f1", "precision", "recall") for how in ("micro", "macro", "weighted")),
    *(f"{name}_{how}" for name in ("auc", "average_precision") for how in ("micro", "macro")),
}


@st.composite
def splits(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores with ties, label sets that may be empty, classes that may be absent or everywhere."""
    shape = draw(st.integers(1, 20)), draw(st.integers(2, 5))
    few = st.sampled_from([0.0, 0.25, 0.5, 1.0])
    scores = draw(hnp.arrays(np.float32, shape, elements=draw(st.sampled_from([few, st.floats(0, 1, width=32)]))))
    labels, chosen = draw(hnp.arrays(np.bool_, shape)), draw(hnp.arrays(np.bool_, shape))
    for column in draw(st.sets(st.integers(0, shape[1] - 1))):
        labels[:, column] = draw(st.booleans())
    if draw(st.booleans()):
        chosen[:] = False
    return scores, chosen, labels


@given(splits())
@settings(deadline=None, max_examples=150)
def test_every_metric_is_scikit_learns(case: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    scores, chosen, labels = case
    expected = {
        "accuracy": sk.accuracy_score(labels, chosen),
        "hamming_loss": sk.hamming_loss(labels, chosen),
        "jaccard": sk.jaccard_score(labels, chosen, average="samples", zero_division=0),
        "brier": np.mean([(float(p) - y) ** 2 for p, y in zip(scores.ravel(), labels.ravel(), strict=True)]),
    }
    for average in ("micro", "macro", "weighted"):
        for name, score in (("precision", sk.precision_score), ("recall", sk.recall_score), ("f1", sk.f1_score)):
            expected[f"{name}_{average}"] = score(labels, chosen, average=average, zero_division=0)
    sides = [index for index in range(labels.shape[1]) if 0 < labels[:, index].sum() < len(labels)]
    for name, area in (("auc", sk.roc_auc_score), ("average_precision", sk.average_precision_score)):
        macro = area(labels[:, sides], scores[:, sides], average="macro") if sides else math.nan
        micro = area(labels.ravel(), scores.ravel()) if 0 < labels.sum() < labels.size else math.nan
        expected |= {f"{name}_macro": macro, f"{name}_micro": micro}

    measured = multi_label_metrics(scores, chosen, labels)
    assert measured.keys() == KEYS
    for name, value in expected.items():
        assert measured[name] == pytest.approx(value, rel=1e-9, abs=1e-12, nan_ok=True), name
        assert type(measured[name]) is float


@given(splits())
@settings(deadline=None)
def test_statistics_per_class_are_scikit_learns(case: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    _, chosen, labels = case
    every = sk.multilabel_confusion_matrix(labels, chosen)
    scores = sk.precision_recall_fscore_support(labels, chosen, zero_division=0)
    rows = per_class(labels, chosen, [f"class {index}" for index in range(labels.shape[1])])
    for index, row in enumerate(rows):
        assert list(row) == ["label", "f1_score", "precision", "recall", "support", "tp", "fp", "fn", "tn"]
        assert row["label"] == f"class {index}"
        assert [row["tn"], row["fp"], row["fn"], row["tp"]] == every[index].ravel().tolist()
        got = [row["precision"], row["recall"], row["f1_score"], row["support"]]
        np.testing.assert_allclose(got, [column[index] for column in scores], rtol=1e-12)
        assert {type(row[key]) for key in ("tp", "fp", "fn", "tn", "support")} == {int}


def test_as_many_items_as_a_real_test_set() -> None:
    draws = np.random.default_rng(0)
    labels = draws.random((5427, 28)) < 0.04
    scores = (1 / (1 + np.exp(3 - 2.5 * labels - draws.normal(size=labels.shape)))).astype(np.float32)
    measured = multi_label_metrics(scores, scores >= 0.3, labels)
    assert measured["auc_macro"] == pytest.approx(sk.roc_auc_score(labels, scores, average="macro"), rel=1e-9)
    assert measured["average_precision_micro"] == pytest.approx(
        sk.average_precision_score(labels.ravel(), scores.ravel()), rel=1e-9
    )
    assert measured["f1_macro"] == pytest.approx(sk.f1_score(labels, scores >= 0.3, average="macro"), rel=1e-12)


def test_labels_may_be_floats_as_in_a_batch() -> None:
    scores, labels = np.array([[0.9, 0.2], [0.4, 0.6]]), np.array([[1.0, 0.0], [0.0, 1.0]], dtype=np.float32)
    assert multi_label_metrics(scores, scores >= 0.5, labels) == multi_label_metrics(scores, labels > 0, labels > 0)


def test_what_cannot_be_measured_is_refused() -> None:
    none = np.zeros((0, 3), dtype=bool)
    with pytest.raises(ValueError, match="at least one item"):
        multi_label_metrics(np.zeros((0, 3)), none, none)
    with pytest.raises(ValueError, match=r"\(2, 3\), \(2, 2\)"):
        multi_label_metrics(np.zeros((2, 3)), np.zeros((2, 3)), np.zeros((2, 2)))
    with pytest.raises(ValueError, match=r"\(2, 3\).* \(3, 3\)"):
        multi_label_metrics(np.zeros((2, 3)), np.zeros((3, 3)), np.zeros((3, 3)))
    with pytest.raises(ValueError, match=r"2 classes.* 3 names"):
        per_class(np.zeros((1, 2)), np.zeros((1, 2)), "abc")
    with pytest.raises(DivergedError):
        multi_label_metrics([[math.nan, 0.0]], [[True, False]], [[True, False]])
