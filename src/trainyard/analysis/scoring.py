"""The scoring of a task's predictions: the half of a task that needs no torch.

It alone knows the meaning of a prediction's columns. The torch half, in `tasks`, turns a network's outputs into them.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy.typing as npt

from trainyard.errors import UnsafeTargetError
from trainyard.metric import Direction

Columns = Mapping[str, npt.NDArray[Any]]  # by name, each with one row per item
Rule = Mapping[str, Any]  # how predictions become decisions: a JSON object for its task only
Targets = npt.NDArray[Any]


@dataclass(frozen=True)
class Disagreement:
    """A stored value that differs from the one recomputed from the saved predictions."""

    where: str  # the row of the table, or the name of the metric, as part of a sentence
    stored: str
    recomputed: str
    of: str = "summary"  # the record with the stored value: "predictions", "statistics" or "summary"


@dataclass(frozen=True)
class Saved:
    """The saved files and values of one split, for `disagreements`."""

    predictions: Path  # the table of predictions
    statistics: Path | None  # the table of statistics
    summary: Mapping[str, Any]  # the run's final values of this split, by metric name
    rule: Rule | None  # of the checkpoint that predicted; None if unknown


class Scoring(Protocol):
    """The torch-free half of a task."""

    @property
    def name(self) -> str:
        """The recorded name: a word for the tasks of Trainyard, `package.module.Class` for a custom one."""

    @property
    def headline(self) -> tuple[str, ...]:
        """The metrics that console lines and lists of runs show first."""

    @property
    def directions(self) -> Mapping[str, Direction]:
        """For every metric of `metrics`, whether less or more is better."""

    def tune(self, columns: Columns, targets: Targets) -> tuple[Rule | None, list[str]]:
        """The rule tuned on all of validation, and a sentence for each thing that could not be tuned.

        Without validation, there are no columns and no targets.
        """

    def untuned(self) -> Rule | None:
        """The rule used without validation; None for a task without decisions."""

    def metrics(self, columns: Columns, targets: Targets, rule: Rule | None) -> dict[str, float]:
        """Every metric of a split with at least one item, from all of its predictions, without the loss."""

    def table(
        self, items: Sequence[str], targets: Targets | None, columns: Columns, rule: Rule | None, item_column: str
    ) -> str:
        """The table of predictions, as CSV text; `item_column` is the header of the items, `id` or `text`."""

    def records(
        self, columns: Columns, targets: Targets, rule: Rule | None, *, title: str, plots: bool
    ) -> Iterator[tuple[str, str | bytes]]:
        """Further records of a split: the layout's kind and the content, tables first."""

    def final_values(self, columns: Columns, targets: Targets, rule: Rule | None) -> dict[str, Any]:
        """Values ready for JSON, besides the metrics, for the summary of the run."""

    @staticmethod
    def disagreements(saved: Saved) -> Iterator[Disagreement]:
        """Every saved value that differs from the one recomputed from the saved predictions.

        Raises:
            DataError: a file cannot be read.
        """


# The tasks of Trainyard, and the scoring class of each. Imported on demand.
SCORINGS: Mapping[str, str] = {
    "single_label": "trainyard.analysis.classification.scoring.SingleLabel",
    "multi_label": "trainyard.analysis.classification.scoring.MultiLabel",
}
_FIRST_VERSION = "single_label"  # runs of the first version recorded no task; their tables tell which of the two it was


def scoring_class(name: str | None, *, trust: bool = False) -> type[Scoring]:
    """The scoring class of a recorded task; None is for runs that recorded no task.

    Classes outside of Trainyard are imported, which runs their code, only with `trust`.

    Raises:
        UnsafeTargetError: the task is not part of Trainyard and `trust` is False, or it cannot be imported.
    """
    path = SCORINGS.get(name or _FIRST_VERSION, str(name))
    if path == name and not trust:
        what = f"The task {path} is not part of Trainyard, and reading its predictions runs its code."
        raise UnsafeTargetError(what, "Pass --trust if you trust that code.", value=path)
    module, _, attribute = path.rpartition(".")
    try:
        found: type[Scoring] = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        if path != name:  # a task of Trainyard: a library is missing
            raise
        what = f"The task {path} cannot be imported: {error}."
        raise UnsafeTargetError(what, "Install the package that it is in.", value=path) from error
    return found
