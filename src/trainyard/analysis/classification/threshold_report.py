"""The thresholds of a run, label by label: the F1 with them, and the best possible one.

The best thresholds are always found on validation; other splits are only measured.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from trainyard.analysis.classification.decisions import Decision, tune
from trainyard.analysis.classification.metrics import per_class

Floats = npt.NDArray[np.float32]
Sets = npt.NDArray[np.bool_]
HALF = 0.5


@dataclass(frozen=True)
class Threshold:
    """The threshold of one label. All F1 scores except the last two are on validation."""

    label: str
    support: int  # validation items that have it
    threshold: float | None  # the stored one; None if labels are not decided by thresholds
    f1: float  # with the stored decision
    f1_at_half: float  # with a threshold of 0.5
    best_threshold: float  # that of the highest F1 on validation, found by `decisions.tune`
    best_f1: float
    test_f1: float | None = None  # with the stored decision on the test split; None if that was not given
    test_f1_at_half: float | None = None


def table(
    decision: Decision,
    probabilities: Floats,
    labels: Sets,
    classes: Sequence[str],
    test: tuple[Floats, Sets] | None = None,
) -> list[Threshold]:
    """A row for each label, in class order, for the stored decision.

    Probabilities [N, C] and labels [N, C] are of the validation items; `test` has those of the test items.
    """
    half = Decision("fixed", (HALF,) * len(classes))
    best, _ = tune(probabilities, labels, "per_class", classes)

    def f1(rule: Decision, scores: Floats, truth: Sets) -> list[float]:
        return [row["f1_score"] for row in per_class(truth, rule.choose(scores), classes)]

    stored = decision.thresholds or [None] * len(classes)
    columns: list[Sequence[Any]] = [classes, labels.sum(axis=0).tolist(), stored]
    columns += [f1(rule, probabilities, labels) for rule in (decision, half)]
    columns += [best.thresholds, f1(best, probabilities, labels)]
    if test is not None:
        columns += [f1(rule, *test) for rule in (decision, half)]
    return [Threshold(*row) for row in zip(*columns, strict=True)]


def f1_curve(scores: Floats, truth: Sets) -> tuple[Floats, npt.NDArray[np.float64]]:
    """F1 over thresholds: each distinct score [T], descending, and the F1 with that score as threshold [T].

    Between two scores, F1 is that of the upper one, because a label is predicted if it reaches the threshold.
    Scores are float32 [N] of one label; truth, bool [N], is which items have it.
    """
    order = np.argsort(scores)[::-1]
    ordered = scores[order]
    ends = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True)) if len(ordered) else np.empty(0, np.int64)
    hits = truth[order].cumsum()[ends]
    return ordered[ends], 2 * hits / (ends + 1 + truth.sum())
