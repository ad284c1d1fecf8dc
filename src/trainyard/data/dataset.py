"""The central noun: labelled items, the split of each, and how to fetch them.

A `Dataset` has the content digests of its items, so that a resume can reject changed data and name the changes. It
does not know where the items came from (`sources`), how the splits were made (`splits`) or in which order they are
read (`batches`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
import torch

Indices = npt.NDArray[np.int64]
Labels = npt.NDArray[np.int64] | npt.NDArray[np.bool_] | npt.NDArray[np.float32]
Splits = npt.NDArray[np.str_]
Fetch = Callable[[Indices], torch.Tensor]
Finish = Callable[[torch.Tensor, Indices], torch.Tensor]

SPLITS = ("train", "val", "test")


@runtime_checkable
class Remembers(Protocol):
    """A fetch that caches items, so that workers may not be needed."""

    def cached(self, indices: Indices) -> bool:
        """Whether nothing needs to be read or computed for those items."""


@runtime_checkable
class Fetches8Bit(Protocol):
    """A fetch of 8-bit items, which need a quarter of the bytes of floats between processes."""

    def raw(self, indices: Indices) -> torch.Tensor:
        """The items at `indices`, uint8 [B, *item_shape]; the fetch itself returns `to_unit` of them."""


@dataclass(frozen=True)
class View:
    """A way to read the items, in two parts, so that the second can run on the model's device.

    Attributes:
        fetch: int64 indices [B] -> float32 [B, ...], here or in a worker process; int64 [B, T] of ragged items.
        finish: the fetched items, on the device of the batch, and their indices -> float32
            [B, *item_shape]; None: nothing is left to do.
    """

    fetch: Fetch
    finish: Finish | None = None


@dataclass(frozen=True, eq=False)
class Dataset:
    """Items with labels, splits, content digests and a way to fetch them as tensors.

    Attributes:
        name: the name used in paths and queries.
        classes: names in label order; empty if the targets are not classes.
        ids: a readable name of each item: a relative file path, or `digits[12]`.
        labels: int64 [N], positions in `classes`; or bool [N, C], if an item has any number of them. Without classes
            the targets of the user's own task: int64 or float32 [N, ...].
        splits: str [N], "train", "val" or "test".
        groups: the group of each item (a speaker, a patient), "" for an item without one; or None.
        digests: hex digest of each item's own bytes, before any resizing or scaling.
        item_shape: of one fetched item, channels first, e.g. (1, 8, 8).
        fetch: int64 indices [B] -> float32 [B, *item_shape]; see `ragged`.
        warnings: for the user, about this data, one or more sentences each.
        finish: the second part of reading, after `fetch`, see `View`.
        lengths: int64 [N], samples of audio before an item's padding, or tokens of a ragged item; None: no padding.
        augment: (seed, epoch) -> the augmented items of that epoch; None: no augmentation. Every draw depends on the
            seed, the epoch and the item alone.
        cache: returns statistics of the data's cache; None: there is no cache.
        texts: the items themselves, if they are texts.
        label_name: the header of a column of classes.
        ragged: items differ in length: `fetch` returns int64 [B, T] padded to the longest of the batch, `lengths`
            is set, and `item_shape` is the largest length of an item, (max_tokens,).
        preprocessing: how a raw item becomes the model's input, plain JSON values, sufficient for other programs to
            read new items.
        model_arguments: arguments, in addition to shape and classes, of a model made for this kind of data.
    """

    name: str
    classes: tuple[str, ...]
    ids: tuple[str, ...]
    labels: Labels
    splits: Splits
    groups: tuple[str, ...] | None
    digests: tuple[str, ...]
    item_shape: tuple[int, ...]
    fetch: Fetch
    warnings: tuple[str, ...] = ()
    finish: Finish | None = None
    lengths: Indices | None = None
    augment: Callable[[int, int], View] | None = None
    cache: Callable[[], dict[str, Any]] | None = None
    texts: tuple[str, ...] | None = None
    label_name: str = "label"
    ragged: bool = False
    preprocessing: Mapping[str, Any] = field(default_factory=dict)
    model_arguments: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        lengths = {len(self.ids), len(self.labels), len(self.splits), len(self.digests)}
        if self.groups is not None:
            lengths.add(len(self.groups))
        if self.texts is not None:
            lengths.add(len(self.texts))
        if len(lengths) != 1:
            raise ValueError(f"ids, labels, splits, groups, digests and texts differ in length: {sorted(lengths)}")
        if self.classes and self.multi_label and self.labels.shape[1:] != (len(self.classes),):
            raise ValueError(f"labels of shape {self.labels.shape} for {len(self.classes)} classes")
        if self.ragged and self.lengths is None:
            raise ValueError("ragged items need lengths")

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def multi_label(self) -> bool:
        """Whether an item may have several labels, or none."""
        return self.labels.ndim == 2 and self.labels.dtype == np.bool_

    def indices(self, split: str) -> Indices:
        """The positions of a split's items, int64, ascending."""
        if split not in SPLITS:
            raise ValueError(f"unknown split {split!r}: one of {', '.join(SPLITS)}")
        return np.flatnonzero(self.splits == split).astype(np.int64, copy=False)

    def fingerprint(self) -> dict[str, Any]:
        """A small JSON-able description of the data; `explain_change` compares two.

        `digest` covers every item in order (name, content, label name, group, split), the classes in order and the
        shape: equal digests mean that a resumed run sees exactly the same data. Targets that are not classes are
        compared by their bytes. The other digests each cover one aspect and do not depend on the items' order. With
        several labels per item, `class_counts` counts labels and `splits` counts items. `preprocessing` is recorded
        but not part of any digest: it belongs to the model's input, not to the data.
        """
        names = self._label_names()
        splits = self.splits.tolist()
        groups = self.groups if self.groups is not None else [""] * len(self)
        everything = zip(self.ids, self.digests, names, groups, splits, strict=True)
        header = [*self.classes, "", *map(str, self.item_shape)]
        counts = {
            split: dict(zip(self.classes, self._counts(split), strict=True)) if self.classes else {} for split in SPLITS
        }
        return {
            "digest": _digest([header, *everything]),
            "items": len(self),
            "item_shape": list(self.item_shape),
            "classes": list(self.classes),
            "class_counts": counts,
            "splits": {split: splits.count(split) for split in SPLITS},
            "content_digest": _digest(sorted((digest,) for digest in self.digests)),
            "id_digest": _digest(sorted((id_,) for id_ in self.ids)),
            "label_digest": _digest(sorted(zip(self.ids, names, strict=True))),
            "group_digest": _digest(sorted(zip(self.ids, groups, strict=True))),
            "split_digest": _digest(sorted(zip(self.ids, splits, strict=True))),
            "preprocessing": dict(self.preprocessing),
        }

    def _counts(self, split: str) -> list[int]:
        return count_labels(self.labels[self.indices(split)], len(self.classes))

    def _label_names(self) -> list[str]:
        """Each item's label, or labels, as a text for the fingerprint."""
        if not self.classes:
            kind = self.labels.dtype.str
            return [hashlib.blake2b(kind.encode() + row.tobytes(), digest_size=16).hexdigest() for row in self.labels]
        if not self.multi_label:
            return [self.classes[label] for label in self.labels]
        chosen: list[list[str]] = [[] for _ in self.ids]
        for item, label in np.argwhere(self.labels).tolist():
            chosen[item].append(self.classes[label])
        return [json.dumps(names) for names in chosen]


