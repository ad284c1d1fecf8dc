from __future__ import annotations

import subprocess
import sys
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn import metrics as sk

from trainyard.analysis.classification.metrics import confusion, per_class, predicted_labels, single_label_metrics
from trainyard.errors import DivergedError


@st.composite
def splits(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities and labels in which classes may be absent from either, and rows may tie."""
    classes = draw(st.integers(2, 6))
    items = draw(st.integers(1, 40))
    present = draw(st.lists(st.integers(0, classes - 1), min_size=1, max_size=classes, unique=True))
    labels = draw(hnp.arrays(np.int64, items, elements=st.sampled_from(present)))
    scores = draw(hnp.arrays(np.float32, (items, classes), elements=st.sampled_from([0.0, 0.25, 0.5, 1.0])))
    return scores, labels


@given(splits())
@settings(deadline=None)
def test_every_metric_is_scikit_learns(case: tuple[np.ndarray, np.ndarray]) -> None:
    probabilities, labels = case
    predicted = probabilities.argmax(1)
    expected = {"accuracy": sk.accuracy_score(labels, predicted)}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "y_pred contains classes not in y_true|A single label was found")
        expected["balanced_accuracy"] = sk.balanced_accuracy_score(labels, predicted)
    for average in ("macro", "weighted"):
        for name, score in (("precision", sk.precision_score), ("recall", sk.recall_score), ("f1", sk.f1_score)):
            expected[f"{name}_{average}"] = score(labels, predicted, average=average, zero_division=0)
    measured = single_label_metrics(probabilities, labels)
    assert measured.keys() == expected.keys()
    for name, value in expected.items():
        assert measured[name] == pytest.approx(value, rel=1e-12, abs=1e-12), name
        assert type(measured[name]) is float


@given(splits())
@settings(deadline=None)
def test_confusion_and_per_class_are_scikit_learns(case: tuple[np.ndarray, np.ndarray]) -> None:
    probabilities, labels = case
    predicted, n = predicted_labels(probabilities), probabilities.shape[1]
    matrix = confusion(labels, predicted, n)
    assert matrix.dtype == np.int64
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "A single label was found")
        np.testing.assert_array_equal(matrix, sk.confusion_matrix(labels, predicted, labels=range(n)))
    every = sk.multilabel_confusion_matrix(labels, predicted, labels=range(n))
    scores = sk.precision_recall_fscore_support(labels, predicted, labels=range(n), zero_division=0)
    rows = per_class(labels, predicted, [f"class {index}" for index in range(n)])
    for index, row in enumerate(rows):
        assert list(row) == ["label", "f1_score", "precision", "recall", "support", "tp", "fp", "fn", "tn"]
        assert row["label"] == f"class {index}"
        assert [row["tn"], row["fp"], row["fn"], row["tp"]] == every[index].ravel().tolist()
        got = [row["precision"], row["recall"], row["f1_score"], row["support"]]
        np.testing.assert_allclose(got, [column[index] for column in scores], rtol=1e-12)
        assert {type(row[key]) for key in ("tp", "fp", "fn", "tn", "support")} == {int}


def test_a_tie_goes_to_the_first_class() -> None:
    assert predicted_labels([[0.5, 0.5], [0.2, 0.8]]).tolist() == [0, 1]


def test_nan_is_a_divergence_that_names_the_item() -> None:
    probabilities = np.full((5, 2), 0.5, dtype=np.float32)
    probabilities[3, 1] = np.nan
    with pytest.raises(DivergedError) as caught:
        single_label_metrics(probabilities, [0] * 5)
    assert (caught.value.value, caught.value.place) == ([3], "item 3")


@pytest.mark.parametrize(
    ("labels", "predicted", "said"),
    [
        ([0, 3], [0, 0], "label 3"),
        ([0, -1], [0, 0], "label -1"),
        ([0], [2], "prediction 2"),
        ([0, 1], [0], r"\(2,\).* \(1,\)"),
    ],
)
def test_labels_out_of_range_are_named(labels: list[int], predicted: list[int], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        confusion(labels, predicted, 2)


def test_nothing_and_odd_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one item"):
        single_label_metrics(np.zeros((0, 3)), [])
    with pytest.raises(ValueError, match=r"\[N, C\]"):
        predicted_labels([0.1, 0.9])


def test_importing_analysis_loads_nothing_heavy() -> None:
    code = (
        "import sys\n"
        "from trainyard.analysis import plots, scoring, seeds\n"
        "from trainyard.analysis.classification import calibration, decisions, metrics, predictions, significance\n"
        "print(*{'torch', 'sklearn', 'scipy', 'pandas', 'matplotlib'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
