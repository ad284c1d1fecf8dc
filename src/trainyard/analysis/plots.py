"""Learning curves, confusion matrices and layer weights, as the bytes of a PNG; `figures` defines their style."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from trainyard.analysis import figures
from trainyard.analysis.figures import COLOURS, FAINT, INK, LONGEST_NAME, drawing, shown

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Normalize

_MOST_COUNTS = 30  # classes up to which the cells hold their counts
_MOST_NAMES = 60  # classes up to which every row is named

Rows = Sequence[Mapping[str, Any]]
Curve = tuple[list[float], list[float]]  # epochs, values


def learning_curves(rows: Rows, title: str, *, metric: str | None = None, best_epoch: float | None = None) -> bytes:
    """A PNG of two panels over the epochs: the losses of train and val, and a metric of val.

    History rows have `epoch`, `split`, and values by name, `loss` among them. Of several for an epoch and split, the
    last is used. Values that are not finite leave a gap. Without a `metric`, it is `accuracy`, or the first other
    value of a val row; without a `best_epoch`, that of the lowest val loss is marked.
    """
    losses = {split: curve for split in COLOURS if (curve := _curve(rows, split, "loss"))[0]}
    metric = metric or _main_metric(rows)
    scores = {split: curve for split in COLOURS if metric and (curve := _curve(rows, split, metric))[0]}
    if best_epoch is None and "val" in losses:
        finite = [(value, epoch) for epoch, value in zip(*losses["val"], strict=True) if math.isfinite(value)]
        best_epoch = min(finite)[1] if finite else None
    with drawing((9.0, 3.8)) as (figure, png):
        figures.title(figure, title)
        left, right = figure.subplots(1, 2)
        _draw_curves(left, "Loss", losses, best_epoch)
        _draw_curves(right, (metric or "metric").replace("_", " ").capitalize(), scores, best_epoch)
    return png.getvalue()


def confusion_matrix(matrix: npt.ArrayLike, classes: Sequence[str], title: str) -> bytes:
    """A PNG of how often each true class (row) was predicted as each class (column).

    Colours are shares of a row, on a square-root scale, so that rare classes and rare mistakes are visible; an
    empty cell is 0. Up to 30 classes, cells show their counts; beyond 60, only some classes are named. A name
    with characters that no installed font has is shown by its number and the characters that can be drawn.
    `matrix` is int [C, C], as from `metrics.confusion`.
    """
    counts = np.asarray(matrix, dtype=np.int64)
    n = len(classes)
    if not n or counts.shape != (n, n):
        raise ValueError(f"a matrix for {n} classes cannot have shape {counts.shape}")
    support = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, support, out=np.zeros((n, n)), where=support > 0)
    names = [shown(name, LONGEST_NAME, number) for number, name in enumerate(classes)]
    step = math.ceil(n / _MOST_NAMES)

    # All in inches: a cell has room for its count; names are rotated where they would touch.
    cell = max(0.36, 0.16 + 0.085 * len(str(counts.max()))) if n <= _MOST_COUNTS else 10.5 / n
    side = max(cell * n, 2.6)
    size = min(9.0, 0.75 * 72 * side / n * step)  # points
    longest = max(map(len, names)) * 0.0085 * size
    upright = longest > 0.95 * side / n * step
    with drawing((side + longest + 1.7, side + (longest if upright else 0.2) + 1.0)) as (figure, png):
        axes = figure.subplots()
        image = axes.imshow(shares, cmap="Blues", norm=_square_root(), interpolation="nearest")
        room = int((side + 1.2) / 0.12)  # characters
        axes.set_title(shown(title, room), loc="left", pad=22, fontsize=12)
        axes.annotate(_summary(counts), (0, 1), (0, 7), "axes fraction", "offset points", color=FAINT, fontsize=9)
        axes.set(xlabel="Predicted", ylabel="True")
        axes.set_yticks(range(0, n, step), names[::step], fontsize=size)
        axes.set_xticks(range(0, n, step), names[::step], fontsize=size, rotation=90 if upright else 0)
        axes.grid(visible=False)
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        if n <= _MOST_COUNTS:
            _draw_counts(axes, counts, image.to_rgba(shares))
        height = min(1.0, 2.6 / side)
        bar = figure.colorbar(image, cax=axes.inset_axes((1 + 0.15 / side, 1 - height, 0.16 / side, height)))
        bar.set_ticks([0, 0.01, 0.05, 0.2, 0.5, 1], labels=["0 %", "1 %", "5 %", "20 %", "50 %", "100 %"])
        bar.ax.tick_params(length=0, labelsize=8)
        bar.set_label("Share of the true class", fontsize=8)
        bar.ax.spines[:].set_visible(False)
    return png.getvalue()


def layer_weights(weights: Mapping[str, Sequence[float]], title: str) -> bytes:
    """A PNG of the weight that a head gives to each layer of an encoder, a line per run or data set.

    `weights` are, by name, those of the first layer's input and of the layers from 0 to the last; each sums to 1.
    """
    from matplotlib import colormaps
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    if not weights or not all(len(shares) for shares in weights.values()):
        raise ValueError("there are no weights to draw")
    with drawing((7.5, 4.0)) as (figure, png):
        figures.title(figure, title)
        axes = figure.subplots()
        colours = colormaps["viridis"](np.linspace(0.05, 0.85, len(weights)))
        for number, (name, colour) in enumerate(zip(weights, colours, strict=True)):
            shares = np.asarray(weights[name], dtype=np.float64)
            label = shown(name, LONGEST_NAME, number)
            axes.plot(range(-1, len(shares) - 1), shares, color=colour, label=label, marker="o", markersize=3.5)
        counts = {len(shares) for shares in weights.values()}
        if len(counts) == 1:
            axes.axhline(1 / counts.pop(), color=FAINT, linewidth=0.9, linestyle=(0, (3, 3)), zorder=1)
        most = max(max(shares) for shares in weights.values())
        axes.set(xlabel="Layer (-1: the input of layer 0)", ylabel="Weight in the head", ylim=(0, 1.1 * most))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=13))
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        if len(weights) > 1:
            axes.legend(loc="best", handlelength=1.4, ncols=1 if len(weights) < 8 else 2)
    return png.getvalue()


def _square_root() -> Normalize:
    """A scale on which a share of 1 % is visible beside one of 100 %."""
    from matplotlib.colors import PowerNorm

    return PowerNorm(gamma=0.5, vmin=0, vmax=1)


def _draw_counts(axes: Axes, counts: npt.NDArray[np.int64], colours: npt.NDArray[np.float64]) -> None:
    """Lines between the cells and, in each that is not empty, its count."""
    n = len(counts)
    edges = np.arange(n + 1) - 0.5
    axes.hlines(edges, -0.5, n - 0.5, colors="#EDEDED", linewidth=0.8)
    axes.vlines(edges, -0.5, n - 0.5, colors="#EDEDED", linewidth=0.8)
    brightness = colours[..., :3] @ (0.299, 0.587, 0.114)
    for row, column in np.argwhere(counts).tolist():
        colour = "white" if brightness[row, column] < 0.55 else INK
        text = axes.text(column, row, str(counts[row, column]), ha="center", va="center", color=colour, fontsize=9)
        text.set_in_layout(False)  # it is inside anyway; measuring hundreds takes seconds


def _draw_curves(axes: Axes, title: str, curves: Mapping[str, Curve], best_epoch: float | None) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.set(title=title, xlabel="Epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=10))
    drawn = False
    for split, (epochs, values) in curves.items():
        finite = [math.isfinite(value) for value in values]
        drawn = drawn or any(finite)
        heights = [value if there else math.nan for value, there in zip(values, finite, strict=True)]
        # A point between two gaps has no line, so it needs a marker.
        marker = "o" if len(epochs) <= 30 or not all(finite) else ""
        axes.plot(epochs, heights, color=COLOURS[split], label=split, marker=marker, markersize=3.5)
    if not drawn:
        axes.text(0.5, 0.5, "no finite values", transform=axes.transAxes, ha="center", va="center", color=FAINT)
        axes.set(xticks=[], yticks=[])
        return
    axes.legend(loc="best", handlelength=1.4)
    every = {epoch for curve in curves.values() for epoch in curve[0]}
    if len(every) == 1:
        axes.set_xticks(list(every))
    epochs, values = curves.get("val", ([], []))
    at = dict(zip(epochs, values, strict=True)).get(best_epoch, math.nan) if best_epoch is not None else math.nan
    if best_epoch is not None and math.isfinite(at):
        axes.axvline(best_epoch, color=FAINT, linewidth=0.9, linestyle=(0, (3, 3)), zorder=1)
        axes.plot([best_epoch], [at], marker="o", markersize=7, color=COLOURS["val"], markeredgecolor="white", zorder=5)
        best = f"best: epoch {best_epoch:g}, {at:.4g}"
        axes.set_title(best, loc="right", fontsize=9, fontweight="normal", color=FAINT)


def _curve(rows: Rows, split: str, name: str) -> Curve:
    """The values of a split by epoch; the last of an epoch is used."""
    points = {
        float(row["epoch"]): float(row[name])
        for row in rows
        if row.get("split") == split and row.get(name) is not None and row.get("epoch") is not None
    }
    return sorted(points), [points[epoch] for epoch in sorted(points)]


def _main_metric(rows: Rows) -> str | None:
    names = [name for row in rows if row.get("split") == "val" for name in row]
    others = [name for name in names if name not in ("step", "epoch", "split", "time", "loss")]
    return "accuracy" if "accuracy" in names else next(iter(others), None)


def _summary(counts: npt.NDArray[np.int64]) -> str:
    items = int(counts.sum())
    return f"Accuracy {100 * np.trace(counts) / items:.1f} % · {items:,} items" if items else "no items"
