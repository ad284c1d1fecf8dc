"""A metric: a name measured on a split. It becomes text only in files, queries and trackers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Direction = Literal["min", "max"]

SPLITS = ("train", "val", "test")
# Measured by the training loop itself, for every task.
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
        """`eval_loss`: transformers' name for a validation metric; metrics of other splits keep their names."""
        return f"eval_{self.name}" if self.split == "val" else str(self)

    @property
    def as_tag(self) -> str:
        """`val/loss`: the form by which TensorBoard and Weights & Biases group charts."""
        return f"{self.split}/{self.name}"

    @classmethod
    def parse(cls, text: str) -> Metric:
        """The metric that `val_loss` names; ValueError if the text does not begin with a split and an underscore."""
        split, _, name = text.partition("_")
        if split not in SPLITS or not name:
            raise ValueError(f"{text!r} does not name a split and a metric, such as val_loss")
        return cls(split, name)

    def direction(self, of_task: Mapping[str, str] = {}) -> Direction:
        """Whether less or more of it is better, by what the run's task declared, if it recorded that."""
        declared = of_task.get(self.name) or OF_TRAINING.get(self.name)
        if declared is not None:
            return "min" if declared == "min" else "max"
        # Runs of the first version recorded no directions: guess from the name.
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
    """The values of one split in a mapping of written names, keyed by the metric's name alone."""
    prefix = f"{split}_"
    return {key.removeprefix(prefix): value for key, value in written.items() if key.startswith(prefix)}
