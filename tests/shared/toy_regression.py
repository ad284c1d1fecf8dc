"""A task, a network and data of a user's own: a plane is fitted to noisy points. Nothing in Trainyard knows of them.

As a package of a user's would be: named by `task._target_`, `model._target_` and `data._target_`.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn

from trainyard.analysis.scoring import Columns, Disagreement, Rule, Saved, Targets
from trainyard.metric import Direction

_DIGITS = 9  # a float32 is told from its neighbours by these


class RegressionScoring:
    """Errors of one number an item."""

    name = "toy_regression.RegressionScoring"
    headline = ("loss", "rmse")
    directions: Mapping[str, Direction] = {"rmse": "min", "mae": "min", "correlation": "max"}

    def tune(self, columns: Columns, targets: Targets) -> tuple[Rule | None, list[str]]:
        return None, []

    def untuned(self) -> Rule | None:
        return None

    def metrics(self, columns: Columns, targets: Targets, rule: Rule | None) -> dict[str, float]:
        return _metrics(columns["value"], targets)

    def table(
        self, items: Sequence[str], targets: Targets | None, columns: Columns, rule: Rule | None, item_column: str
    ) -> str:
        header = [item_column, *(["true_value"] if targets is not None else []), "pred_value"]
        truth = [] if targets is None else [targets]
        rows = zip(items, *([_text(one) for one in column] for column in (*truth, columns["value"])), strict=True)
        return _csv([header, *rows])

    def records(
        self, columns: Columns, targets: Targets, rule: Rule | None, *, title: str, plots: bool
    ) -> Iterator[tuple[str, str | bytes]]:
        """The table of statistics: the errors of each half of the range."""
        yield "per_class", _statistics(columns["value"], targets)

    def final_values(self, columns: Columns, targets: Targets, rule: Rule | None) -> dict[str, Any]:
        return {"largest_error": float(np.abs(columns["value"] - targets).max())}

    @staticmethod
    def disagreements(saved: Saved) -> Iterator[Disagreement]:
        """Metrics and statistics, computed once more from the table."""
        with saved.predictions.open(newline="") as file:
            rows = list(csv.DictReader(file))
        truth, predicted = (np.array([row[name] for row in rows], np.float32) for name in ("true_value", "pred_value"))
        for name, value in _metrics(predicted, truth).items():
            if name in saved.summary and abs(saved.summary[name] - value) > 1e-6:
                yield Disagreement(name, repr(saved.summary[name]), repr(value))
        if saved.statistics is not None:
            yield from _differences(saved.statistics, _statistics(predicted, truth))


class Regression:
    """The torch half: squared error of outputs [B] or [B, 1]."""

    def __init__(self, scale: float = 1.0) -> None:
        self.scoring = RegressionScoring()
        self.scale = scale

    def to(self, device: torch.device | str) -> Self:
        return self

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return self.scale * nn.functional.mse_loss(outputs.float().flatten(), targets)

    def normaliser(self, targets: Tensor) -> Tensor:
        return torch.tensor(float(len(targets)), device=targets.device)

    def predict(self, outputs: Tensor) -> dict[str, Tensor]:
        return {"value": outputs.detach().float().flatten()}

    def prior(self, targets: Tensor) -> Tensor | None:
        return None


class Plane(nn.Module):
    """A linear function with noise on its inputs while it is trained."""

    def __init__(self, item_shape: Sequence[int], noise: float = 0.0) -> None:
        super().__init__()
        self.weights = nn.Linear(*item_shape, 1)
        self.noise = nn.Dropout(noise)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.weights(self.noise(inputs))


def points(items: int = 90, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """x float32 [N, 4] and y float32 [N]."""
    draw = np.random.default_rng(seed)
    x = draw.normal(size=(items, 4)).astype(np.float32)
    return x, (x @ np.array([1, -2, 0.5, 0], np.float32) + 0.1 * draw.normal(size=items)).astype(np.float32)


def load(items: int = 90, seed: int = 0) -> dict[str, Any]:
    """Splits by name, as `data._target_` returns them."""
    x, y = points(items, seed)
    ends = {"train": (0, items * 2 // 3), "val": (items * 2 // 3, items * 5 // 6), "test": (items * 5 // 6, items)}
    return {split: (x[low:high], y[low:high]) for split, (low, high) in ends.items()}


def read_new(path: Path) -> tuple[list[str], np.ndarray]:
    """New items: a text file with four numbers a line."""
    rows = [line.split() for line in path.read_text().splitlines()]
    return [f"line {number}" for number in range(1, len(rows) + 1)], np.array(rows, np.float32)


def _metrics(predicted: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    wrong = predicted.astype(float) - truth.astype(float)
    together = float(np.corrcoef(predicted, truth)[0, 1]) if len(truth) > 1 else 0.0
    return {"rmse": float(np.sqrt((wrong**2).mean())), "mae": float(np.abs(wrong).mean()), "correlation": together}


def _statistics(predicted: np.ndarray, truth: np.ndarray) -> str:
    middle = np.median(truth)
    halves = (("low", truth <= middle), ("high", truth > middle))
    rows = [(name, _text(np.abs(predicted - truth)[part].mean()), int(part.sum())) for name, part in halves]
    return _csv([("half", "mae", "items"), *rows])


def _differences(path: Path, recomputed: str) -> Iterator[Disagreement]:
    with path.open(newline="") as file:
        stored = list(csv.DictReader(file))
    for ours, theirs in zip(csv.DictReader(io.StringIO(recomputed)), stored, strict=True):
        if abs(float(ours["mae"]) - float(theirs["mae"])) > 1e-6:
            yield Disagreement(ours["half"], theirs["mae"], ours["mae"], of="statistics")


def _csv(rows: Sequence[Sequence[object]]) -> str:
    text = io.StringIO(newline="")
    csv.writer(text).writerows(rows)
    return text.getvalue()


def _text(value: Any) -> str:
    return f"{float(value):.{_DIGITS}g}"
