"""Items of a user's own: arrays, tables and torch Datasets, read one way.

Every item becomes a tensor: floats as float32, all other types as they are. Its digest is of that tensor, so that an
array and a Dataset of the same items are the same data. Knows no labels of classes, no splits and no runs.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from trainyard.data.arrays import InMemory, row_digests
from trainyard.data.dataset import Fetch, Indices
from trainyard.errors import DataError

Digest = Callable[[Any, int], str | bytes]  # of the item of a Dataset at a position

_GIVE = "Give a torch Dataset of (x, y), a tuple (x, y) of arrays or tensors, or a pandas DataFrame."


class _Reader(Protocol):
    in_memory: bool

    def read(self, positions: Indices) -> Tensor: ...


@dataclass(frozen=True)
class Part:
    """The items of one split: how to read them, their targets (N rows) and digests, and shape and type of an item."""

    reader: _Reader
    targets: npt.NDArray[Any]
    digests: tuple[str, ...]
    shape: tuple[int, ...]
    dtype: torch.dtype


class OwnItems:
    """A fetch from several parts, one behind the other, of the positions in `keep`, renumbered from 0."""

    def __init__(self, parts: Sequence[Part], keep: Indices) -> None:
        self._readers = [part.reader for part in parts]
        self._ends = np.cumsum([len(part.digests) for part in parts])
        self._shape, self._dtype = parts[0].shape, parts[0].dtype
        self._keep = keep

    def cached(self, indices: Indices) -> bool:
        """Whether all items are in memory."""
        return all(reader.in_memory for reader in self._readers)

    def __call__(self, indices: Indices) -> Tensor:
        """The items at `indices` [B], stacked, of the type that they have."""
        positions = self._keep[indices]
        owners = np.searchsorted(self._ends, positions, side="right")
        starts = np.concatenate([[0], self._ends[:-1]])
        if len(owners) and (owners == owners[0]).all():
            return self._readers[owners[0]].read(positions - starts[owners[0]])
        found = torch.empty((len(positions), *self._shape), dtype=self._dtype)
        for owner in np.unique(owners).tolist():
            rows = np.flatnonzero(owners == owner)
            found[torch.from_numpy(rows)] = self._readers[owner].read(positions[rows] - starts[owner])
        return found


class _Arrays:
    """Items in one tensor."""

    in_memory = True

    def __init__(self, items: Tensor) -> None:
        self.items = items

    def read(self, positions: Indices) -> Tensor:
        """The items at `positions`, a copy."""
        return self.items.index_select(0, torch.from_numpy(np.asarray(positions, dtype=np.int64)))


class _Items:
    """Items of a torch Dataset, asked for again in every epoch."""

    in_memory = False

    def __init__(self, dataset: Any, where: str) -> None:
        self._dataset, self._where = dataset, where

    def read(self, positions: Indices) -> Tensor:
        """The items at `positions`, by `__getitems__` where the Dataset has it."""
        chosen = [int(position) for position in positions]
        many = getattr(self._dataset, "__getitems__", None)
        found = many(chosen) if many is not None else [self._dataset[position] for position in chosen]
        return torch.stack([_pair(item, f"{self._where}[{at}]")[0] for at, item in zip(chosen, found, strict=True)])


def fetch_of(parts: Sequence[Part]) -> Callable[[Indices], Fetch]:
    """Given the positions to keep, a fetch of those items."""

    def fetch(keep: Indices) -> Fetch:
        tensors = [part.reader.items for part in parts if isinstance(part.reader, _Arrays)]
        if len(tensors) == len(parts) and parts[0].dtype == torch.float32:
            return InMemory(torch.cat(tensors)[torch.from_numpy(keep)])
        return OwnItems(parts, keep)

    return fetch


def read_part(given: Any, where: str, *, target: str | None = None, digest: Digest | None = None) -> Part:
    """The items of one split, each read once.

    Args:
        given: a torch Dataset of (x, y), or anything else with a length and such items; a tuple (x, y) of arrays or
            tensors; or a pandas DataFrame.
        where: its name, for errors.
        target: the column of a DataFrame that holds the targets; the others are the items.
        digest: of an item of a Dataset, in place of the digest of its x.

    Raises:
        DataError: it is none of these, is empty, or its items are not numbers of one shape and type.
    """
    kind = type(given).__name__
    if _is_frame(given):
        return _of_frame(given, where, target)
    if isinstance(given, tuple):
        if len(given) != 2:
            what = f"{where} is a tuple of {len(given)}, not of x and y."
            raise DataError(what, _GIVE, value=len(given), place=where)
        return _of_arrays(given[0], _targets(given[1], where), where)
    if isinstance(given, DataLoader):
        what = f"{where} is a DataLoader; Trainyard makes the batches itself, so that a resume is exact."
        raise DataError(what, "Give the loader's `dataset`.", value=kind, place=where)
    if isinstance(given, IterableDataset) or not (hasattr(given, "__len__") and hasattr(given, "__getitem__")):
        raise DataError(f"{where} is a {kind}, whose items have no positions.", _GIVE, value=kind, place=where)
    if isinstance(given, Tensor | np.ndarray | str | bytes | dict):
        raise DataError(f"{where} is a {kind}, without targets.", _GIVE, value=kind, place=where)
    return _of_dataset(given, where, digest)


def as_items(values: Any, where: str) -> Tensor:
    """Numbers of one shape as a tensor on the CPU, floats as float32, all else as it is; or a DataError."""
    try:
        tensor = values.detach().cpu() if isinstance(values, Tensor) else torch.from_numpy(np.array(values, order="C"))
    except (TypeError, ValueError, RuntimeError) as error:
        kind, remedy = type(values).__name__, "Return a tensor, an array or numbers as x, all of one shape."
        what = f"{where}: a {kind} cannot become a tensor: {error}."
        raise DataError(what, remedy, value=kind, place=where) from error
    return tensor.to(torch.float32) if tensor.is_floating_point() else tensor.contiguous()


def features_of(x: Any) -> Tensor:
    """Items without targets, as `read_part` reads those of an array or of a DataFrame; or a DataError."""
    return as_items(x.to_numpy(dtype=np.float32) if _is_frame(x) else x, "x")


def _of_arrays(x: Any, targets: npt.NDArray[Any], where: str) -> Part:
    items = as_items(x, where)
    if not items.ndim or len(items) != len(targets) or not len(items):
        count = len(items) if items.ndim else 0
        what, remedy = f"{where} has {count} items and {len(targets)} targets.", "Give one target for each item."
        raise DataError(what, remedy, value=(count, len(targets)), place=where)
    return Part(_Arrays(items), targets, row_digests(items.numpy()), tuple(items.shape[1:]), items.dtype)


def _of_frame(frame: Any, where: str, target: str | None) -> Part:
    if target is None or target not in frame.columns:
        fault = "no column is named as the target" if target is None else f"{target!r} is not one of them"
        what = f"{where} is a DataFrame with the columns {', '.join(map(str, frame.columns))}; {fault}."
        raise DataError(what, "Name the column of the targets with target=….", value=target, place=where)
    features = frame.drop(columns=[target])
    wrong = [str(name) for name, kind in features.dtypes.items() if kind.kind not in "fiub"]
    if wrong:
        what = f"{where}: the columns {', '.join(wrong)} are not numbers."
        raise DataError(what, "Encode them as numbers, or drop them.", value=wrong, place=where)
    return _of_arrays(features.to_numpy(dtype=np.float32), _targets(frame[target].to_numpy(), where), where)


def _of_dataset(dataset: Any, where: str, digest: Digest | None) -> Part:
    """Reads every item once, for its digest and its target."""
    if not len(dataset):
        raise DataError(f"{where} has no items.", "Give a Dataset with items.", value=0, place=where)
    digests: list[str] = []
    targets: list[Any] = []
    first: Tensor | None = None
    for position in range(len(dataset)):
        name = f"{where}[{position}]"
        x, y = _pair(dataset[position], name)
        if first is None:
            first = x
        if x.shape != first.shape or x.dtype != first.dtype:
            shape, before = tuple(x.shape), f"{first.dtype} of shape {tuple(first.shape)}"
            what = f"{name} is {x.dtype} of shape {shape}, and the items before it {before}."
            remedy = "Resize or pad the items in the Dataset, so that they can be stacked."
            raise DataError(what, remedy, value=shape, place=name)
        digests.append(_digest_of(x) if digest is None else _hashed(digest(dataset, position)))
        targets.append(y)
    assert first is not None
    if digest is None and _digest_of(_pair(dataset[0], f"{where}[0]")[0]) != digests[0]:
        what = f"{where}[0] differs when it is read twice, so that a resume could not tell whether the data changed."
        remedy = "Pass digest=, a function of the Dataset and a position, such as lambda data, at: data.paths[at]."
        raise DataError(what, remedy, place=f"{where}[0]")
    return Part(_Items(dataset, where), _targets(targets, where), tuple(digests), tuple(first.shape), first.dtype)


def _pair(item: Any, where: str) -> tuple[Tensor, Any]:
    if not isinstance(item, tuple | list) or len(item) != 2:
        kind = type(item).__name__
        what = f"{where} is a {kind}, not a pair of x and y."
        raise DataError(what, "Return (x, y) from `__getitem__`.", value=kind, place=where)
    return as_items(item[0], where), item[1]


def _digest_of(x: Tensor) -> str:
    """Equal to the digest of the same row of an array."""
    return row_digests(x.unsqueeze(0).numpy())[0]


def _hashed(value: Any) -> str:
    if not isinstance(value, str | bytes):
        kind, remedy = type(value).__name__, "Return text or bytes that differ whenever the items differ."
        raise DataError(f"digest= returned a {kind}.", remedy, value=kind, place="digest")
    return hashlib.blake2b(value.encode() if isinstance(value, str) else value, digest_size=16).hexdigest()


def _targets(values: Any, where: str) -> npt.NDArray[Any]:
    """The targets as one array; texts stay texts."""
    remedy = "Give numbers of one shape, or names of classes."
    if isinstance(values, list):
        values = [value.detach().cpu().numpy() if isinstance(value, Tensor) else value for value in values]
    try:
        found = values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)
    except (TypeError, ValueError) as error:
        raise DataError(f"The targets of {where} are not of one shape: {error}.", remedy, place=where) from error
    if found.dtype == object and all(isinstance(value, str) for value in found.ravel()):
        found = found.astype(str)
    if found.dtype.kind not in "biufU" or not found.ndim:
        what = f"The targets of {where} are {found.dtype}, not numbers or names of classes."
        raise DataError(what, remedy, value=str(found.dtype), place=where)
    return found


def _is_frame(given: Any) -> bool:
    pandas = sys.modules.get("pandas")  # whoever has a frame has imported it
    return pandas is not None and isinstance(given, pandas.DataFrame)
