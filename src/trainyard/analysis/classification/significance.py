"""Whether one model is better than another, or was lucky with its test items: a paired bootstrap.

Both models predicted the same items. Items are drawn again with replacement, as many as there are, many times
over; each draw measures both models on the same items, and the differences show how much depends on which items
there happened to be (Efron and Tibshirani, 1993, chapters 13 and 15; for language Koehn, 2004). The metrics here
come from counts that are sums over items, so a draw is a vector of how often each item came up, and thousands of
draws are one matrix product. It says nothing of other seeds: see `seeds`. NumPy only.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

METRICS = ("f1_macro", "f1_micro", "accuracy")
_AT_ONCE = 1 << 21  # items drawn at a time: 16 MiB an array

_Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Difference:
    """A metric of the second model less that of the first.

    Attributes:
        metric: one of `METRICS`.
        first: of the first model, on the items as they are.
        second: of the second model.
        difference: second - first.
        mean: the mean difference over the draws.
        low: the lower end of the 95 % interval, percentile 2.5 of the differences.
        high: its upper end, percentile 97.5.
        p_value: two-sided: how surprising such a difference would be if neither were better.
        items: how many items were predicted.
        resamples: how many draws were made.
    """

    metric: str
    first: float
    second: float
    difference: float
    mean: float
    low: float
    high: float
    p_value: float
    items: int
    resamples: int


def paired_bootstrap(
    labels: npt.ArrayLike, first: npt.ArrayLike, second: npt.ArrayLike, *, resamples: int = 2000, seed: int = 0
) -> list[Difference]:
    """A row for each of `METRICS`, all from the same draws; the same seed gives the same draws.

    The p-value is twice the share of draws in which the difference is 0 or has the other sign, and at most 1; one
    draw is added to both counts, so that it is never 0 (Davison and Hinkley, 1997, section 4.2). The differences
    are not centred on 0 first, so that it agrees with the interval: below 0.05 where that leaves 0 out.

    `accuracy` is the share of items that are right altogether. With one label an item, `f1_macro` of a draw is
    over the classes that are in it or that the model named in it, as in `metrics.single_label_metrics`.

    Args:
        labels: int [N] or bool [N, C], the truth; N at least 1.
        first: likewise, what the first model predicted.
        second: what the second model predicted, of the same items in the same order.
        resamples: how many draws, at least 1.
        seed: of the draws.
    """
    truth, guesses = np.asarray(labels), [np.asarray(first), np.asarray(second)]
    if any(guess.shape != truth.shape for guess in guesses):
        raise ValueError(f"predictions of shapes {guesses[0].shape} and {guesses[1].shape} for labels {truth.shape}")
    if not truth.size or resamples < 1:
        raise ValueError(f"nothing to draw: {len(truth)} items, {resamples} resamples")
    single = truth.ndim == 1
    if single:
        classes = np.unique(np.concatenate([truth, *guesses]))
        truth, *guesses = (labels[:, None] == classes for labels in (truth, *guesses))
    items = len(truth)
    added = [_added(truth.astype(np.bool_), guess.astype(np.bool_)) for guess in guesses]

    observed = [_measured(part.sum(axis=0, keepdims=True), items, single)[0] for part in added]
    draws = np.random.default_rng(seed)
    rows = max(1, _AT_ONCE // items)
    differences = []
    for start in range(0, resamples, rows):
        times = _times_drawn(draws, min(rows, resamples - start), items)
        one, other = (_measured(times @ part, items, single) for part in added)
        differences.append(other - one)
    every = np.concatenate(differences)
    low, high = np.percentile(every, (2.5, 97.5), axis=0)
    tail = np.minimum((every <= 0).sum(axis=0), (every >= 0).sum(axis=0))
    p_values = np.minimum(1.0, 2 * (1 + tail) / (1 + resamples))
    return [
        Difference(
            name,
            float(observed[0][at]),
            float(observed[1][at]),
            float(observed[1][at] - observed[0][at]),
            float(every[:, at].mean()),
            float(low[at]),
            float(high[at]),
            float(p_values[at]),
            items,
            resamples,
        )
        for at, name in enumerate(METRICS)
    ]


def _added(truth: npt.NDArray[np.bool_], guess: npt.NDArray[np.bool_]) -> _Floats:
    """What each item adds to the counts of a model, [N, 3 C + 1]: hits, choices and items by class; all right."""
    whole = (guess == truth).all(axis=1, keepdims=True)
    return np.concatenate([guess & truth, guess, truth, whole], axis=1).astype(np.float64)


def _times_drawn(draws: np.random.Generator, rows: int, items: int) -> _Floats:
    """How often each draw (row) drew each item, [rows, N]."""
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
