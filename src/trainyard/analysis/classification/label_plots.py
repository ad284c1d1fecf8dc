"""Plots of predictions by label, as the bytes of a PNG: F1, thresholds, calibration, changes.

`figures` defines their style. If there are more labels than fit on a page, only the first are drawn, and the title
says so.
"""

from __future__ import annotations

import contextlib
import io
import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from trainyard.analysis import figures
from trainyard.analysis.classification.calibration import Bin
from trainyard.analysis.classification.differences import ClassFlips
from trainyard.analysis.classification.metrics import ClassStatistics
from trainyard.analysis.classification.threshold_report import HALF, Threshold, f1_curve
from trainyard.analysis.figures import COLOURS, FAINT, INK, LONGEST_NAME, drawing, shown

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MOST_BARS = 120
_MOST_PANELS = 60
_BLUE, _ORANGE = COLOURS.values()
_DASHED = (0, (3, 3))
_NOTE: dict[str, Any] = {"loc": "right", "fontweight": "normal", "color": FAINT}  # a title to the right


def per_class(rows: Sequence[ClassStatistics], title: str) -> bytes:
    """A PNG with a bar per class, from the top: its F1, precision and recall as marks, and the support beside it."""
    drawn = rows[:_MOST_BARS]
    places = range(len(drawn))
    with _bars([row["label"] for row in rows], title) as (axes, png):
        axes.barh(places, [row["f1_score"] for row in drawn], color=_BLUE, alpha=0.55, height=0.68, label="F1")
        marks: dict[str, Any] = {"markersize": 5, "linestyle": "none", "markeredgewidth": 1.8, "zorder": 3}
        axes.plot([row["precision"] for row in drawn], places, marker="|", color=_ORANGE, label="precision", **marks)
        axes.plot([row["recall"] for row in drawn], places, marker="x", color=INK, label="recall", **marks)
        beside: dict[str, Any] = {"xycoords": ("axes fraction", "data"), "textcoords": "offset points"}
        look: dict[str, Any] = {"va": "center", "color": FAINT, "fontsize": 8, "annotation_clip": False}
        for place, row in zip(places, drawn, strict=True):
            axes.annotate(f"{row['support']:,}", (1, place), (6, 0), **beside, **look)
        axes.set_xlim(0, 1)
        axes.set_title("items", fontsize=8, **_NOTE)
        _legend_below(axes, 3)
    return png.getvalue()


def thresholds(
    rows: Sequence[Threshold], probabilities: npt.NDArray[np.float32], labels: npt.NDArray[np.bool_], title: str
) -> bytes:
    """A PNG with a panel per label: F1 over thresholds on validation, with the stored and the best one marked.

    The rows are from `threshold_report.table`; probabilities [N, C] and labels [N, C] are of the validation items.
    """
    drawn = rows[:_MOST_PANELS]
    columns = min(4, len(drawn))
    lines = math.ceil(len(drawn) / columns)
    with drawing((2.3 * columns + 0.6, 1.5 * lines + 1.2)) as (figure, png):
        _title(figure, title, len(drawn), len(rows))
        panels = figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False).ravel()
        for at, (row, axes) in enumerate(zip(drawn, panels, strict=False)):
            cuts, f1 = f1_curve(probabilities[:, at], labels[:, at])
            # constant from a cut down to the next lower one; above the highest, no item is predicted
            heights = [0.0, *f1.tolist(), f1[-1] if len(f1) else 0.0]
            axes.step([1.0, *cuts.tolist(), 0.0], heights, where="post", color=_BLUE, linewidth=1.2)
            axes.axvline(HALF, color=FAINT, linewidth=0.8, linestyle=_DASHED, zorder=1)
            axes.plot([row.best_threshold], [row.best_f1], marker="o", markersize=4, color=FAINT, linestyle="none")
            if row.threshold is not None:
                axes.axvline(row.threshold, color=_ORANGE, linewidth=1.0, zorder=1)
                axes.plot([row.threshold], [row.f1], marker="o", markersize=4.5, color=_ORANGE, markeredgecolor="white")
            axes.set_title(shown(row.label, LONGEST_NAME, at), fontsize=8)
            axes.set_title(f"{row.f1:.2f}", fontsize=8, **_NOTE)
            axes.set(xlim=(0, 1), ylim=(0, 1.05))
            axes.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
        for axes in panels[len(drawn) :]:
            axes.set_visible(False)
        for axes in panels[max(0, len(drawn) - columns) : len(drawn)]:  # the lowest panel of each column
            axes.tick_params(labelbottom=True)
        figure.supxlabel("threshold (orange: stored, grey: best on validation and 0.5)", fontsize=9, color=INK)
        figure.supylabel("F1 on validation", fontsize=9, color=INK)
    return png.getvalue()


