"""What a task's predictions are worth: the half of a task that needs no torch.

Training asks it for metrics, tables and pictures; `verify` asks it to compute them once more from the files.
It is the only place that knows what the columns of a prediction mean. How a network's outputs become those
columns is the torch half, in `tasks`.
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

Columns = Mapping[str, npt.NDArray[Any]]  # by name, each with one row an item
Rule = Mapping[str, Any]  # how predictions become decisions: a JSON object that only its task reads
Targets = npt.NDArray[Any]


@dataclass(frozen=True)
class Disagreement:
    """A stored value that the saved predictions do not give.

    Attributes:
        where: the row of the table, or the name of the metric, as in a sentence.
        stored: what is written.
        recomputed: what the predictions say.
        of: which record holds the stored value: "predictions", "statistics" or "summary".
    """

    where: str
    stored: str
    recomputed: str
    of: str = "summary"


@dataclass(frozen=True)
class Saved:
    """What a run saved of one split, for `disagreements`.

    Attributes:
        predictions: the table of predictions.
        statistics: the table of statistics, where there is one.
        summary: the run's final values of this split, by metric name.
        rule: the rule of the checkpoint that predicted; None where none is known.
    """

    predictions: Path
    statistics: Path | None
    summary: Mapping[str, Any]
    rule: Rule | None


class Scoring(Protocol):
    """The torch-free half of a task."""

    @property
    def name(self) -> str:
        """As recorded with the run: a word for the tasks that ship, `package.module.Class` for one of your own."""

    @property
    def headline(self) -> tuple[str, ...]:
        """The metrics that a line on the console and a list of runs show first."""

    @property
    def directions(self) -> Mapping[str, Direction]:
        """For every metric that `metrics` gives, whether less or more is better."""

    def tune(self, columns: Columns, targets: Targets) -> tuple[Rule | None, list[str]]:
        """The rule that all of validation suggests, and a sentence for what validation could not decide.

        Without validation there are no columns, and no targets.
        """

    def untuned(self) -> Rule | None:
        """The rule where there is no validation; None for a task that has no choice to make."""

    def metrics(self, columns: Columns, targets: Targets, rule: Rule | None) -> dict[str, float]:
        """Every metric of a split of at least one item, from all of its predictions; the loss is not among them."""

    def table(
        self, items: Sequence[str], targets: Targets | None, columns: Columns, rule: Rule | None, item_column: str
    ) -> str:
        """The table of predictions, as CSV text.

        Args:
            items: what each item is called, or its text.
            targets: the truth; None for items that have none.
            columns: the predictions.
            rule: how they become decisions.
            item_column: the header over the items, `id` or `text`.
        """

    def records(
        self, columns: Columns, targets: Targets, rule: Rule | None, *, title: str, plots: bool
    ) -> Iterator[tuple[str, str | bytes]]:
        """Further records of a split: the kind (as layouts name it) and the content, tables first."""

    def final_values(self, columns: Columns, targets: Targets, rule: Rule | None) -> dict[str, Any]:
        """JSON-able values, besides the metrics, that belong in a summary of the run."""

    @staticmethod
    def disagreements(saved: Saved) -> Iterator[Disagreement]:
        """Every saved value that the saved predictions do not give.

        Raises:
            DataError: a file that cannot be read.
        """


# The tasks that ship, and the class that scores each. Imported when asked for.
SCORINGS: Mapping[str, str] = {
    "single_label": "trainyard.analysis.classification.scoring.SingleLabel",
    "multi_label": "trainyard.analysis.classification.scoring.MultiLabel",
}
_FIRST_VERSION = "single_label"  # runs of the first version recorded no task; their tables say which of the two it is


def scoring_class(name: str | None, *, trust: bool = False) -> type[Scoring]:
    """The class that scores a recorded task; None stands for a run that recorded none.

    Args:
        name: as `Scoring.name`.
        trust: import classes that do not ship with Trainyard, which runs their code.

    Raises:
        UnsafeTargetError: the task does not ship with Trainyard and `trust` is off, or it cannot be imported.
    """
    path = SCORINGS.get(name or _FIRST_VERSION)
    if path is None:
        path = str(name)
        if not trust:
            raise UnsafeTargetError(
                f"The task {path} is not part of Trainyard, and reading its predictions runs its code.",
                "Pass --trust if you trust that code.",
                value=path,
            )
    module, _, attribute = path.rpartition(".")
    try:
        found: type[Scoring] = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        if path != name:  # one of ours: a library is missing
            raise
        raise UnsafeTargetError(
            f"The task {path} cannot be imported: {error}.", "Install the package that it is in.", value=path
        ) from error
    return found