def count_labels(labels: Labels, classes: int) -> list[int]:
    """The number of items with each label; `labels` is int64 [N], or bool [N, C] if an item may have several."""
    counts = labels.sum(axis=0) if labels.ndim == 2 else np.bincount(labels, minlength=classes)
    return [int(count) for count in counts]


def _digest(rows: Iterable[Iterable[str]]) -> str:
    state = hashlib.blake2b(digest_size=16)
    for row in rows:
        for text in row:
            part = text.encode("utf-8", "surrogateescape")
            # The length distinguishes ("ab", "c") from ("a", "bc"), whatever the names contain.
            state.update(len(part).to_bytes(8, "little"))
            state.update(part)
        state.update(b"\xff" * 8)
    return state.hexdigest()


def explain_change(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """The differences of two fingerprints, a sentence each; empty if the data is the same.

    Args:
        old: a recorded fingerprint. Keys that it lacks are not compared.
        new: the fingerprint of the current data.
    """
    if old.get("digest") == new.get("digest"):
        return []
    changed = {key for key in new if key in old and old[key] != new[key]}
    lines = []
    if "item_shape" in changed:
        lines.append(f"The shape of an item was {_shape(old)} and is now {_shape(new)}.")
    if "classes" in changed:
        lines.append(_explain_classes(list(old["classes"]), list(new["classes"])))
    if "items" in changed:
        lines.append(f"The number of items was {old['items']} and is now {new['items']}.")
    if "content_digest" in changed:
        lines.append(
            "The content of the items changed: their names are the same, but the bytes of one or more differ."
            if "id_digest" not in changed
            else "The items are different: names and content both changed."
        )
    elif "id_digest" in changed:
        lines.append("Items were renamed or moved; their content is the same.")
    # Renaming an item changes these digests too, even if nothing else changed.
    if "id_digest" not in changed:
        if "label_digest" in changed:
            lines.append("Items have other labels than before.")
        if "group_digest" in changed:
            lines.append("Items belong to other groups than before.")
        if "split_digest" in changed:
            lines.append(f"The split assignment changed: {_explain_splits(old, new)}.")
    elif "splits" in changed:
        lines.append(f"The sizes of the splits changed: {_explain_splits(old, new)}.")
    if not lines:
        lines.append("The items are the same in another order, or names and contents are paired differently.")
    return lines


def _shape(fingerprint: Mapping[str, Any]) -> str:
    return " x ".join(map(str, fingerprint["item_shape"]))


def _explain_classes(old: list[str], new: list[str]) -> str:
    gone = [name for name in old if name not in new]
    added = [name for name in new if name not in old]
    parts = []
    if gone:
        parts.append(f"without {', '.join(gone)}")
    if added:
        parts.append(f"with {', '.join(added)} added")
    what = " and ".join(parts) or f"in another order ({', '.join(new)}; before: {', '.join(old)})"
    return f"The classes are now {what}."


def _explain_splits(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    before, after = old.get("splits", {}), new.get("splits", {})
    if before == after:
        return "the sizes are the same, but the items in them differ"
    return ", ".join(
        f"{split} had {before.get(split, 0)} items and has {after.get(split, 0)}"
        for split in SPLITS
        if before.get(split, 0) != after.get(split, 0)
    )
