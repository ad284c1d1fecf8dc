"""A run's predictions of classes, as it recorded them, and the decision they were made by."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from trainyard.analysis.classification.decisions import Decision
from trainyard.analysis.classification.differences import paired
from trainyard.analysis.classification.predictions import Labels, Predictions, read_predictions
from trainyard.analysis.recorded import predictions_path, rule_of
from trainyard.analysis.scoring import Rule
from trainyard.errors import DataError
from trainyard.runs import RunReader


def labelled(reader: RunReader, split: str) -> tuple[Labels, Predictions]:
    """The true labels and the run's last predictions of a split with at least one item.

    Raises:
        DataError: there are none, the file cannot be read, or it has no true labels.
    """
    found, name = read_predictions(predictions_path(reader, split)), reader.snapshot.name
    if found.labels is None or not found.items:
        lacking = "no items" if not found.items else "no true labels"
        what = f"The predictions of run {name} on the {split} split have {lacking}."
        raise DataError(what, "Choose another run, or another split with --split.", value=split, place=name)
    return found.labels, found


def pair(first: RunReader, second: RunReader, split: str) -> tuple[Labels, Predictions, Predictions]:
    """The true labels, and both runs' predictions for the same items, in the first one's order.

    Raises:
        DataError: predictions are missing or cannot be read, or their items, labels or classes differ.
    """
    (_, one), (_, other) = labelled(first, split), labelled(second, split)
    return paired(one, other)


def decision_of(
    reader: RunReader, classes: Sequence[str], *, in_one_file: Callable[[Path], Rule | None] | None = None
) -> Decision | None:
    """The decision in the rule of the best checkpoint, see `rule_of`; None without one.

    Raises:
        DataError: its rule is not valid, or is for other labels.
        CorruptError: its metrics.json cannot be read.
    """
    rule = rule_of(reader, in_one_file=in_one_file)
    return None if rule is None else Decision.from_dict(rule, classes)
