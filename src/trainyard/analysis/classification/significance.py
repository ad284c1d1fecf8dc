"""Whether one model is better than another, or only lucky with the test items: a paired bootstrap.

Both models predicted the same items. N of the N items are drawn with replacement, many times; each draw measures
both models on the same items, and the spread of the differences shows how much depends on the choice of items
(Efron and Tibshirani, 1993, chapters 13 and 15; for language Koehn, 2004). The metrics here are computed from
counts that are sums over items, so a draw is a vector of how often each item was drawn, and thousands of draws
are one matrix product. It does not cover the variation over seeds: see `seeds`. NumPy only.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

METRICS = ("f1_macro", "f1_micro", "accuracy")
_AT_ONCE = 1 << 21  # items drawn at a time: 16 MiB per array

_Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Difference:
    """The difference of a metric between two models, second minus first."""

    metric: str  # one of `METRICS`
    first: float  # of the first model, on the original items
    second: float
    difference: float
    mean: float  # of the differences over the draws
    low: float  # the lower end of the 95 % interval, percentile 2.5 of the differences
    high: float  # its upper end, percentile 97.5
    p_value: float  # two-sided, under the hypothesis that neither is better
    items: int
    resamples: int  # the number of draws


def paired_bootstrap(
    labels: npt.ArrayLike, first: npt.ArrayLike, second: npt.ArrayLike, *, resamples: int = 2000, seed: int = 0
) -> list[Difference]:
    """A row for each of `METRICS`, from the same draws; the same seed gives the same draws.

    The p-value is twice the share of draws in which the difference is 0 or has the other sign, and at most 1; one
    draw is added to both counts, so that it is never 0 (Davison and Hinkley, 1997, section 4.2). The differences
    are not centred on 0, so that it agrees with the interval: below 0.05 if that excludes 0.

    `accuracy` is the share of items with exactly the right labels. With one label per item, `f1_macro` of a draw
    is over the classes that are true or predicted in it, as in `metrics.single_label_metrics`.

    True labels and both models' predictions are int [N] or bool [N, C], for the same items in the same order.
    """
    truth, guesses = np.asarray(labels), [np.asarray(first), np.asarray(second)]
    if any(guess.shape != truth.shape for guess in guesses):
        raise ValueError(f"predictions {guesses[0].shape} and {guesses[1].shape} do not match labels {truth.shape}")
    if not truth.size or resamples < 1:
        raise ValueError(f"a bootstrap needs items and resamples, not {len(truth)} items and {resamples} resamples")
    single = truth.ndim == 1
    if single:
        classes = np.unique(np.concatenate([truth, *guesses]))
        truth, *guesses = (labels[:, None] == classes for labels in (truth, *guesses))
    items = len(truth)
    counts = [_item_counts(truth.astype(np.bool_), guess.astype(np.bool_)) for guess in guesses]

    before, after = (_measured(part.sum(axis=0, keepdims=True), items, single)[0] for part in counts)
    draws = np.random.default_rng(seed)
    rows = max(1, _AT_ONCE // items)
    differences = []
    for start in range(0, resamples, rows):
        times = _times_drawn(draws, min(rows, resamples - start), items)
        one, other = (_measured(times @ part, items, single) for part in counts)
        differences.append(other - one)
    every = np.concatenate(differences)
    low, high = np.percentile(every, (2.5, 97.5), axis=0)
    tail = np.minimum((every <= 0).sum(axis=0), (every >= 0).sum(axis=0))
    p_values = np.minimum(1.0, 2 * (1 + tail) / (1 + resamples))
    means = np.ascontiguousarray(every.T).mean(axis=1)
    columns = np.stack([before, after, after - before, means, low, high, p_values], axis=1)
    measured = [[*row, items, resamples] for row in columns.tolist()]
    return [Difference(name, *row) for name, row in zip(METRICS, measured, strict=True)]


def _item_counts(truth: npt.NDArray[np.bool_], guess: npt.NDArray[np.bool_]) -> _Floats:
    """Each item's contribution to a model's counts, [N, 3 C + 1]: hits, predictions and items by class; exact match."""
    whole = (guess == truth).all(axis=1, keepdims=True)
    return np.concatenate([guess & truth, guess, truth, whole], axis=1).astype(np.float64)


def _times_drawn(draws: np.random.Generator, rows: int, items: int) -> _Floats:
    """How often each draw (row) contains each item, [rows, N]."""
    places = draws.integers(items, size=(rows, items))
    places += items * np.arange(rows)[:, None]
    return np.bincount(places.ravel(), minlength=rows * items).reshape(rows, items).astype(np.float64)


def _measured(counts: _Floats, items: int, single: bool) -> _Floats:
    """The `METRICS` of each row of counts [R, 3 C + 1]: [R, 3]."""
    hits, chosen, support = np.split(counts[:, :-1], 3, axis=1)
    there = chosen + support
    f1 = np.divide(2 * hits, there, out=np.zeros_like(hits), where=there > 0)
    macro = f1.sum(axis=1) / ((there > 0).sum(axis=1) if single else f1.shape[1])
    either = there.sum(axis=1)
    micro = np.divide(2 * hits.sum(axis=1), either, out=np.zeros(len(either)), where=either > 0)
    return np.stack([macro, micro, counts[:, -1] / items], axis=1)
