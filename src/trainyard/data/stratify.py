"""Assigns items to splits in given shares, so that each split has its share of every label.

A unit is one item, or several that must stay together; it is one row of counts. Knows no groups, names or fractions:
`splits` determines the rows and shares.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_matrix, csr_matrix, hstack

from trainyard.data.dataset import Indices
from trainyard.data.order import shuffled

Floats = npt.NDArray[np.float64]


def stratify_classes(counts: csr_matrix, sizes: Floats, shares: Floats, seed: int) -> Indices:
    """A split for each unit, a position in `shares`, for items with one label.

    `counts` [units, classes] are the items of each class in each unit, and `sizes` [units] all its items; `shares`
    [splits] sum to 1, and a split with 0 gets nothing.
    """
    chosen = np.full(len(sizes), -1, dtype=np.int64)
    order = shuffled(len(chosen), seed)
    used = np.flatnonzero(shares > 0)
    wanted = np.outer(shares, np.asarray(counts.sum(axis=0)).ravel())  # [splits, classes]
    assigned = _assign_large_units(chosen, order, counts, sizes, wanted, used)

    singles = order[sizes[order] == 1]
    label = counts[singles].indices
    singles, label = singles[np.argsort(label, kind="stable")], np.sort(label)
    carried = np.zeros(len(shares))
    borders = np.searchsorted(label, np.arange(1, counts.shape[1]))
    for class_, members in enumerate(np.split(singles, borders)):
        missing = np.maximum(wanted[:, class_] - assigned[:, class_], 0)
        # Large units may have exceeded their share; the rest is scaled to the number of items left.
        missing *= len(members) / missing.sum() if missing.sum() else 0
        portions = _round(missing + carried, len(members), used)
        # Rounding errors of a split in one class are compensated in the next ones.
        carried += missing - portions
        chosen[members] = np.repeat(np.arange(len(shares)), portions)
    return chosen


def stratify_label_sets(
    labels: npt.NDArray[np.bool_], units: Indices, counts: csr_matrix, sizes: Floats, shares: Floats, seed: int
) -> Indices:
    """A split for each unit, a position in `shares`, for items with several labels.

    Iterative stratification (Sechidis, Tsoumakas, Vlahavas: On the Stratification of Multi-Label Data, ECML PKDD
    2011, algorithm 1): takes the rarest remaining label first, and gives each of its items to the split that lacks
    most of that label, or most items if two are equal. Beyond the paper, a combination of labels that is frequent
    enough to be in every split counts as one more label. `units` [N] is the unit of each item.
    """
    chosen = np.full(len(sizes), -1, dtype=np.int64)
    order = shuffled(len(chosen), seed)
    counts = hstack([counts, _combinations(labels, units, shares), csr_matrix(sizes[:, None])], format="csr")
    missing = np.outer(shares, np.asarray(counts.sum(axis=0)).ravel())  # [splits, columns]
    missing -= _assign_large_units(chosen, order, counts, sizes, missing, np.flatnonzero(shares > 0))
    missing[shares == 0] = -np.inf  # so that a split with share 0 is never chosen
    position = np.argsort(order)
    left = chosen < 0
    by_column = counts.tocsc()
    remaining = np.asarray(counts[left].sum(axis=0)).ravel()
    while left.any():
        rarest = int(np.argmin(np.where(remaining > 0, remaining, np.inf)))
        members = by_column.indices[by_column.indptr[rarest] : by_column.indptr[rarest + 1]]
        members = members[left[members]]
        for unit in members[np.argsort(position[members])].tolist():
            has = counts.indices[counts.indptr[unit] : counts.indptr[unit + 1]]
            split = int(np.lexsort((-missing[:, -1], -missing[:, rarest]))[0])
            chosen[unit] = split
            missing[split, has] -= 1
            remaining[has] -= 1
        left[members] = False
    return chosen


def _combinations(labels: npt.NDArray[np.bool_], units: Indices, shares: Floats) -> csr_matrix:
    """Counts [units, combinations] of the label combinations that are frequent enough for every split."""
    _, combination, found = np.unique(np.packbits(labels, axis=1), axis=0, return_inverse=True, return_counts=True)
    frequent = found * shares[shares > 0].min() >= 1
    combination = combination.ravel()
    items = np.flatnonzero(frequent[combination])
    column = (np.cumsum(frequent) - 1)[combination[items]]
    shape = (int(units.max()) + 1, int(frequent.sum()))
    return coo_matrix((np.ones(len(items)), (units[items], column)), shape=shape).tocsr()


def _assign_large_units(
    chosen: Indices, order: Indices, counts: csr_matrix, sizes: Floats, wanted: Floats, used: Indices
) -> Floats:
    """Assigns each unit of several items to a split, in `chosen`; returns the counts of the splits, like `wanted`."""
    assigned = np.zeros_like(wanted)
    # Large units first, while the rest can compensate for them; units within a factor of two in size are in random
    # order, because otherwise the seed would hardly change the split.
    several = order[sizes[order] > 1]
    several = several[np.argsort(-np.floor(np.log2(sizes[several])), kind="stable")]
    for unit in several:
        row = counts[[unit]].toarray()[0]
        split = used[np.argmin(_cost(assigned[used], row, wanted[used]))]
        chosen[unit] = split
        assigned[split] += row
    return assigned


def _cost(assigned: Floats, unit: Floats, wanted: Floats) -> Floats:
    """The increase in each split's distance from its wanted counts if the unit is added to it.

    The distance is chi-square, over the classes and over the size of the split.
    """

    def distance(have: Floats) -> Floats:
        by_class = ((have - wanted) ** 2 / np.maximum(wanted, 1e-9)).sum(axis=1)
        in_all = (have.sum(axis=1) - wanted.sum(axis=1)) ** 2 / wanted.sum(axis=1)
        total: Floats = by_class + in_all
        return total

    return distance(assigned + unit) - distance(assigned)


def _round(desired: Floats, total: int, used: Indices) -> Indices:
    """Whole numbers that sum to `total`, each as near to `desired` as possible."""
    portions = np.floor(np.maximum(desired, 0)).astype(np.int64)
    while portions.sum() > total:
        portions[np.argmax(np.where(portions > 0, portions - desired, -np.inf))] -= 1
    while portions.sum() < total:
        portions[used[np.argmax((desired - portions)[used])]] += 1
    return portions
