"""How well probabilities, float [N, C] in [0, 1], are calibrated: reliability tables, Brier score, calibration error.

The forecasts depend on the labels. If an item may have several labels (bool [N, C]), each probability of each
label is a forecast of an event. If it has one (int [N]), a forecast is the probability of the most probable
class, and the event is that this class is right. Probabilities that are NaN raise DivergedError. NumPy only.
"""

from __future__ import annotations

from typing import Literal, TypedDict

import numpy as np
import numpy.typing as npt

from trainyard.analysis.classification.decisions import probability_rows

Bins = Literal["width", "mass"]
BINS = 15  # as in Guo et al. (2017)

_Floats = npt.NDArray[np.float64]


class Bin(TypedDict):
    """The forecasts between two probabilities, and their outcomes."""

    low: float  # exclusive, except in the first bin
    high: float  # inclusive
    count: int
    mean_probability: float | None  # None in an empty bin, like the next
    share: float | None  # of the events that occurred


def reliability(
    probabilities: npt.ArrayLike, labels: npt.ArrayLike, *, bins: int = BINS, by: Bins = "width"
) -> list[Bin]:
    """A row for each of at least one bin, from low to high probability.

    By `width`, bins have equal width over [0, 1]. By `mass`, they have equally many probabilities, and their edges are
    observed probabilities; equal probabilities share a bin, so some bins may stay empty.
    """
    edges, *columns = (values.tolist() for values in _binned(*_forecasts(probabilities, labels), bins, by))
    return [
        {
            "low": low,
            "high": high,
            "count": int(count),
            "mean_probability": total / count if count else None,
            "share": events / count if count else None,
        }
        for low, high, count, total, events in zip(edges[:-1], edges[1:], *columns, strict=True)
    ]


def ece(probabilities: npt.ArrayLike, labels: npt.ArrayLike, *, bins: int = BINS, by: Bins = "width") -> float:
    """The mean distance of probabilities from shares of events over bins, weighted by count; 0 is perfect.

    The expected calibration error of Guo et al. (2017), equation 3, whose bins have equal width:
    sum over bins of count / all * |share of events - mean probability|.
    """
    _, counts, sums, events = _binned(*_forecasts(probabilities, labels), bins, by)
    return float(np.abs(events - sums).sum() / counts.sum())


def brier(probabilities: npt.ArrayLike, labels: npt.ArrayLike) -> float:
    """The mean squared distance of probabilities from outcomes; 0 is perfect.

    With bool [N, C] the mean is over items and labels. With int [N] it is the mean over items of the sum
    over classes, as in Brier (1950): between 0 and 2.
    """
    rows, truth = probability_rows(probabilities).astype(np.float64), np.asarray(labels)
    if truth.ndim == 2:
        return float(np.square(rows - truth).mean())
    return float(np.square(rows - np.eye(rows.shape[1])[truth]).sum(axis=1).mean())


def _forecasts(probabilities: npt.ArrayLike, labels: npt.ArrayLike) -> tuple[_Floats, npt.NDArray[np.bool_]]:
    """Every forecast, and whether its event occurred."""
    rows, truth = probability_rows(probabilities), np.asarray(labels)
    if truth.shape not in (rows.shape, rows.shape[:1]) or not rows.size:
        raise ValueError(f"probabilities {rows.shape} and labels {truth.shape} do not match, or there are none")
    if truth.ndim == 1:
        best = rows.argmax(axis=1)
        return np.take_along_axis(rows, best[:, None], axis=1)[:, 0].astype(np.float64), best == truth
    return rows.ravel().astype(np.float64), truth.astype(np.bool_).ravel()


def _binned(forecasts: _Floats, events: npt.NDArray[np.bool_], bins: int, by: Bins) -> tuple[_Floats, ...]:
    """Edges [bins + 1]; count, sum of probabilities and number of events of each bin, float64."""
    if bins < 1:
        raise ValueError(f"bins must be at least 1, not {bins}")
    if by == "width":
        edges = np.linspace(0.0, 1.0, bins + 1)
    else:
        last = -(-np.arange(bins + 1) * len(forecasts) // bins) - 1  # of each bin, rounded up
        edges = np.sort(forecasts)[np.maximum(last, 0)]
    places = np.searchsorted(edges[1:-1], forecasts)  # (low, high]
    counts, sums, hits = (
        np.bincount(places, weights=weights, minlength=bins).astype(np.float64)
        for weights in (np.ones(len(events)), forecasts, events.astype(np.float64))
    )
    return edges, counts, sums, hits
