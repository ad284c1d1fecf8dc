"""From probabilities to labels: the most probable class, or every label that reaches its threshold.

Thresholds are tuned on validation, saved with the checkpoint, and applied in every prediction. They are float32
numbers, written with the fewest digits that read back identically, and compared as float32. The numbers in a
JSON and a CSV give the same labels even if compared as float64, since this way of writing preserves order.
NumPy only.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from trainyard.errors import DataError, DivergedError
from trainyard.wording import listed

Mode = Literal["argmax", "fixed", "global", "per_class", "top_k"]
Labels = npt.NDArray[np.int64]
LabelSets = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float32]

_USE_SAVED = "Use the decision that was saved with this model, in its checkpoint."
UNTUNED = 0.5  # the threshold of labels that validation cannot tune


def probability_rows(probabilities: npt.ArrayLike) -> Floats:
    """The probabilities as float32 [N, C].

    Raises:
        DivergedError: a row contains NaN; `value` lists these rows.
    """
    rows = np.asarray(probabilities, dtype=np.float32)
    if rows.ndim != 2:
        raise ValueError(f"probabilities must be [N, C], not of shape {rows.shape}")
    bad = np.flatnonzero(np.isnan(rows).any(axis=1))
    if len(bad):
        what = f"The model predicts NaN for {len(bad)} of {len(rows)} items (the first: item {bad[0]})."
        remedy = "Its weights have diverged: lower training.learning_rate, or set training.grad_clip=1.0."
        raise DivergedError(what, remedy, value=bad.tolist(), place=f"item {bad[0]}")
    return rows


def predicted_labels(probabilities: npt.ArrayLike) -> Labels:
    """The most probable class of each row, int64 [N]; of equal ones, the first.

    Raises:
        DivergedError: a row holds NaN.
    """
    best: Labels = probability_rows(probabilities).argmax(axis=1).astype(np.int64, copy=False)
    return best


@dataclass(frozen=True)
class Decision:
    """A rule that chooses labels from probabilities.

    The mode is argmax (exactly one label), fixed, global or per_class (each label whose probability is at least its
    threshold; the three differ in how thresholds are tuned), or top_k (the k most probable labels).
    """

    mode: Mode
    thresholds: tuple[float, ...] = ()  # one per class, in class order; empty for argmax and top_k
    k: int | None = None  # how many labels top_k chooses

    def __post_init__(self) -> None:
        if self.mode not in get_args(Mode):
            raise ValueError(f"mode {self.mode!r} is not one of {', '.join(get_args(Mode))}")
        if bool(self.thresholds) != (self.mode in ("fixed", "global", "per_class")):
            raise ValueError(f"mode {self.mode} cannot have {len(self.thresholds)} thresholds")
        if (self.k is None) == (self.mode == "top_k") or (self.k is not None and self.k < 1):
            raise ValueError(f"mode {self.mode} cannot have k={self.k}")
        if not all(math.isfinite(threshold) for threshold in self.thresholds):
            raise ValueError(f"thresholds must be finite: {self.thresholds}")

    def choose(self, probabilities: npt.ArrayLike) -> Labels | LabelSets:
        """The labels chosen by float [N, C]: int64 [N] for argmax, otherwise bool [N, C]. Ties go to the first.

        Raises:
            DivergedError: a row holds NaN.
        """
        if self.mode == "argmax":
            return predicted_labels(probabilities)
        rows = probability_rows(probabilities)
        if self.k is not None:
            return _ranks(rows) < self.k
        if rows.shape[1] != len(self.thresholds):
            raise ValueError(f"there are {len(self.thresholds)} thresholds, but {rows.shape[1]} classes")
        return rows >= np.array(self.thresholds, dtype=np.float32)

    def to_dict(self, classes: Sequence[str]) -> dict[str, Any]:
        """A JSON object: `mode`, and `thresholds` (label: threshold) or `k`."""
        if self.k is not None:
            return {"mode": self.mode, "k": self.k}
        if not self.thresholds:
            return {"mode": self.mode}
        return {"mode": self.mode, "thresholds": dict(zip(classes, self.thresholds, strict=True))}

    @classmethod
    def from_dict(cls, value: Any, classes: Sequence[str]) -> Decision:
        """The inverse of `to_dict`; thresholds may be in any order.

        Raises:
            DataError: it is not such an object, or has thresholds for other labels than `classes`.
        """
        thresholds: Any = value.get("thresholds", {}) if isinstance(value, Mapping) else None
        if not isinstance(thresholds, Mapping):
            raise _invalid(value, "it must be a mode, with thresholds or k")
        if thresholds and set(thresholds) != set(classes):
            odd = sorted(map(str, set(thresholds) ^ set(classes)))
            what = f"The labels of the thresholds differ from the model's in {listed([repr(name) for name in odd])}."
            raise DataError(what, _USE_SAVED, value=odd, place="decision.thresholds")
        ordered, k = [thresholds[name] for name in classes if thresholds], value.get("k")
        are_numbers = all(isinstance(item, int | float) and not isinstance(item, bool) for item in ordered)
        if not are_numbers or not (k is None or type(k) is int):
            raise _invalid(value, "thresholds must be numbers, and k a whole number")
        try:
            return cls(value.get("mode"), tuple(map(float, ordered)), k)
        except ValueError as error:
            raise _invalid(value, error) from error


def _invalid(value: object, why: object) -> DataError:
    return DataError(f"The decision {value!r} is not valid: {why}.", _USE_SAVED, value=value, place="decision")


ARGMAX = Decision("argmax")


def tune(
    probabilities: npt.ArrayLike,
    labels: npt.ArrayLike,
    mode: Mode,
    classes: Sequence[str],
    *,
    value: float = 0.5,
    k: int | None = None,
) -> tuple[Decision, list[str]]:
    """The best decision for these items, and a sentence for each thing that could not be tuned.

    - per_class: for each class, the threshold with the highest F1.
    - global: one threshold, with the highest macro F1.
    - top_k: the k with the highest micro F1, unless given; of equal ones, the least.
    - fixed: `value` for every class, regardless of the items.

    A threshold is midway between two neighbouring scores (the lowest one between 0 and the lowest score); all such
    cuts are tried. Of equally good cuts, the one nearest to 0.5 is chosen. If the items cannot decide, because a
    label never occurs or because all its scores are equal, the threshold is 0.5.

    Probabilities are float [N, C] in [0, 1], labels bool [N, C]; N may be 0. The mode is not argmax.

    Raises:
        DivergedError: a probability is NaN.
    """
    scores, truth = probability_rows(probabilities), np.asarray(labels, dtype=np.bool_)
    if truth.shape != scores.shape or scores.shape[1] != len(classes):
        raise ValueError(f"scores {scores.shape} and labels {truth.shape} do not match {len(classes)} classes")
    n_classes = len(classes)
    if mode == "fixed":
        return Decision(mode, (_written(value),) * n_classes), []
    if mode == "top_k":
        if k is not None:
            return Decision(mode, k=k), []
        if not truth.any():
            return Decision(mode, k=1), ["No validation item has a label: k could not be tuned and is 1."]
        return Decision(mode, k=_best_k(scores, truth)), []
    if mode == "global":
        best = _best_cut(scores.ravel(), truth.ravel(), n_classes)
        if best is not None:
            return Decision(mode, (best,) * n_classes), []
        why = "all validation scores are equal" if truth.any() else "no validation item has a label"
        return Decision(mode, (UNTUNED,) * n_classes), [f"The threshold could not be tuned and is {UNTUNED}: {why}."]
    if mode != "per_class":
        raise ValueError(f"mode {mode} cannot be tuned")
    pairs = zip(scores.T, truth.T, strict=True)
    cuts = [_best_cut(np.ascontiguousarray(column), there, 1) for column, there in pairs]
    decision = Decision(mode, tuple(UNTUNED if cut is None else cut for cut in cuts))
    columns = zip(classes, cuts, map(np.any, truth.T), strict=True)
    undecided = [(repr(name), occurs) for name, cut, occurs in columns if cut is None]
    absent = listed([name for name, occurs in undecided if not occurs], 5, empty="")
    equal = listed([name for name, occurs in undecided if occurs], 5, empty="")
    notes = [f"No validation item has the label {absent}: the threshold is {UNTUNED}, not tuned."] if absent else []
    notes += [f"All validation scores of {equal} are equal: the threshold is {UNTUNED}, not tuned."] if equal else []
    return decision, notes


def _best_cut(scores: Floats, truth: LabelSets, n_classes: int) -> float | None:
    """The threshold with the highest macro F1 for scores [N * C], item by item; None if all are equally good.

    Going down the sorted scores, each one changes only the F1 of its own class. So the macro F1 at every cut is
    the running sum of those changes: one sort for any number of classes.
    """
    if not truth.any() or scores.min() == scores.max():
        return None
    order = np.argsort(scores)[::-1]
    ordered = scores[order]
    # positions of each class's scores, descending
    by_class = np.argsort(order % n_classes, kind="stable").reshape(n_classes, -1)
    hits = truth[order][by_class]
    chosen = np.arange(1, hits.shape[1] + 1)
    f1 = 2 * hits.cumsum(axis=1) / (chosen + hits.sum(axis=1, keepdims=True))
    changes = np.empty(len(scores))
    changes[by_class] = np.diff(f1, axis=1, prepend=0)
    ends = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True))  # a cut never separates equal scores
    sums = changes.cumsum()[ends]
    best = ends[sums >= sums.max() - 1e-12 * n_classes]  # equally good, up to rounding
    above = ordered[best]
    below = np.append(ordered, np.float32(0))[best + 1]
    cuts = ((above.astype(np.float64) + below) / 2).astype(np.float32)
    cuts = np.where(cuts > below, cuts, above)  # adjacent floats have no midpoint; the lowest may be 0
    return _written(cuts[np.abs(cuts.astype(np.float64) - UNTUNED).argmin()])


def _best_k(scores: Floats, truth: LabelSets) -> int:
    """The number of labels per item with the highest micro F1; of equal ones, the least."""
    hits = np.bincount(_ranks(scores)[truth], minlength=scores.shape[1]).cumsum()
    chosen = len(scores) * np.arange(1, scores.shape[1] + 1)
    return int(np.argmax(2 * hits / (chosen + truth.sum()))) + 1


def _ranks(scores: Floats) -> Labels:
    """The rank of each score in its row, 0 for the highest; of equal ones, the first is first. int64 [N, C]."""
    order = np.argsort(-scores, axis=1, kind="stable")
    ranks = np.empty_like(order)
    np.put_along_axis(ranks, order, np.arange(scores.shape[1])[None], axis=1)
    return ranks


def _written(value: float | np.float32) -> float:
    """The float64 with the fewest digits that rounds to this float32."""
    return float(str(np.float32(value)))
