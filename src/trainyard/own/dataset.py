"""A `Dataset` of a user's own splits: targets as positions of classes, sets of labels, or whatever their task takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from trainyard.config.schema import SplitOptions
from trainyard.data.build import build_dataset
from trainyard.data.dataset import SPLITS, Dataset
from trainyard.errors import DataError
from trainyard.own.items import Digest, Part, fetch_of, read_part
from trainyard.wording import did_you_mean

Targets = Literal["single_label", "multi_label", "classes", "any"]


def own_dataset(
    splits: Mapping[str, Any],
    *,
    name: str,
    targets: Targets,
    classes: Sequence[str] | None = None,
    target: str | None = None,
    ids: Mapping[str, Sequence[str]] | None = None,
    digest: Digest | None = None,
    split: SplitOptions,
) -> Dataset:
    """The splits (each as `read_part` takes it) as one `Dataset`; those that are missing are held out from train.

    `targets` says what they must be: one label an item, several labels, either of the two, or anything. Without
    `classes` these are the names that the labels are, or their numbers. `target` is the column of the targets in a
    DataFrame, and `ids` has the names of the items by split; others are called `train[0]`.

    Raises:
        DataError: data that cannot be trained on.
    """
    there = {key: splits[key] for key in SPLITS if splits.get(key) is not None}
    if "train" not in there:
        raise DataError("There is no train split.", "Give the items to train on as `train`.", place="train")
    parts = {key: read_part(given, key, target=target, digest=digest) for key, given in there.items()}
    _check_alike(parts)
    names = [called for key, part in parts.items() for called in _ids(key, len(part.digests), (ids or {}).get(key))]
    found, order = _labels(np.concatenate([part.targets for part in parts.values()]), classes, targets, names)
    first = next(iter(parts.values()))
    return build_dataset(
        name,
        name,
        order,
        names,
        found,
        [digest for part in parts.values() for digest in part.digests],
        first.shape,
        fetch_of(list(parts.values())),
        official=None if len(parts) == 1 else [key for key, part in parts.items() for _ in part.digests],
        split=split,
    )


def _check_alike(parts: Mapping[str, Part]) -> None:
    """Raises DataError where the splits hold items, or targets, of different shapes or types."""
    first, remedy = parts["train"], "Prepare all splits in the same way."
    for key, part in parts.items():
        if (part.shape, part.dtype) != (first.shape, first.dtype):
            is_, was = f"{part.dtype} of shape {part.shape}", f"{first.dtype} of shape {first.shape}"
            what = f"The items of {key} are {is_}, those of train {was}."
            raise DataError(what, remedy, value=part.shape, place=key)
        found, wanted = part.targets, first.targets
        if found.shape[1:] != wanted.shape[1:] or found.dtype.kind != wanted.dtype.kind:
            is_, was = f"{found.dtype} of shape {found.shape[1:]}", f"{wanted.dtype} of shape {wanted.shape[1:]}"
            what = f"The targets of {key} are {is_}, those of train {was}."
            raise DataError(what, remedy, value=found.shape[1:], place=key)


def _ids(split: str, count: int, given: Sequence[str] | None) -> list[str]:
    if given is None:
        return [f"{split}[{position}]" for position in range(count)]
    names = [str(called) for called in given]
    if len(names) != count or len(set(names)) != count:
        what = f"ids has {len(set(names))} different names for the {count} items of {split}."
        raise DataError(what, "Give each item a name of its own.", value=len(names), place=split)
    return names


def _labels(
    found: npt.NDArray[Any], classes: Sequence[str] | None, targets: Targets, ids: Sequence[str]
) -> tuple[npt.NDArray[Any], tuple[str, ...]]:
    """The targets as a `Dataset` has them, and the classes."""
    if targets == "any":
        return _free(found, ids), ()
    given = None if classes is None else tuple(map(str, classes))
    wanted = {"single_label": (1,), "multi_label": (2,), "classes": (1, 2)}[targets]
    if found.ndim not in wanted:
        several = "a row of 0 and 1 for each item" if 1 not in wanted else "one label for each item"
        what = f"The targets have the shape {found.shape}, and {targets} takes {several}."
        remedy = "Choose the task multi_label for rows of 0 and 1, single_label for labels, or a task of your own."
        raise DataError(what, remedy, value=found.shape, place="targets")
    return _sets(found, given, ids) if found.ndim == 2 else _positions(found, given, ids)


def _free(found: npt.NDArray[Any], ids: Sequence[str]) -> npt.NDArray[Any]:
    if found.dtype.kind == "U":
        remedy = "Give numbers, which a loss can take."
        raise DataError("The targets are texts.", remedy, value=str(found[0]), place=ids[0])
    if found.dtype.kind != "f":
        return found.astype(np.int64)
    bad = np.flatnonzero(~np.isfinite(found.reshape(len(found), -1)).all(axis=1))
    if len(bad):
        at = int(bad[0])
        what, value = f"The target of {ids[at]} is {found[at]}.", found[at].tolist()
        raise DataError(what, "Give finite numbers.", value=value, place=ids[at])
    return found.astype(np.float32)


def _sets(
    found: npt.NDArray[Any], classes: tuple[str, ...] | None, ids: Sequence[str]
) -> tuple[npt.NDArray[np.bool_], tuple[str, ...]]:
    if found.dtype.kind == "U":
        raise DataError("The targets are texts.", "Give rows of 0 and 1.", value=str(found[0, 0]), place=ids[0])
    order = classes or tuple(map(str, range(found.shape[1])))
    columns = found.shape[1]
    if len(order) != columns:
        what = f"The targets have {columns} columns for {len(order)} classes."
        raise DataError(what, "Give one column for each class.", value=columns, place="classes")
    bad = np.argwhere((found != 0) & (found != 1))
    if len(bad):
        row, column = map(int, bad[0])
        value = found[row, column].item()
        what = f"The target of {ids[row]} for {order[column]} is {value}, not 0 or 1."
        raise DataError(what, "Give rows of 0 and 1.", value=value, place=ids[row])
    return found.astype(np.bool_), order


def _positions(
    found: npt.NDArray[Any], classes: tuple[str, ...] | None, ids: Sequence[str]
) -> tuple[npt.NDArray[np.int64], tuple[str, ...]]:
    if found.dtype.kind == "U":
        order = classes or tuple(sorted(set(found.tolist())))
        known = {label: number for number, label in enumerate(order)}
        bad = [at for at, label in enumerate(found.tolist()) if label not in known]
        if bad:
            label = str(found[bad[0]])
            what = f"The label of {ids[bad[0]]} is {label!r}, which is not one of the classes."
            remedy = did_you_mean(label, order, then="Correct it, or add it to classes.")
            raise DataError(what, remedy, value=label, place=ids[bad[0]])
        return np.array([known[label] for label in found.tolist()], dtype=np.int64), order
    if found.dtype.kind == "f":
        what = f"The label of {ids[0]} is {found[0]}, a float."
        remedy = "Give positions of classes as integers, names of classes, or a task of your own for other targets."
        raise DataError(what, remedy, value=found[0].item(), place=ids[0])
    order = classes or tuple(map(str, range(int(found.max()) + 1)))
    bad_at = np.flatnonzero((found < 0) | (found >= len(order)))
    if len(bad_at):
        at = int(bad_at[0])
        what = f"The label of {ids[at]} is {found[at]}, and there are {len(order)} classes, numbered from 0."
        raise DataError(what, "Correct it, or add the class.", value=found[at].item(), place=ids[at])
    return found.astype(np.int64), order
