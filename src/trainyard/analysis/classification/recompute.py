"""Recomputes the reported values of a run from its saved predictions, and yields each one that differs.

The last digits of numbers may differ, as they do between versions of NumPy.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from trainyard.analysis.classification.decisions import Decision
from trainyard.analysis.classification.errors import as_sets, names_of
from trainyard.analysis.classification.metrics import multi_label_metrics, per_class, single_label_metrics
from trainyard.analysis.classification.predictions import Predictions
from trainyard.analysis.csv_cells import RESTORE, csv_lines, label_cells
from trainyard.analysis.scoring import Disagreement
from trainyard.errors import DataError
from trainyard.wording import listed


def per_class_table(path: Path, found: Predictions) -> Iterator[Disagreement]:
    """Every cell of the per-class table at `path` that differs from the statistics of the predictions.

    Raises:
        DataError: the file is not such a table.
    """
    assert found.labels is not None
    with csv_lines(path) as reader:
        header, *lines = list(reader) or [[]]
    expected = per_class(found.labels, found.predicted, found.classes)
    keys = [key for key in expected[0] if key != "label"]
    if header[1:] != keys or any(len(line) != len(header) for line in lines):
        what = f"{path} is not a per-class table: its columns are {', '.join(header) or 'missing'}."
        raise DataError(what, RESTORE, value=header, place=path)
    names, stored = label_cells(found.classes), [line[0] for line in lines]
    if stored != names:
        yield Disagreement(f"the column {header[0]!r}", _listed(stored), _listed(names), "statistics")
        return
    for line, row in zip(lines, expected, strict=True):
        for key, cell in zip(keys, line[1:], strict=True):
            value: Any = row.get(key)
            if not _agree(cell, value):
                yield Disagreement(f"{key} of {row['label']!r}", cell, repr(value), "statistics")


def summary(stored: Mapping[str, Any], found: Predictions) -> Iterator[Disagreement]:
    """Every stored metric that differs from the recomputed one. The loss cannot be recomputed.

    Raises:
        DivergedError: a probability is NaN.
    """
    assert found.labels is not None
    if not stored or not len(found.items):
        return
    if found.multi_label:
        metrics = multi_label_metrics(found.probabilities, found.predicted, found.labels)
    else:
        metrics = single_label_metrics(found.probabilities, found.labels)
    for key, value in stored.items():
        if key in metrics and not _agree(value, metrics[key]):
            yield Disagreement(key, repr(value), repr(metrics[key]))


def choices(decision: Decision, found: Predictions) -> list[Disagreement]:
    """Every item whose labels differ from those that the decision gives for its probabilities.

    Raises:
        DivergedError: a probability is NaN.
    """
    n = len(found.classes)
    chosen, expected = as_sets(found.predicted, n), as_sets(decision.choose(found.probabilities), n)
    column = "pred_labels" if found.multi_label else "pred_label"
    wrong = []
    for number in np.flatnonzero((chosen != expected).any(axis=1)).tolist():
        stored, recomputed = (_listed(names_of(each[number], found.classes)) for each in (chosen, expected))
        where = f"{column} of item {number + 1} ({found.items[number][:40]!r})"
        wrong.append(Disagreement(where, stored, recomputed, "predictions"))
    return wrong


def _agree(stored: Any, value: float) -> bool:
    try:
        number = math.nan if stored is None else float(stored)
    except (TypeError, ValueError):
        return False
    if isinstance(value, int):
        return number == value
    both_nan = math.isnan(number) and math.isnan(value)
    return both_nan or math.isclose(number, value, rel_tol=1e-9, abs_tol=1e-12)


def _listed(names: list[str] | tuple[str, ...]) -> str:
    return listed(names, len(names), empty="no label")
