"""Assigns items to splits in given shares, so that each split has its share of every label.

An item alone or a unit of several that must stay together is one row of counts. `splits` decides which rows
there are and which shares; groups, names and fractions are not known here.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_matrix, csr_matrix, hstack

from trainyard.data.dataset import Indices
from trainyard.data.order import shuffled

Floats = npt.NDArray[np.float64]


def stratify_classes(counts: csr_matrix, sizes: Floats, shares: Floats, seed: int) -> Indices:
    """A split for each unit, a position in `shares`, where an item has one label.

    Args:
        counts: [units, classes], the items of each class in each unit.
        sizes: [units], its items.
        shares: [splits], which sum to 1; a split with 0 gets nothing.
        seed: of the order in which units are assigned.
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
        # Units that were too large took more than their share; the rest is scaled to what is left.
        missing *= len(members) / missing.sum() if missing.sum() else 0
        portions = _round(missing + carried, len(members), used)
        # What rounding took from a split in one class is given back in the next ones.
        carried += missing - portions
        chosen[members] = np.repeat(np.arange(len(shares)), portions)
    return chosen


def stratify_label_sets(
    labels: npt.NDArray[np.bool_], units: Indices, counts: csr_matrix, sizes: Floats, shares: Floats, seed: int
) -> Indices:
    """A split for each unit, a position in `shares`, where an item may have several labels.

    Iterative stratification (Sechidis, Tsoumakas, Vlahavas: On the Stratification of Multi-Label
    Data, ECML PKDD 2011, algorithm 1): the rarest label that is left first, each item of it to the
    split that misses that label most, or most items where two miss it alike. Beyond the paper, a
    combination of labels that is frequent enough to be in every split counts as one more label.

    Args:
        labels: bool [N, C].
        units: int64 [N], the unit of each item.
        counts: as for `stratify_classes`, like the rest.
        sizes: of the units.
        shares: of the splits.
        seed: of the order.
    """
    chosen = np.full(len(sizes), -1, dtype=np.int64)
    order = shuffled(len(chosen), seed)
    counts = hstack([counts, _combinations(labels, units, shares), csr_matrix(sizes[:, None])], format="csr")
    missing = np.outer(shares, np.asarray(counts.sum(axis=0)).ravel())  # [splits, columns]
    missing -= _assign_large_units(chosen, order, counts, sizes, missing, np.flatnonzero(shares > 0))
    missing[shares == 0] = -np.inf  # never the split that misses most
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
            wish = missing[:, [rarest, -1]]
            split = int(np.lexsort((-wish[:, 1], -wish[:, 0]))[0])
            chosen[unit] = split
            missing[split, has] -= 1
            remaining[has] -= 1
        left[members] = False
    return chosen


def _combinations(labels: npt.NDArray[np.bool_], units: Indices, shares: Floats) -> csr_matrix:
    """How often each unit has each combination of labels that every split can have one of: [units, combinations]."""
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
    """Gives each unit of several items a split, in `chosen`; what the splits then have, like `wanted`."""
    assigned = np.zeros_like(wanted)
    # Large units first, while there is room to make up for them; within a factor of two in size
    # the seed decides, or another seed would hardly give another split.
    several = order[sizes[order] > 1]
    several = several[np.argsort(-np.floor(np.log2(sizes[several])), kind="stable")]
    for unit in several:
        row = counts[[unit]].toarray()[0]
        split = used[np.argmin(_worse(assigned[used], row, wanted[used]))]
        chosen[unit] = split
        assigned[split] += row
    return assigned


def _worse(assigned: Floats, unit: Floats, wanted: Floats) -> Floats:
    """How much further each split is from its wanted counts with the unit in it.

    The distance is chi-square, over the classes and over the size of the split.
    """

    def distance(have: Floats) -> Floats:
        by_class = ((have - wanted) ** 2 / np.maximum(wanted, 1e-9)).sum(axis=1)
        in_all = (have.sum(axis=1) - wanted.sum(axis=1)) ** 2 / wanted.sum(axis=1)
        total: Floats = by_class + in_all
        return total

    return distance(assigned + unit) - distance(assigned)


def _round(desired: Floats, total: int, used: Indices) -> Indices:
    """Whole numbers that sum to `total`, each as near to what is desired as that allows."""
    portions = np.floor(np.maximum(desired, 0)).astype(np.int64)
    while portions.sum() > total:
        portions[np.argmax(np.where(portions > 0, portions - desired, -np.inf))] -= 1
    while portions.sum() < total:
        portions[used[np.argmax((desired - portions)[used])]] += 1
    return portions
