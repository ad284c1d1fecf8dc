"""What every source does after reading: complete the splits, look for leaks, check, assemble.

A fault of the data is found in the same way, with the same error, whether it came from an array, a folder or a
CSV. Knows no file format.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

import numpy as np
import numpy.typing as npt

from trainyard.config.schema import SplitOptions
from trainyard.data.dataset import SPLITS, Dataset, Fetch, Indices, Labels, Splits, count_labels
from trainyard.data.splits import Leaks, assign_splits, find_leaks, without_leaks
from trainyard.errors import DataError, LeakError

SPLIT_ALIASES = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
}

ON_LEAK = ("warn", "error", "drop")


def nearest(value: str, choices: Sequence[str]) -> str:
    """ " Did you mean 'x'?" for the most similar choice, or "" when none is similar."""
    folded = {choice.casefold(): choice for choice in choices}
    close = get_close_matches(value.strip().casefold(), list(folded), n=1)
    return f" Did you mean {folded[close[0]]!r}?" if close else ""


def listed(names: Sequence[str], shown: int = 20) -> str:
    """The names with commas between them, and how many more there are."""
    more = f", … ({len(names) - shown} more)" if len(names) > shown else ""
    return ", ".join(names[:shown]) + more if names else "none"


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
    """A checked `Dataset` of what a source has read.

    Args:
        name: the dataset's name.
        where: what to call the data in messages, such as its path.
        classes: names in label order.
        ids: one per item.
        labels: positions in `classes`, one per item; or bool [N, C], where an item may have several.
        digests: one per item.
        item_shape: channels first.
        fetch: given the items that are kept (int64, ascending), their fetch, renumbered.
        official: the split of each item when the data has its own; val and test are cut from
            train where it has none.
        groups: one per item, "" for none.
        texts: one per item, where the items are texts.
        warnings: of the source.
        split: how items are shared out.
        extra: attributes of the `Dataset` that do not depend on which items are kept.

    Raises:
        DataError: fewer than two classes, no item in train, or a class without items there; with
            several labels an item the last is a warning.
        LeakError: something leaks and `on_leak` is "error".
    """
    if split.on_leak not in ON_LEAK:
        raise DataError(
            f"data.split.on_leak is {split.on_leak!r}, which is not one of {', '.join(ON_LEAK)}.",
            f"Use one of {', '.join(ON_LEAK)}.",
            value=split.on_leak,
            place="data.split.on_leak",
        )
    several = np.ndim(labels) == 2
    labels = np.asarray(labels, dtype=np.bool_ if several else np.int64)
    notes = list(warnings)
    _check_classes(where, classes, labels)
    if split.test_groups:
        official = _test_groups(where, groups, split.test_groups)
    splits, made = _complete(labels, official, groups if split.by_group else None, digests, split)
    notes += _missed_shares(splits, made)

    leaks = find_leaks(ids, digests, groups, splits)
    keep = np.arange(len(ids), dtype=np.int64)
    if leaks and split.on_leak == "error":
        raise LeakError(
            f"{where}: {' '.join(leaks.describe())}",
            "Fix the data, or set data.split.on_leak to drop (keeps test whole) or to warn.",
            place=where,
        )
    if leaks and split.on_leak == "drop":
        kept = without_leaks(digests, groups, splits)
        notes.append(_dropped_warning(splits, kept, leaks))
        keep = np.flatnonzero(kept).astype(np.int64)
        kept_ids, kept_digests = _pick(keep, ids, digests)
        leaks = Leaks(repeated=find_leaks(kept_ids, kept_digests, None, splits[keep]).repeated)
    notes += leaks.describe()
    notes += _check_coverage(where, classes, labels[keep], splits[keep])
    kept_ids, kept_digests = _pick(keep, ids, digests)
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
    """Test for the items of those groups, train for the rest."""
    known = sorted(set(groups or ()) - {""})
    for name in chosen:
        if name not in known:
            has = f"its groups are {listed(known)}" if known else "no item of it is in a group"
            raise DataError(
                f"{where}: data.split.test_groups names {name!r}, but {has}.",
                f"Name existing groups.{nearest(name, known)}",
                value=name,
                place="data.split.test_groups",
            )
    return ["test" if group in chosen else "train" for group in groups or ()]


def _pick(keep: Indices, *columns: Sequence[str]) -> list[tuple[str, ...]]:
    return [tuple(column[index] for index in keep.tolist()) for column in columns]


def _check_classes(where: str, classes: Sequence[str], labels: Labels) -> None:
    repeated = sorted({name for name in classes if list(classes).count(name) > 1})
    if repeated:
        raise DataError(
            f"{where}: the classes name {listed(repeated)} more than once.",
            "Name each class once.",
            value=repeated,
            place="data.classes",
        )
    if not len(labels):
        raise DataError(f"{where} holds no items.", "Check the path.", place=where)
    if len(classes) < 2:
        raise DataError(
            f"{where} has one class only ({listed(list(classes))}): there is nothing to classify.",
            "Add items of a second class.",
            value=list(classes),
            place=where,
        )
    empty = _without_items(classes, labels)
    if empty and labels.ndim == 1:
        raise DataError(
            f"{where}: no items of {'class' if len(empty) == 1 else 'classes'} {listed(empty)}.",
            "Add items, or leave the class out.",
            value=empty,
            place=where,
        )


def _without_items(classes: Sequence[str], labels: Labels) -> list[str]:
    return [name for name, count in zip(classes, count_labels(labels, len(classes)), strict=True) if not count]


def _complete(
    labels: Labels,
    official: Sequence[str] | Splits | None,
    groups: Sequence[str] | None,
    digests: Sequence[str],
    split: SplitOptions,
) -> tuple[Splits, dict[str, tuple[float, int]]]:
    """The splits, and for each one made here the requested share and the items it was taken from."""
    splits = np.array(["train"] * len(labels) if official is None else list(official), dtype="<U5")
    present = set(splits.tolist())
    asked = {"val": split.val_fraction, "test": split.test_fraction}
    ours = {name: share for name, share in asked.items() if name not in present and share > 0}
    train = np.flatnonzero(splits == "train")
    if ours and len(train):
        splits[train] = assign_splits(
            labels[train],
            None if groups is None else [groups[index] for index in train.tolist()],
            [digests[index] for index in train.tolist()],
            ours.get("val", 0.0),
            ours.get("test", 0.0),
            split.seed,
        )
    return splits, {name: (share, len(train)) for name, share in ours.items()}


def _missed_shares(splits: Splits, made: dict[str, tuple[float, int]]) -> list[str]:
    notes = []
    for split, (asked, total) in made.items():
        got = int((splits == split).sum())
        # Half again as much or half as little, beyond what rounding to whole items explains.
        if abs(got - asked * total) > max(asked * total / 2, 1):
            notes.append(
                f"The {split} split holds {got / total:.1%} of the items instead of {asked:.1%}:"
                " groups and identical items are kept whole."
            )
    return notes


def _dropped_warning(splits: Splits, kept: npt.NDArray[np.bool_], leaks: Leaks) -> str:
    dropped = {split: int((~kept & (splits == split)).sum()) for split in ("train", "val")}
    parts = " and ".join(f"{count} of {split}" for split, count in dropped.items() if count)
    found = Leaks(leaks.identical, leaks.groups, 0, leaks.held_out).describe()
    return f"Dropped items that leaked: {parts}. Before: {' '.join(found)}"


def _check_coverage(where: str, classes: Sequence[str], labels: Labels, splits: Splits) -> list[str]:
    notes = []
    for split in SPLITS:
        held = labels[splits == split]
        missing = _without_items(classes, held)
        noun = "class" if len(missing) == 1 else "classes"
        if split == "train" and missing and (not len(held) or labels.ndim == 1):
            what = "no items" if not len(held) else f"no items of {listed(missing)}"
            raise DataError(
                f"{where}: the train split has {what}.",
                "Add items to train, or fix the split.",
                value=missing,
                place=where,
            )
        if missing and len(held):
            cannot = " A label without items cannot be learnt." if split == "train" else ""
            notes.append(f"The {split} split has no items of {noun} {listed(missing)}.{cannot}")
        elif not len(held):
            notes.append(f"The {split} split is empty.")
    return notes
