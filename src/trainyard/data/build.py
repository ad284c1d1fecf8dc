"""Builds a checked `Dataset` from what a source has read: completes the splits, finds leaks, checks classes.

Shared by all sources, so that a fault of the data is found and reported in the same way for an array, a
folder or a CSV. Knows no file format.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from trainyard.config.schema import SplitOptions
from trainyard.data.dataset import SPLITS, Dataset, Fetch, Indices, Labels, Splits, count_labels
from trainyard.data.splits import Leaks, assign_splits, find_leaks, without_leaks
from trainyard.errors import DataError, LeakError
from trainyard.wording import did_you_mean, listed

SPLIT_ALIASES = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}
ON_LEAK = ("warn", "error", "drop")
ON_BAD = ("error", "skip")


def require_choice(key: str, value: object, choices: Sequence[object]) -> None:
    """Raises DataError unless `value`, of the setting `key`, is one of `choices`."""
    if value not in choices:
        names = ", ".join(map(str, choices))
        raise DataError(f"{key}={value!r} is not one of {names}.", f"Use one of {names}.", value=value, place=key)


def unusable_items(path: Path, what: str, bad: Sequence[tuple[str, str]]) -> DataError:
    """The error about items of `path` that cannot be used, as (name, reason); `what` says so."""
    names = [name for name, _ in bad]
    return DataError(f"{path}: {what}:{describe_bad(bad)}", "Remove or fix them.", value=names, place=path)


def describe_bad(bad: Iterable[tuple[str, str]], shown: int = 5) -> str:
    """One line for each of the first bad items (name, reason), and how many more there are."""
    every = list(bad)
    lines = [f"{name}: {reason}" for name, reason in every[:shown]]
    if len(every) > shown:
        lines.append(f"… and {len(every) - shown} more")
    return "".join(f"\n  - {line}" for line in lines)


def build_dataset(
    name: str,
    where: str,
    classes: Sequence[str],
    ids: Sequence[str],
    labels: npt.ArrayLike,
    digests: Sequence[str],
    item_shape: tuple[int, ...],
    fetch: Callable[[Indices], Fetch],
    *,
    official: Sequence[str] | Splits | None = None,
    groups: Sequence[str] | None = None,
    texts: Sequence[str] | None = None,
    warnings: Sequence[str] = (),
    split: SplitOptions,
    extra: Mapping[str, Any] | None = None,
) -> Dataset:
    """Builds a checked `Dataset`, whose attributes these are, from what a source has read about each item.

    `where` is the name of the data in messages, such as its path. Given the items that are kept (int64, ascending),
    `fetch` returns a fetch that renumbers them from 0. A val or test split that is missing from the `official` ones
    is cut from train. `extra` are attributes that do not depend on which items are kept.

    Raises:
        DataError: fewer than two classes, no items in train, or a class without items in train; the last
            is a warning where an item may have several labels.
        LeakError: something leaks and `on_leak` is "error".
    """
    require_choice("data.split.on_leak", split.on_leak, ON_LEAK)
    kept_as = (np.bool_ if np.ndim(labels) == 2 else np.int64) if classes else None
    labels = np.asarray(labels, dtype=kept_as)
    notes = list(warnings)
    _check_classes(where, classes, labels)
    if split.test_groups:
        official = _test_groups(where, groups, split.test_groups)
    splits, made = _complete(classes, labels, official, groups if split.by_group else None, digests, split)
    notes += _missed_shares(splits, made)

    leaks = find_leaks(ids, digests, groups, splits)
    keep = np.arange(len(ids), dtype=np.int64)
    if leaks and split.on_leak == "error":
        remedy = "Fix the data, or set data.split.on_leak to drop (keeps test complete) or to warn."
        raise LeakError(f"{where}: {' '.join(leaks.describe())}", remedy, value=leaks, place=where)
    if leaks and split.on_leak == "drop":
        kept = without_leaks(digests, groups, splits)
        notes.append(_dropped_note(splits, kept, leaks))
        keep = np.flatnonzero(kept).astype(np.int64)
    kept_ids, kept_digests = _pick(keep, ids, digests)
    if len(keep) < len(ids):
        leaks = Leaks(repeated=find_leaks(kept_ids, kept_digests, None, splits[keep]).repeated)
    notes += leaks.describe()
    notes += _check_coverage(where, classes, labels[keep], splits[keep])
    return Dataset(
        name=name,
        classes=tuple(classes),
        ids=kept_ids,
        labels=labels[keep],
        splits=splits[keep],
        groups=None if groups is None else _pick(keep, groups)[0],
        digests=kept_digests,
        item_shape=tuple(item_shape),
        fetch=fetch(keep),
        warnings=tuple(notes),
        texts=None if texts is None else _pick(keep, texts)[0],
        **(extra or {}),
    )


def _test_groups(where: str, groups: Sequence[str] | None, chosen: Sequence[str]) -> list[str]:
    """ "test" for the items of the chosen groups, "train" for the rest."""
    known = sorted(set(groups or ()) - {""})
    for name in chosen:
        if name not in known:
            has = f"its groups are {listed(known)}" if known else "none of its items is in a group"
            what, key = f"{where}: data.split.test_groups has {name!r}, but {has}.", "data.split.test_groups"
            remedy = "Name the column of groups in data.group_column, or unset it."
            if known:
                remedy = did_you_mean(name, known, then="Use groups of the data.")
            raise DataError(what, remedy, value=name, place=key)
    return ["test" if group in chosen else "train" for group in groups or ()]


def _pick(keep: Indices, *columns: Sequence[str]) -> list[tuple[str, ...]]:
    return [tuple(column[index] for index in keep.tolist()) for column in columns]


def _check_classes(where: str, classes: Sequence[str], labels: Labels) -> None:
    repeated = tuple(sorted({name for name in classes if list(classes).count(name) > 1}))
    if repeated:
        what = f"{where}: the classes repeat {listed(repeated)}."
        raise DataError(what, "List each class once.", value=repeated, place="data.classes")
    if not len(labels):
        raise DataError(f"{where} has no items.", "Check data.path.", place=where)
    if not classes:
        return
    if len(classes) < 2:
        what = f"{where} has only one class ({classes[0]}); a classifier needs at least two."
        raise DataError(what, "Add items of a second class.", value=tuple(classes), place=where)
    empty = _without_items(classes, labels)
    if empty and labels.ndim == 1:
        what = f"{where}: no items of {'class' if len(empty) == 1 else 'classes'} {listed(empty)}."
        raise DataError(what, "Add items, or remove the class from data.classes.", value=empty, place=where)


def _without_items(classes: Sequence[str], labels: Labels) -> tuple[str, ...]:
    counts = count_labels(labels, len(classes)) if classes else []
    return tuple(name for name, count in zip(classes, counts, strict=True) if not count)


def _complete(
    classes: Sequence[str],
    labels: Labels,
    official: Sequence[str] | Splits | None,
    groups: Sequence[str] | None,
    digests: Sequence[str],
    split: SplitOptions,
) -> tuple[Splits, dict[str, tuple[float, int]]]:
    """The splits, and for each one made here its requested share and the number of items it was taken from."""
    splits = np.array(["train"] * len(labels) if official is None else list(official), dtype="<U5")
    present = set(splits.tolist())
    requested = {"val": split.val_fraction, "test": split.test_fraction}
    made = {name: share for name, share in requested.items() if name not in present and share > 0}
    train = np.flatnonzero(splits == "train")
    if made and len(train):
        splits[train] = assign_splits(
            labels[train] if classes else np.zeros(len(train)),
            None if groups is None else [groups[index] for index in train.tolist()],
            [digests[index] for index in train.tolist()],
            made.get("val", 0.0),
            made.get("test", 0.0),
            split.seed,
        )
    return splits, {name: (share, len(train)) for name, share in made.items()}


def _missed_shares(splits: Splits, made: dict[str, tuple[float, int]]) -> list[str]:
    notes = []
    for split, (share, total) in made.items():
        count = int((splits == split).sum())
        # More than half off the requested share, and by more than rounding to whole items explains.
        if abs(count - share * total) > max(share * total / 2, 1):
            what = f"The {split} split has {count / total:.1%} of the items instead of {share:.1%}"
            notes.append(f"{what}: groups and identical items are not divided.")
    return notes


def _dropped_note(splits: Splits, kept: npt.NDArray[np.bool_], leaks: Leaks) -> str:
    dropped = {split: int((~kept & (splits == split)).sum()) for split in ("train", "val")}
    parts = " and ".join(f"{count} of {split}" for split, count in dropped.items() if count)
    found = Leaks(leaks.identical, leaks.groups, 0, leaks.held_out).describe()
    return f"Dropped items that leaked: {parts}. Before dropping: {' '.join(found)}"


def _check_coverage(where: str, classes: Sequence[str], labels: Labels, splits: Splits) -> list[str]:
    notes = []
    for split in SPLITS:
        held = labels[splits == split]
        missing = _without_items(classes, held)
        noun = "class" if len(missing) == 1 else "classes"
        if split == "train" and (not len(held) or (missing and labels.ndim == 1)):
            what = "no items" if not len(held) else f"no items of {listed(missing)}"
            what, remedy = f"{where}: the train split has {what}.", "Add items to train, or change the split."
            raise DataError(what, remedy, value=missing, place=f"{where}:train")
        if missing and len(held):
            effect = " The model cannot learn a label without items." if split == "train" else ""
            notes.append(f"The {split} split has no items of {noun} {listed(missing)}.{effect}")
        elif not len(held):
            notes.append(f"The {split} split is empty.")
    return notes
