"""Classification metrics from predictions, in plain NumPy, for one label per item and for several.

They equal scikit-learn's with `zero_division=0` (tests ensure that), without the half second that its import
takes. Probabilities that are NaN raise DivergedError.

With one label per item, a class that is neither true nor predicted for any item is excluded from the macro
averages; one that was predicted but never true counts with precision, recall and F1 of 0, as in scikit-learn.
`balanced_accuracy` is the mean recall over the classes that items have. With several labels per item, every class
counts in the macro averages, an absent one with 0; but areas under curves are undefined for a class that no item
has, or all have, and are averaged over the others. They are NaN if there are no others.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypedDict

import numpy as np
import numpy.typing as npt

from trainyard.analysis.classification import calibration
from trainyard.analysis.classification.decisions import predicted_labels as predicted_labels
from trainyard.analysis.classification.decisions import probability_rows

Counts = npt.NDArray[np.int64]  # [C, C]: rows are the true classes, columns the predicted ones
_Counts = npt.NDArray[np.int64]  # [C]
_Scores = npt.NDArray[np.float64]

SINGLE_LABEL_METRICS = (
    "accuracy",
    "balanced_accuracy",
    *(f"{name}_{mean}" for mean in ("macro", "weighted") for name in ("precision", "recall", "f1")),
)
MULTI_LABEL_METRICS = (
    "accuracy",
    *(f"{name}_{mean}" for name in ("precision", "recall", "f1") for mean in ("micro", "macro", "weighted")),
    "jaccard",
    "hamming_loss",
    *(f"{name}_{mean}" for name in ("auc", "average_precision") for mean in ("macro", "micro")),
    "brier",
    "ece",
)


class ClassStatistics(TypedDict):
    """The statistics of one class against all others."""

    label: str
    f1_score: float
    precision: float
    recall: float
    support: int  # items of the class
    tp: int
    fp: int
    fn: int
    tn: int


def confusion(labels: npt.ArrayLike, predicted: npt.ArrayLike, n: int) -> Counts:
    """How often each class (row) was predicted as each class (column), from int [N], 0 to n - 1: int64 [n, n]."""
    truth, guess = np.asarray(labels, dtype=np.int64), np.asarray(predicted, dtype=np.int64)
    if truth.shape != guess.shape or truth.ndim != 1:
        raise ValueError(f"labels have shape {truth.shape}, predictions {guess.shape}; both must be [N]")
    for name, values in (("label", truth), ("prediction", guess)):
        outside = values[(values < 0) | (values >= n)]
        if len(outside):
            raise ValueError(f"{name} {outside[0]} is outside 0 to {n - 1}")
    return np.bincount(truth * n + guess, minlength=n * n).reshape(n, n)


def single_label_metrics(probabilities: npt.ArrayLike, labels: npt.ArrayLike) -> dict[str, float]:
    """The `SINGLE_LABEL_METRICS` of float [N, C] and int [N]; weighted means are by support. N is at least 1."""
    predicted = predicted_labels(probabilities)
    if not len(predicted):
        raise ValueError("metrics need at least one item")
    matrix = confusion(labels, predicted, np.shape(probabilities)[1])
    hits, support, named = np.diag(matrix), matrix.sum(axis=1), matrix.sum(axis=0)
    precision, recall, f1 = _scores(hits, named, support)
    items = int(support.sum())
    seen = (support > 0) | (named > 0)
    macro = [scores[seen].mean() for scores in (precision, recall, f1)]
    weighted = [scores @ (support / items) for scores in (precision, recall, f1)]
    values = (hits.sum() / items, recall[support > 0].mean(), *macro, *weighted)
    return dict(zip(SINGLE_LABEL_METRICS, map(float, values), strict=True))


def multi_label_metrics(probabilities: npt.ArrayLike, chosen: npt.ArrayLike, labels: npt.ArrayLike) -> dict[str, float]:
    """All metrics of predictions with several labels per item.

    `accuracy` is the share of items whose labels are all right, `jaccard` the mean over items of
    |chosen and true| / |chosen or true|, which is 0 for an item without either. `*_micro` weighs all decisions
    equally, `*_macro` all classes, `*_weighted` the classes by their items. `auc_*` are areas under the ROC curve,
    `average_precision_*` under the step curve of precision over recall. `brier` and `ece` are from `calibration`.
    Probabilities are float [N, C] in [0, 1], predicted (`chosen`) and true labels bool [N, C]; N is at least 1.
    """
    rows = probability_rows(probabilities)
    guess, truth = _label_sets(chosen, labels)
    if rows.shape != truth.shape:
        raise ValueError(f"probabilities have shape {rows.shape}, labels {truth.shape}; they must be equal")
    if not rows.size:
        raise ValueError("metrics need at least one item")
    hits, named, support = _label_counts(guess, truth)
    every = np.stack([hits, named, support]).sum(axis=1, keepdims=True)
    metrics = {"accuracy": float((guess == truth).all(axis=1).mean())}
    by_class = _scores(hits, named, support)
    for name, score, micro in zip(("precision", "recall", "f1"), by_class, _scores(*every), strict=True):
        metrics[f"{name}_micro"] = float(micro[0])
        metrics[f"{name}_macro"] = float(score.mean())
        metrics[f"{name}_weighted"] = float(score @ support / max(int(support.sum()), 1))
    both = (guess & truth).sum(axis=1)
    metrics["jaccard"] = float(_divide(both, (guess | truth).sum(axis=1)).mean())
    metrics["hamming_loss"] = float((guess != truth).mean())
    two_sided = np.flatnonzero((support > 0) & (support < len(truth))).tolist()
    curves = [_areas(np.ascontiguousarray(rows[:, index]), truth[:, index]) for index in two_sided]
    means = np.mean(curves, axis=0).tolist() if curves else [math.nan, math.nan]
    micros = _areas(rows.ravel(), truth.ravel()) if 0 < support.sum() < truth.size else (math.nan, math.nan)
    for name, macro, micro_area in zip(("auc", "average_precision"), means, micros, strict=True):
        metrics[f"{name}_macro"], metrics[f"{name}_micro"] = macro, micro_area
    return metrics | {"brier": calibration.brier(rows, truth), "ece": calibration.ece(rows, truth)}


def per_class(labels: npt.ArrayLike, predicted: npt.ArrayLike, classes: Sequence[str]) -> list[ClassStatistics]:
    """One row per class, in class order, for true and predicted labels that are both int [N] or both bool [N, C].

    A class without items has support 0 and scores of 0.
    """
    if np.ndim(labels) == 2:
        hits, named, support = _label_counts(*_label_sets(predicted, labels))
        if len(hits) != len(classes):
            raise ValueError(f"labels are for {len(hits)} classes, but there are {len(classes)} names")
    else:
        matrix = confusion(labels, predicted, len(classes))
        hits, named, support = np.diag(matrix), matrix.sum(axis=0), matrix.sum(axis=1)
    items = len(np.asarray(labels))
    precision, recall, f1 = _scores(hits, named, support)
    rows: list[ClassStatistics] = []
    for index, name in enumerate(classes):
        tp = int(hits[index])
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


def _label_sets(*sets: npt.ArrayLike) -> list[npt.NDArray[np.bool_]]:
    """Bool [N, C] each, of one shape."""
    arrays = [np.asarray(labels, dtype=np.bool_) for labels in sets]
    if arrays[0].ndim != 2 or any(array.shape != arrays[0].shape for array in arrays):
        shapes = ", ".join(str(array.shape) for array in arrays)
        raise ValueError(f"label sets must have the same shape [N, C], not {shapes}")
    return arrays


def _label_counts(chosen: npt.NDArray[np.bool_], truth: npt.NDArray[np.bool_]) -> tuple[_Counts, _Counts, _Counts]:
    """For each class: how often it was correctly predicted, predicted, and true; int64 [C] each."""
    return (chosen & truth).sum(axis=0), chosen.sum(axis=0), truth.sum(axis=0)


def _scores(hits: _Counts, named: _Counts, support: _Counts) -> tuple[_Scores, _Scores, _Scores]:
    """Precision, recall and F1, float64 [C] each; 0 where the divisor is 0."""
    return _divide(hits, named), _divide(hits, support), _divide(2 * hits, named + support)


def _divide(part: _Counts, whole: _Counts) -> _Scores:
    return np.divide(part, whole, out=np.zeros(len(part)), where=whole > 0)


def _areas(scores: npt.NDArray[np.float32], truth: npt.NDArray[np.bool_]) -> tuple[float, float]:
    """The area under the ROC curve, and average precision, of scores [N] for events, some true and some false.

    Equal scores are one step of both curves.
    """
    order = np.argsort(scores)[::-1]
    ordered = scores[order]
    ends = np.append(np.flatnonzero(ordered[1:] != ordered[:-1]), len(scores) - 1)
    hits = truth[order].cumsum()[ends]
    misses = ends + 1 - hits
    steps = np.diff(hits, prepend=0)
    # A pair of a true and a false event counts 1 if ranked correctly, 1/2 if tied.
    ranked = (steps * (misses[-1] - misses)).sum() + (steps * np.diff(misses, prepend=0)).sum() / 2
    return float(ranked / (hits[-1] * misses[-1])), float((steps * (hits / (ends + 1))).sum() / hits[-1])
