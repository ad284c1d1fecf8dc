"""A metric is a name measured on a split. It becomes text only where files, queries and trackers want one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Direction = Literal["min", "max"]

SPLITS = ("train", "val", "test")
# What the training itself measures, whatever the task.
OF_TRAINING: Mapping[str, Direction] = {"loss": "min", "grad_norm": "min", "learning_rate": "max"}


@dataclass(frozen=True, order=True)
class Metric:
    """`Metric("val", "loss")`, written `val_loss` in settings, summaries and queries."""

    split: str
    name: str

    def __str__(self) -> str:
        return f"{self.split}_{self.name}"

    @property
    def as_transformers(self) -> str:
        """`eval_loss`: how transformers calls what is measured on validation; the others as they are."""
        return f"eval_{self.name}" if self.split == "val" else str(self)

    @property
    def as_tag(self) -> str:
        """`val/loss`: how TensorBoard and Weights & Biases group charts."""
        return f"{self.split}/{self.name}"

    @classmethod
    def parse(cls, text: str) -> Metric:
        """The metric that `val_loss` names.

        Raises:
            ValueError: the text does not begin with a split.
        """
        split, _, name = text.partition("_")
        if split not in SPLITS or not name:
            raise ValueError(f"{text!r} does not name a split and a metric, such as val_loss")
        return cls(split, name)

    def direction(self, of_task: Mapping[str, str] = {}) -> Direction:
        """Whether less or more of it is better.

        Args:
            of_task: the directions that a run's task declared, by metric name; empty for runs that recorded none.
        """
        declared = of_task.get(self.name) or OF_TRAINING.get(self.name)
        if declared is not None:
            return "min" if declared == "min" else "max"
        # Runs of the first version recorded no directions: their names have to tell.
        return "min" if any(word in self.name for word in ("loss", "error", "brier", "ece")) else "max"


VAL_LOSS = Metric("val", "loss")
Values = Mapping[Metric, float]


def on(split: str, values: Mapping[str, float]) -> dict[Metric, float]:
    """Values by name, as metrics of a split."""
    return {Metric(split, name): value for name, value in values.items()}


def as_text(values: Values) -> dict[str, float]:
    """Metrics under their written names, for files: `{"val_loss": 0.1}`."""
    return {str(metric): value for metric, value in values.items()}


def of_split(written: Mapping[str, Any], split: str) -> dict[str, Any]:
    """What a mapping of written names holds of one split, by the metric's name alone."""
    prefix = f"{split}_"
    return {key.removeprefix(prefix): value for key, value in written.items() if key.startswith(prefix)}
