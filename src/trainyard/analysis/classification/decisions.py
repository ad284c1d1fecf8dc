"""How probabilities become labels: the most probable class, or every label from its threshold on.

Thresholds are tuned on validation, kept with the checkpoint, and applied by whatever predicts. They are
float32 numbers in the fewest digits that read back identically, and are compared as float32: the numbers of a
JSON and a CSV choose the same labels again, also where they are read and compared as float64, since fewest
digits keep the order. NumPy only; knows nothing of torch, runs or files.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from trainyard.errors import DataError, DivergedError

Mode = Literal["argmax", "fixed", "global", "per_class", "top_k"]
Labels = npt.NDArray[np.int64]
LabelSets = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float32]

UNTUNED = 0.5  # the threshold of what validation says nothing about


def probability_rows(probabilities: npt.ArrayLike) -> Floats:
    """The probabilities as float32 [N, C].

    Raises:
        DivergedError: a row holds NaN.
    """
    rows = np.asarray(probabilities, dtype=np.float32)
    if rows.ndim != 2:
        raise ValueError(f"probabilities must be [N, C], not of shape {rows.shape}")
    bad = np.flatnonzero(np.isnan(rows).any(axis=1))
    if len(bad):
        raise DivergedError(
            f"The model predicts NaN for {len(bad)} of {len(rows)} items (the first: item {bad[0]}).",
            "Its weights have diverged: lower training.learning_rate, or set training.grad_clip=1.0.",
        )
    return rows


def predicted_labels(probabilities: npt.ArrayLike) -> Labels:
    """The most probable class of each row, int64 [N]; of equals the first.

    Raises:
        DivergedError: a row holds NaN.
    """
    best: Labels = probability_rows(probabilities).argmax(axis=1).astype(np.int64, copy=False)
    return best


@dataclass(frozen=True)
class Decision:
    """A rule that chooses labels from probabilities.

    Attributes:
        mode: argmax (exactly one label), fixed, global or per_class (each label whose probability is at least
            its threshold; the three differ in where thresholds come from), top_k (the k most probable labels).
        thresholds: one a class, in class order; none for argmax and top_k.
        k: how many labels top_k chooses.
    """

    mode: Mode
    thresholds: tuple[float, ...] = ()
    k: int | None = None

    def __post_init__(self) -> None:
        if self.mode not in get_args(Mode):
            raise ValueError(f"a decision has no mode {self.mode!r}; there are {', '.join(get_args(Mode))}")
        if bool(self.thresholds) != (self.mode in ("fixed", "global", "per_class")):
            raise ValueError(f"{self.mode} has {len(self.thresholds)} thresholds")
        if (self.k is None) == (self.mode == "top_k") or (self.k is not None and self.k < 1):
            raise ValueError(f"{self.mode} has k={self.k}")
        if not all(math.isfinite(threshold) for threshold in self.thresholds):
            raise ValueError(f"thresholds must be finite: {self.thresholds}")

    def choose(self, probabilities: npt.ArrayLike) -> Labels | LabelSets:
        """The chosen labels: int64 [N] for argmax, else bool [N, C]. Of equals, top_k and argmax take the first.

        Args:
            probabilities: float [N, C], taken as float32.

        Raises:
            DivergedError: a row holds NaN.
        """
        if self.mode == "argmax":
            return predicted_labels(probabilities)
        rows = probability_rows(probabilities)
        if self.k is not None:
            return _ranks(rows) < self.k
        if rows.shape[1] != len(self.thresholds):
            raise ValueError(f"{len(self.thresholds)} thresholds for {rows.shape[1]} classes")
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
        """The inverse of `to_dict`; thresholds may stand in any order.

        Raises:
            DataError: not such an object, or thresholds of other labels than `classes`.
        """
        thresholds: Any = value.get("thresholds", {}) if isinstance(value, Mapping) else None
        if not isinstance(thresholds, Mapping):
            raise DataError(f"A decision is {value!r}, expected a mode with thresholds or k.")
        if thresholds and set(thresholds) != set(classes):
            odd = sorted(map(str, set(thresholds) ^ set(classes)))
            raise DataError(
                f"The thresholds are for other labels than the model's: they differ in {', '.join(map(repr, odd))}.",
                "Use the thresholds that were saved with this model.",
            )
        ordered = [thresholds[name] for name in classes] if thresholds else []
        k = value.get("k")
        if not all(_is_number(item) for item in ordered) or not (k is None or type(k) is int):
            raise DataError(f"A decision is {value!r}; thresholds are numbers, k is a whole number.")
        try:
            return cls(value.get("mode"), tuple(map(float, ordered)), k)
        except ValueError as error:
            raise DataError(f"A decision cannot be read: {error}.") from error


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
    """The decision that is best on these items, and a sentence for each thing that they could not decide.

    - per_class: the threshold of highest F1, class by class.
    - global: one threshold, of highest macro F1.
    - top_k: the k of highest micro F1, unless given; of equals the least.
    - fixed: `value` for every class, whatever the items are.

    Thresholds lie midway between two neighbouring scores (the lowest one midway between 0 and the lowest
    score); all such cuts are tried. Of cuts that are equally good the one nearest to 0.5 is taken. Where the items say
    nothing, because a label never occurs or because all its scores are equal, the threshold is 0.5.

    Args:
        probabilities: float [N, C] in [0, 1]; N may be 0.
        labels: bool [N, C].
        mode: not argmax.
        classes: names in label order, for the sentences.
        value: the threshold of `fixed`.
        k: labels an item with `top_k`, 1 to C; None: tuned.

    Raises:
        DivergedError: a probability is NaN.
    """
    scores, truth = probability_rows(probabilities), np.asarray(labels, dtype=np.bool_)
    if truth.shape != scores.shape or scores.shape[1] != len(classes):
        raise ValueError(f"{scores.shape} scores and {truth.shape} labels for {len(classes)} classes")
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
        raise ValueError(f"{mode} cannot be tuned")
    columns = zip(scores.T, truth.T, strict=True)
    cuts = [_best_cut(np.ascontiguousarray(column), there, 1) for column, there in columns]
    decision = Decision(mode, tuple(UNTUNED if cut is None else cut for cut in cuts))
    undecided = [index for index, cut in enumerate(cuts) if cut is None]
    absent = [classes[index] for index in undecided if not truth[:, index].any()]
    equal = [classes[index] for index in undecided if truth[:, index].any()]
    notes = []
    if absent:
        notes.append(f"No validation item has the label {_listed(absent)}: the threshold is {UNTUNED}, not tuned.")
    if equal:
        notes.append(f"All validation scores of {_listed(equal)} are equal: the threshold is {UNTUNED}, not tuned.")
    return decision, notes


def _best_cut(scores: Floats, truth: LabelSets, n_classes: int) -> float | None:
    """The threshold of highest macro F1 for scores [N * C] that lie item by item; None where any is as good.

    Going down the sorted scores, each one changes the F1 of its own class alone. So the macro F1 at every cut is
    the running sum of those changes: one sort, whatever the number of classes.
    """
    if not truth.any() or scores.min() == scores.max():
        return None
    order = np.argsort(scores)[::-1]
    ordered = scores[order]
    by_class = np.argsort(order % n_classes, kind="stable").reshape(n_classes, -1)  # places of each class, downwards
    hits = truth[order][by_class]
    chosen = np.arange(1, hits.shape[1] + 1)
    f1 = 2 * hits.cumsum(axis=1) / (chosen + hits.sum(axis=1, keepdims=True))
    changes = np.empty(len(scores))
    changes[by_class] = np.diff(f1, axis=1, prepend=0)
    ends = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True))  # a cut parts no equal scores
    sums = changes.cumsum()[ends]
    best = ends[sums >= sums.max() - 1e-12 * n_classes]  # as good, but for rounding
    above = ordered[best]
    below = np.append(ordered, np.float32(0))[best + 1]
    cuts = ((above.astype(np.float64) + below) / 2).astype(np.float32)
    cuts = np.where(cuts > below, cuts, above)  # neighbouring floats have no middle; the lowest may be 0
    return _written(cuts[np.abs(cuts.astype(np.float64) - UNTUNED).argmin()])


def _best_k(scores: Floats, truth: LabelSets) -> int:
    """The number of labels an item with which micro F1 is highest; of equals the least."""
    hits = np.bincount(_ranks(scores)[truth], minlength=scores.shape[1]).cumsum()
    chosen = len(scores) * np.arange(1, scores.shape[1] + 1)
    return int(np.argmax(2 * hits / (chosen + truth.sum()))) + 1


def _ranks(scores: Floats) -> Labels:
    """The place of each score in its row, 0 for the highest; of equals the first comes first. int64 [N, C]."""
    order = np.argsort(-scores, axis=1, kind="stable")
    ranks = np.empty_like(order)
    np.put_along_axis(ranks, order, np.arange(scores.shape[1])[None], axis=1)
    return ranks


def _written(value: float | np.float32) -> float:
    """The float64 of the fewest digits that is this float32."""
    return float(str(np.float32(value)))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(map(repr, names[:5]))
    return f"{shown} and {len(names) - 5} more" if len(names) > 5 else shown
