"""Assigns items to splits, and finds items and groups that are in more than one.

Splits made here are stratified by label and never separate items of one group or items with the same
content. Official splits are only checked: `find_leaks` lists what is in more than one split. Works on
labels, groups and digests alone, without files or tensors.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_matrix, csr_matrix
from scipy.sparse.csgraph import connected_components

from trainyard.data.dataset import SPLITS, Indices, Splits
from trainyard.data.stratify import Floats, stratify_classes, stratify_label_sets
from trainyard.errors import DataError


def assign_splits(
    labels: Sequence[object] | npt.NDArray[np.generic],
    groups: Sequence[str] | None,
    digests: Sequence[str],
    val_fraction: float,
    test_fraction: float,
    seed: int,
) -> Splits:
    """Assigns each item to "train", "val" or "test"; deterministic for the same arguments.

    Items of one group, and items with equal digests, are assigned together. Single items are then
    distributed class by class, so that each split has its share of each class to within one item of what
    the groups leave. Every class has an item in train, and every split with a fraction above 0 has an
    item. scikit-learn's StratifiedGroupKFold has the same aim but can only hold out one k-th of the
    items; this accepts any fraction.

    Where an item may have several labels, bool [N, C], the splits are stratified by label and by each combination of
    labels that is frequent enough, including the empty one. The group of an item in no group is "".

    Raises:
        DataError: the fractions leave nothing for training, or there are fewer groups and distinct items
            than splits to fill.
    """
    shares = _shares(val_fraction, test_fraction)
    if not len(digests):
        return np.array([], dtype="<U5")
    units = _units(groups, digests)
    sizes = np.bincount(units).astype(np.float64)
    labels = np.asarray(labels)
    items, classes = np.nonzero(labels) if labels.ndim == 2 else (np.arange(len(labels)), _numbers(labels))
    columns = labels.shape[1] if labels.ndim == 2 else int(classes.max()) + 1
    ones, shape = np.ones(len(items)), (len(sizes), columns)
    counts = coo_matrix((ones, (units[items], classes)), shape=shape).tocsr()  # items of each class in each unit
    if labels.ndim == 2:
        chosen = stratify_label_sets(labels.astype(bool), units, counts, sizes, shares, seed)
    else:
        chosen = stratify_classes(counts, sizes, shares, seed)
    _give_train_every_class(chosen, counts, sizes)
    _fill_empty(chosen, counts, sizes, np.flatnonzero(shares > 0))
    return np.array(SPLITS)[chosen[units]]


def _numbers(labels: npt.NDArray[np.generic]) -> Indices:
    """The labels as positions among the distinct labels."""
    return np.unique(labels, return_inverse=True)[1].astype(np.int64, copy=False)


def _shares(val_fraction: float, test_fraction: float) -> Floats:
    for name, fraction in (("val_fraction", val_fraction), ("test_fraction", test_fraction)):
        if not 0 <= fraction < 1:
            what, key = f"{name}={fraction} is not a share of the items.", f"data.split.{name}"
            raise DataError(what, "Use a number from 0 to below 1.", value=fraction, place=key)
    train = 1 - val_fraction - test_fraction
    if train <= 1e-9:
        what = f"val_fraction={val_fraction} and test_fraction={test_fraction} leave nothing for training."
        value = (val_fraction, test_fraction)
        raise DataError(what, "Make their sum less than 1.", value=value, place="data.split")
    return np.array([train, val_fraction, test_fraction])


def _units(groups: Sequence[str] | None, digests: Sequence[str]) -> Indices:
    """For each item, the number of its unit: the smallest set of items that must stay together.

    Units are the connected components of a graph that links items to their digests and groups.
    """
    count = len(digests)
    items = np.arange(count)
    _, twins = np.unique(np.asarray(digests, dtype=str), return_inverse=True)
    rows, columns = [items], [count + twins]
    if groups is not None:
        named = np.array([group != "" for group in groups], dtype=bool)
        _, mates = np.unique(np.asarray(groups, dtype=str), return_inverse=True)
        rows.append(items[named])
        columns.append(2 * count + mates[named])
    row, column = np.concatenate(rows), np.concatenate(columns)
    graph = coo_matrix((np.ones(len(row), np.int8), (row, column)), shape=(3 * count, 3 * count))
    _, parts = connected_components(graph, directed=False)
    _, units = np.unique(parts[:count], return_inverse=True)
    return units.astype(np.int64, copy=False)


def _give_train_every_class(chosen: Indices, counts: csr_matrix, sizes: Floats) -> None:
    in_train = np.asarray(counts[chosen == 0].sum(axis=0)).ravel()
    for class_ in np.flatnonzero(in_train == 0):
        holders = counts[:, [class_]].nonzero()[0]
        if len(holders):  # with several labels per item, a label may have no item at all
            chosen[holders[np.argmin(sizes[holders])]] = 0


def _fill_empty(chosen: Indices, counts: csr_matrix, sizes: Floats, used: Indices) -> None:
    """Moves the smallest unit that can be spared into each split that has none."""
    for split in used:
        if (chosen == split).any():
            continue
        of_split = np.bincount(chosen, minlength=len(SPLITS))
        in_train = np.asarray((counts[chosen == 0] > 0).sum(axis=0)).ravel()
        spare = (
            unit
            for unit in np.argsort(sizes, kind="stable")
            if of_split[chosen[unit]] > 1 and (chosen[unit] != 0 or (in_train[counts[[unit]].indices] > 1).all())
        )
        unit = next(spare, None)
        if unit is None:
            name, key = SPLITS[split], f"data.split.{SPLITS[split]}_fraction"
            what = (
                f"The {name} split would be empty: {int(sizes.sum())} items in {len(sizes)} groups (identical items "
                f"count as one) cannot fill {len(used)} splits with every class in train."
            )
            raise DataError(what, f"Add data, or set {key}=0.", value=name, place=key)
        chosen[unit] = split


@dataclass(frozen=True)
class Leaks:
    """What is in more than one split."""

    identical: tuple[tuple[tuple[str, str], ...], ...] = ()  # sets of items with the same content, as (id, split)
    groups: tuple[tuple[str, tuple[str, ...]], ...] = ()  # as (group, splits)
    repeated: int = 0  # items of train that repeat another item of train: not a leak, but reported
    held_out: int = 0  # items of val and test in `identical` that equal one of an earlier split (train, then val)

    def __bool__(self) -> bool:
        return bool(self.identical or self.groups)

    def describe(self, shown: int = 3) -> list[str]:
        """A sentence for each kind of leak, with `shown` examples; repeated items last."""
        lines = []
        if self.identical:
            verb = "equals an item" if self.held_out == 1 else "equal items"
            pairs = [" = ".join(f"{id_} ({split})" for id_, split in twins[:4]) for twins in self.identical]
            lines.append(f"{_items(self.held_out)} of val or test {verb} of another split: {_some(pairs, shown)}.")
        if self.groups:
            places = [f"{group} in {', '.join(splits)}" for group, splits in self.groups]
            count = "1 group is" if len(self.groups) == 1 else f"{len(self.groups)} groups are"
            lines.append(f"{count} in more than one split: {_some(places, shown)}.")
        if self.repeated:
            verb = "repeats" if self.repeated == 1 else "repeat"
            lines.append(f"{_items(self.repeated)} of train {verb} another item of train.")
        return lines


def _some(found: Sequence[str], shown: int) -> str:
    more = [f"and {len(found) - shown} more"] if len(found) > shown else []
    return "; ".join([*found[:shown], *more])


def _items(count: int) -> str:
    return "1 item" if count == 1 else f"{count} items"


def find_leaks(
    ids: Sequence[str], digests: Sequence[str], groups: Sequence[str] | None, splits: Sequence[str] | Splits
) -> Leaks:
    """Finds identical items and groups in more than one split, in the order of the items."""
    places = [str(split) for split in splits]
    twins: dict[str, list[int]] = defaultdict(list)
    for index, digest in enumerate(digests):
        twins[digest].append(index)
    identical = []
    repeated = held_out = 0
    for members in twins.values():
        if len(members) == 1:
            continue
        inside = [places[index] for index in members]
        repeated += max(inside.count("train") - 1, 0)
        if len(set(inside)) > 1:
            # Items of the earliest split among them are the source; the others are leaks.
            held_out += len(inside) - inside.count(min(inside, key=SPLITS.index))
            # An example lists one item of each split first: two copies in one split show no leak.
            first: dict[str, int] = {}
            for index in members:
                first.setdefault(places[index], index)
            shown = dict.fromkeys([*first.values(), *members])
            identical.append(tuple((ids[index], places[index]) for index in shown))
    spanning: dict[str, set[str]] = defaultdict(set)
    for group, place in zip(groups or (), places, strict=False):
        if group:
            spanning[group].add(place)
    ordered = {group: tuple(sorted(found, key=SPLITS.index)) for group, found in spanning.items()}
    across = tuple((group, found) for group, found in ordered.items() if len(found) > 1)
    return Leaks(tuple(identical), across, repeated, held_out)


def without_leaks(digests: Sequence[str], groups: Sequence[str] | None, splits: Splits) -> npt.NDArray[np.bool_]:
    """Which items to keep, bool [N], so that nothing leaks: test stays complete, and val has precedence over train."""
    keep = np.ones(len(splits), dtype=bool)
    contents: set[str] = set()
    names: set[str] = {""}
    for split in ("test", "val", "train"):
        members = np.flatnonzero(splits == split)
        if split != "test":
            for index in members.tolist():
                in_group = groups is not None and groups[index] != "" and groups[index] in names
                keep[index] = not (in_group or digests[index] in contents)
        kept = members[keep[members]]
        contents.update(digests[int(index)] for index in kept)
        if groups is not None:
            names.update(groups[int(index)] for index in kept)
    return keep