def reliability(bins: Sequence[Bin], title: str, scores: str) -> bytes:
    """A PNG of observed shares over predicted probabilities, and of the numbers of forecasts.

    The bins are from `calibration.reliability`; `scores`, such as "Brier 0.03, ECE 0.01", are shown as they are.
    """
    from matplotlib.ticker import FuncFormatter

    filled = [row for row in bins if row["count"]]
    means, shares = ([row[key] or 0.0 for row in filled] for key in ("mean_probability", "share"))
    with drawing((5.2, 6.0)) as (figure, png):
        figures.title(figure, title, size=11)
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3.2, 1])
        upper.plot([0, 1], [0, 1], color=FAINT, linewidth=0.9, linestyle=_DASHED)
        upper.vlines(means, means, shares, color=_ORANGE, linewidth=1.0)  # the error
        upper.plot(means, shares, color=_BLUE, marker="o", markersize=4)
        upper.set(xlim=(0, 1), ylim=(0, 1), ylabel="Observed share")
        upper.set_title(scores, fontsize=9, **_NOTE)
        lows, widths = [row["low"] for row in filled], [row["high"] - row["low"] for row in filled]
        look: dict[str, Any] = {"align": "edge", "color": _BLUE, "edgecolor": "white", "linewidth": 0.6}
        lower.bar(lows, [row["count"] for row in filled], width=widths, **look)
        lower.set_yscale("symlog", linthresh=1)
        lower.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
        lower.set(xlabel="Predicted probability", ylabel="Forecasts")
    return png.getvalue()


def flips(rows: Sequence[ClassFlips], title: str) -> bytes:
    """A PNG with two bars per class, from the top: broken to the left, fixed to the right."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    drawn = rows[:_MOST_BARS]
    places = range(len(drawn))
    with _bars([row.label for row in rows], title) as (axes, png):
        axes.barh(places, [-row.broken for row in drawn], color=_ORANGE, height=0.68, label="right → wrong")
        axes.barh(places, [row.fixed for row in drawn], color=_BLUE, height=0.68, label="wrong → right")
        axes.axvline(0, color=INK, linewidth=0.8)
        most = max([1, *(max(row.broken, row.fixed) for row in drawn)])
        axes.set_xlim(-1.08 * most, 1.08 * most)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{abs(value):g}"))
        _legend_below(axes, 2)
    return png.getvalue()


@contextlib.contextmanager
def _bars(names: Sequence[str], title: str) -> Iterator[tuple[Axes, io.BytesIO]]:
    """Axes for a horizontal bar per class, the first at the top, and the buffer of the PNG."""
    drawn = names[:_MOST_BARS]
    with drawing((7.5, 1.5 + 0.24 * max(len(drawn), 3))) as (figure, png):
        _title(figure, title, len(drawn), len(names))
        axes = figure.subplots()
        yield axes, png
        axes.set_yticks(range(len(drawn)), [shown(name, LONGEST_NAME, at) for at, name in enumerate(drawn)])
        axes.set_ylim(len(drawn) - 0.4, -0.6)
        axes.grid(visible=False, axis="y")
        axes.tick_params(axis="y", length=0)


def _title(figure: Figure, title: str, drawn: int, all_: int) -> None:
    figures.title(figure, title, f" (the first {drawn} of {all_})" if drawn < all_ else "", size=11)


def _legend_below(axes: Axes, columns: int) -> None:
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, 0), borderaxespad=2.4, ncols=columns, handlelength=1.2)
