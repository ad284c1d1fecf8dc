"""Classification metrics from predictions, in plain NumPy.

They equal scikit-learn's with `zero_division=0` (the tests hold that) without the half second that its
import takes. Knows nothing of torch, runs or files.

A class that no item has and no prediction names takes no part in the macro averages; one that was
predicted, but that no item has, counts with precision, recall and F1 of 0, as in scikit-learn.
`balanced_accuracy` is the mean recall over the classes that items have.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

import numpy as np
import numpy.typing as npt

from trainyard.errors import DivergedError

Labels = npt.NDArray[np.int64]
Counts = npt.NDArray[np.int64]  # [C, C]: rows are the true classes, columns the predicted ones


class ClassStatistics(TypedDict):
    """How one class was recognised, against all others."""

    label: str
    f1_score: float
    precision: float
    recall: float
    support: int  # items of the class
    tp: int
    fp: int
    fn: int
    tn: int


def predicted_labels(probabilities: npt.ArrayLike) -> Labels:
    """The most probable class of each row, int64 [N]; of equals the first.

    Raises:
        DivergedError: a row holds NaN.
    """
    rows = np.asarray(probabilities)
    if rows.ndim != 2:
        raise ValueError(f"probabilities must be [N, C], not of shape {rows.shape}")
    bad = np.flatnonzero(np.isnan(rows).any(axis=1))
    if len(bad):
        raise DivergedError(
            f"The model predicts NaN for {len(bad)} of {len(rows)} items (the first: item {bad[0]}).",
            "Its weights have diverged: lower training.learning_rate, or set training.grad_clip=1.0.",
        )
    best: Labels = rows.argmax(axis=1).astype(np.int64, copy=False)
    return best


def confusion(labels: npt.ArrayLike, predicted: npt.ArrayLike, n: int) -> Counts:
    """How often each class (row) was taken for each (column): int64 [n, n].

    Args:
        labels: int [N], the truth, 0 to n - 1.
        predicted: int [N], what was predicted, 0 to n - 1.
        n: number of classes.
    """
    truth, guess = np.asarray(labels, dtype=np.int64), np.asarray(predicted, dtype=np.int64)
    if truth.shape != guess.shape or truth.ndim != 1:
        raise ValueError(f"labels of shape {truth.shape} and predictions of shape {guess.shape} do not pair up")
    for name, values in (("label", truth), ("prediction", guess)):
        outside = values[(values < 0) | (values >= n)]
        if len(outside):
            raise ValueError(f"{name} {outside[0]} is outside 0 to {n - 1}")
    return np.bincount(truth * n + guess, minlength=n * n).reshape(n, n)


def single_label_metrics(probabilities: npt.ArrayLike, labels: npt.ArrayLike) -> dict[str, float]:
    """Accuracy, balanced accuracy, and precision, recall and F1, macro and weighted by support.

    Args:
        probabilities: float [N, C], N at least 1.
        labels: int [N], 0 to C - 1.

    Raises:
        DivergedError: a probability is NaN.
    """
    predicted = predicted_labels(probabilities)
    if not len(predicted):
        raise ValueError("there is nothing to measure: no items")
    matrix = confusion(labels, predicted, np.shape(probabilities)[1])
    hits, support, named = np.diag(matrix), matrix.sum(axis=1), matrix.sum(axis=0)
    precision, recall, f1 = _precision_recall_f1(matrix)
    items = int(support.sum())
    there = support > 0
    seen = there | (named > 0)
    shares = support / items
    return {
        "accuracy": float(hits.sum() / items),
        "balanced_accuracy": float(recall[there].mean()),
        "precision_macro": float(precision[seen].mean()),
        "recall_macro": float(recall[seen].mean()),
        "f1_macro": float(f1[seen].mean()),
        "precision_weighted": float(precision @ shares),
        "recall_weighted": float(recall @ shares),
        "f1_weighted": float(f1 @ shares),
    }


def per_class(labels: npt.ArrayLike, predicted: npt.ArrayLike, classes: Sequence[str]) -> list[ClassStatistics]:
    """One row a class, in class order; a class without items has support 0 and zeros for its scores.

    Args:
        labels: int [N], the truth.
        predicted: int [N], what was predicted.
        classes: names in label order.
    """
    matrix = confusion(labels, predicted, len(classes))
    precision, recall, f1 = _precision_recall_f1(matrix)
    support, named, items = matrix.sum(axis=1), matrix.sum(axis=0), int(matrix.sum())
    rows: list[ClassStatistics] = []
    for index, name in enumerate(classes):
        tp = int(matrix[index, index])
        fp, fn = int(named[index]) - tp, int(support[index]) - tp
        rows.append(
            {
                "label": name,
                "f1_score": float(f1[index]),
                "precision": float(precision[index]),
                "recall": float(recall[index]),
                "support": int(support[index]),
                "tp": tp,
                "fp": fp,
                "fn": fn,
                "tn": items - tp - fp - fn,
            }
        )
    return rows


def _precision_recall_f1(matrix: Counts) -> tuple[npt.NDArray[np.float64], ...]:
    """Float64 [C] each; 0 where nothing could be divided."""
    hits, support, named = np.diag(matrix), matrix.sum(axis=1), matrix.sum(axis=0)
    return _divide(hits, named), _divide(hits, support), _divide(2 * hits, named + support)


def _divide(part: Counts, whole: Counts) -> npt.NDArray[np.float64]:
    return np.divide(part, whole, out=np.zeros(len(part)), where=whole > 0)
