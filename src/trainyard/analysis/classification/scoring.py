"""Scoring of classes: items with exactly one label each, and items with any number of labels.

The predictions' one column is `probabilities`, float32 [N, C]. Targets are int64 [N], or bool [N, C].
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from trainyard.analysis import plots as pictures
from trainyard.analysis.classification import metrics as measures
from trainyard.analysis.classification import predictions, recompute
from trainyard.analysis.classification.decisions import ARGMAX, Decision, Mode, tune
from trainyard.analysis.scoring import Columns, Disagreement, Rule, Saved, Targets
from trainyard.errors import ConfigError
from trainyard.metric import Direction

PROBABILITIES = "probabilities"
_LOW_IS_GOOD = ("hamming_loss", "brier", "ece")


class _Classes:
    """The base of both tasks; `label_name` is the header of the classes in the table of statistics."""

    headline = ("loss", "accuracy", "f1_macro")

    def __init__(self, classes: Sequence[str], label_name: str = "label") -> None:
        self.classes = tuple(classes)
        self.label_name = label_name

    def decision(self, rule: Rule | None) -> Decision:
        """The rule as an object; None stands for the untuned rule, or for argmax if there is none."""
        rule = self.untuned() if rule is None else rule
        return ARGMAX if rule is None else Decision.from_dict(rule, self.classes)

    def untuned(self) -> Rule | None:
        """No rule."""
        return None

    def table(
        self, items: Sequence[str], targets: Targets | None, columns: Columns, rule: Rule | None, item_column: str
    ) -> str:
        """`predictions_csv` of the probabilities and the labels that the rule predicts."""
        probabilities = columns[PROBABILITIES]
        chosen = self.decision(rule).choose(probabilities)
        return predictions.predictions_csv(items, targets, chosen, probabilities, self.classes, item_column=item_column)

    def records(
        self, columns: Columns, targets: Targets, rule: Rule | None, *, title: str, plots: bool
    ) -> Iterator[tuple[str, str | bytes]]:
        """Statistics of each class."""
        rows = self._statistics(columns, targets, rule)
        yield "per_class", predictions.per_class_csv(rows, self.label_name)

    def final_values(self, columns: Columns, targets: Targets, rule: Rule | None) -> dict[str, Any]:
        """`per_class`: the statistics by label."""
        rows = self._statistics(columns, targets, rule)
        return {"per_class": {row["label"]: {k: v for k, v in row.items() if k != "label"} for row in rows}}

    def _statistics(self, columns: Columns, targets: Targets, rule: Rule | None) -> list[measures.ClassStatistics]:
        return measures.per_class(targets, self.decision(rule).choose(columns[PROBABILITIES]), self.classes)

    @staticmethod
    def disagreements(saved: Saved) -> Iterator[Disagreement]:
        """Every saved value that differs from the one recomputed from the probabilities; see `recompute`."""
        found = predictions.read_predictions(saved.predictions)
        if found.labels is None:
            return
        if saved.statistics is not None:
            yield from recompute.per_class_table(saved.statistics, found)
        yield from recompute.summary(saved.summary, found)
        if saved.rule is not None:
            yield from recompute.choices(Decision.from_dict(saved.rule, found.classes), found)
        elif not found.multi_label:  # the rule for sets of labels is unknown
            yield from recompute.choices(ARGMAX, found)


class SingleLabel(_Classes):
    """Each item belongs to exactly one of the classes: the most probable one, without tuning."""

    name = "single_label"
    directions: Mapping[str, Direction] = dict.fromkeys(measures.SINGLE_LABEL_METRICS, "max")

    def tune(self, columns: Columns, targets: Targets) -> tuple[Rule | None, list[str]]:
        """Nothing to tune."""
        return None, []

    def metrics(self, columns: Columns, targets: Targets, rule: Rule | None) -> dict[str, float]:
        """The metrics of `single_label_metrics`."""
        if rule is not None and self.decision(rule) != ARGMAX:
            raise ValueError(f"rule {rule} does not give exactly one label per item")
        return measures.single_label_metrics(columns[PROBABILITIES], targets)

    def records(
        self, columns: Columns, targets: Targets, rule: Rule | None, *, title: str, plots: bool
    ) -> Iterator[tuple[str, str | bytes]]:
        """Statistics of each class, and the confusion matrix."""
        yield from super().records(columns, targets, rule, title=title, plots=plots)
        if plots:
            chosen = self.decision(rule).choose(columns[PROBABILITIES])
            matrix = measures.confusion(targets, chosen, len(self.classes))
            yield "confusion_matrix", pictures.confusion_matrix(matrix, self.classes, title)


class MultiLabel(_Classes):
    """Each item has any number of the labels, or none, by thresholds that are tuned on validation.

    `mode` is how `tune` turns probabilities into labels: per_class, global, top_k or fixed. `value` is the threshold of
    fixed, `k` the number of labels with top_k (None: tuned).

    Raises:
        ConfigError: `k` is not from 1 to the number of labels.
    """

    name = "multi_label"
    directions: Mapping[str, Direction] = {
        name: "min" if name in _LOW_IS_GOOD else "max" for name in measures.MULTI_LABEL_METRICS
    }

    def __init__(
        self,
        classes: Sequence[str],
        label_name: str = "label",
        *,
        mode: Mode = "per_class",
        value: float = 0.5,
        k: int | None = None,
    ) -> None:
        super().__init__(classes, label_name)
        if k is not None and not 1 <= k <= len(classes):
            why = f"must be from 1 to {len(classes)}, the number of labels"
            remedy = "Set it to a number in this range, or to null to tune it."
            raise ConfigError.of("training.thresholds.k", k, why, remedy)
        self._mode, self._value, self._k = mode, value, k

    def tune(self, columns: Columns, targets: Targets) -> tuple[Rule | None, list[str]]:
        """Thresholds, or the number of labels, by the constructor's mode; see `decisions.tune`."""
        probabilities = columns.get(PROBABILITIES, np.empty((0, len(self.classes))))
        decision, notes = tune(probabilities, targets, self._mode, self.classes, value=self._value, k=self._k)
        return decision.to_dict(self.classes), notes

    def untuned(self) -> Rule | None:
        """Thresholds of 0.5, or that of fixed; for top_k, `k` labels per item, or one."""
        return self.tune({}, np.empty((0, len(self.classes)), dtype=np.bool_))[0]

    def metrics(self, columns: Columns, targets: Targets, rule: Rule | None) -> dict[str, float]:
        """The metrics of `multi_label_metrics`, for the labels predicted by the rule, or by `untuned` without one."""
        probabilities = columns[PROBABILITIES]
        chosen = self.decision(rule).choose(probabilities)
        return measures.multi_label_metrics(probabilities, chosen, targets)
