"""The thresholds of a run, label by label: the F1 with them, and the best possible one.

The best thresholds are always found on validation; other splits are only measured. Works on saved predictions;
knows no runs and no files.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from trainyard.analysis.classification.decisions import Decision, tune
from trainyard.analysis.classification.metrics import per_class

Floats = npt.NDArray[np.float32]
Sets = npt.NDArray[np.bool_]
HALF = 0.5


@dataclass(frozen=True)
class Threshold:
    """The threshold of one label. All F1 scores except the last two are on validation.

    Attributes:
        label: its name.
        support: validation items that have it.
        threshold: the stored one; None if labels are not decided by thresholds.
        f1: with the stored decision.
        f1_at_half: with a threshold of 0.5.
        best_threshold: that of the highest F1 on validation, found by `decisions.tune`.
        best_f1: that F1.
        test_f1: with the stored decision on the test split; None if that was not given.
        test_f1_at_half: with a threshold of 0.5 on the test split.
    """

    label: str
    support: int
    threshold: float | None
    f1: float
    f1_at_half: float
    best_threshold: float
    best_f1: float
    test_f1: float | None = None
    test_f1_at_half: float | None = None


def table(
    decision: Decision,
    probabilities: Floats,
    labels: Sets,
    classes: Sequence[str],
    test: tuple[Floats, Sets] | None = None,
) -> list[Threshold]:
    """A row for each label, in class order.

    Args:
        decision: the stored one.
        probabilities: of the validation items, float32 [N, C].
        labels: of the validation items, bool [N, C].
        classes: names in label order.
        test: probabilities and labels of the test items, to be measured as well.
    """
    half = Decision("fixed", (HALF,) * len(classes))
    best, _ = tune(probabilities, labels, "per_class", classes)

    def f1(rule: Decision, scores: Floats, truth: Sets) -> list[float]:
        return [row["f1_score"] for row in per_class(truth, rule.choose(scores), classes)]

    on_validation = [f1(rule, probabilities, labels) for rule in (decision, half, best)]
    on_test: list[list[float]] | list[list[None]] = [[None] * len(classes)] * 2
    if test is not None:
        on_test = [f1(rule, *test) for rule in (decision, half)]
    return [
        Threshold(
            name,
            int(labels[:, at].sum()),
            decision.thresholds[at] if decision.thresholds else None,
            on_validation[0][at],
            on_validation[1][at],
            best.thresholds[at],
            on_validation[2][at],
            on_test[0][at],
            on_test[1][at],
        )
        for at, name in enumerate(classes)
    ]


def f1_curve(scores: Floats, truth: Sets) -> tuple[Floats, npt.NDArray[np.float64]]:
    """F1 over thresholds: each distinct score [T], descending, and the F1 with that score as threshold [T].

    Between two scores, F1 is that of the upper one, because a label is predicted if it reaches the threshold.

    Args:
        scores: float32 [N] of one label.
        truth: bool [N], which items have it.
    """
    order = np.argsort(scores)[::-1]
    ordered = scores[order]
    ends = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True)) if len(ordered) else np.empty(0, np.int64)
    hits = truth[order].cumsum()[ends]
    return ordered[ends], 2 * hits / (ends + 1 + truth.sum())
