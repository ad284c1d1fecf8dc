"""Arrays in an `.npz`: `images` and `labels`, or `train_images`, `x_test`, `y_val` and the like.

Recognises the common names of such arrays and checks their content. Never unpickles: a data file must not
run code.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from trainyard.data.arrays import InMemory, channels_first, row_digests
from trainyard.data.build import SPLIT_ALIASES, build_dataset
from trainyard.data.dataset import SPLITS, Dataset
from trainyard.errors import DataError
from trainyard.images.schema import NpzData
from trainyard.wording import did_you_mean, listed

Array = npt.NDArray[np.generic]

_ROLES = {
    "images": ("images", "image", "x", "data", "inputs", "features"),
    "labels": ("labels", "label", "y", "target", "targets"),
    "groups": ("groups", "group"),
}
_ROLE_OF = {alias: role for role, aliases in _ROLES.items() for alias in aliases}


def load(data: NpzData) -> Dataset:
    """Loads the items of an `.npz`, channels first; uint8 is scaled to [0, 1].

    Arrays named after a split (`train_images`, `x_test`) are official splits; a missing val or test split
    is then cut from train. An array `groups` (`train_groups`) gives each item's group.

    Raises:
        DataError: an unreadable file, missing arrays, or arrays that do not fit together.
    """
    path = Path(data.path)
    arrays = _read(path)
    parts = _parts(path, arrays)
    images = [_images(path, key, arrays[key], arrays[other]) for key, other, _ in parts.values()]
    shapes = {key: array.shape[1:] for (key, _, _), array in zip(parts.values(), images, strict=True)}
    if len(set(shapes.values())) > 1:
        found = ", ".join(f"{key} {shape}" for key, shape in shapes.items())
        what = f"{path}: the items differ in shape: {found}."
        raise DataError(what, "Save all items in one shape.", value=shapes, place=path)
    names, labels = _labels(path, [(key, arrays[key]) for _, key, _ in parts.values()], data.classes)
    digests = [digest for array in images for digest in row_digests(array)]
    ids = [f"{key}[{index}]" for key, _, _ in parts.values() for index in range(len(arrays[key]))]
    official = [split for split, array in zip(parts, images, strict=True) for _ in range(len(array)) if split]
    groups = [group for _, labels_key, key in parts.values() for group in _groups(path, arrays, key, labels_key)]
    tensors, warnings = _tensors(path, [key for key, _, _ in parts.values()], images)
    return build_dataset(
        data.dataset or path.stem,
        str(path),
        names,
        ids,
        labels,
        digests,
        tuple(tensors.shape[1:]),
        InMemory(tensors).subset,
        official=official or None,
        groups=groups if any(groups) else None,
        warnings=warnings,
        split=data.split,
    )


def _read(path: Path) -> dict[str, Array]:
    if not path.is_file():
        what = "is a folder, not a file" if path.is_dir() else "does not exist"
        raise DataError(f"{path} {what}.", "Set data.path to an .npz file.", place=path)
    try:
        # Opened here because NumPy does not close a file that it cannot read.
        with path.open("rb") as file:
            magic = file.read(2)
            if magic != b"PK":
                remedy = "Save the arrays by name with numpy.savez."
                raise DataError(f"{path} is not an .npz file.", remedy, value=magic, place=path)
            file.seek(0)
            with np.load(file, allow_pickle=False) as archive:
                return {key: archive[key] for key in archive.files}
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        value, what = str(error), f"{path} is not a readable .npz file: {error}"
        remedy = "Write it again with numpy.savez."
        if "pickle" in value:
            value, what = "object", f"{path} contains Python objects, which are not loaded because they could run code."
            remedy = "Save arrays of numbers or strings, not of dtype object."
        raise DataError(what, remedy, value=value, place=path) from error


def _parts(path: Path, arrays: dict[str, Array]) -> dict[str, tuple[str, str, str]]:
    """The keys of images, labels and groups ("" for none) of each split, "" for a file without splits."""
    found: dict[tuple[str, str], str] = {}
    has = f"its keys are: {listed(list(arrays))}."
    for key in arrays:
        words = key.lower().replace("-", "_").split("_")
        splits = [SPLIT_ALIASES[word] for word in words if word in SPLIT_ALIASES]
        roles = [_ROLE_OF[word] for word in words if word in _ROLE_OF]
        if len(words) != len(splits) + len(roles) or len(roles) != 1 or len(splits) > 1:
            continue
        slot = ("".join(splits), roles[0])
        if slot in found:
            what = f"{path}: {found[slot]} and {key} are both {slot[1]}; {has}"
            raise DataError(what, "Keep one of them.", value=(found[slot], key), place=path)
        found[slot] = key
    if any(split for split, _ in found) and not any(split == "train" for split, _ in found):
        # `x`, `y`, `x_test`, `y_test`: the arrays without a split are the train split.
        found = {(split or "train", role): key for (split, role), key in found.items()}
    splits = [split for split in ("", *SPLITS) if (split, "images") in found]
    whole = "" in splits
    if whole and len(splits) > 1:
        both = (found["", "images"], found["train", "images"])
        what = f"{path} has arrays for train and arrays without a split; {has}"
        raise DataError(what, "Keep one or the other.", value=both, place=path)
    lacking = [split for split in splits if (split, "labels") not in found]
    if not splits or lacking or (not whole and "train" not in splits):
        wanted = "images and labels (or train_images and train_labels)"
        if lacking:
            wanted = f"labels for {' and '.join(found[split, 'images'] for split in lacking)}"
        elif splits:
            wanted = "train_images"
        known = ("images", "labels", "train_images")
        hint = next(filter(None, (did_you_mean(key, known) for key in arrays if key not in known)), "")
        remedy = f"{hint} Name the arrays images and labels, or train_images, train_labels, test_images and so on."
        raise DataError(f"{path} has no {wanted}; {has}", remedy.strip(), value=tuple(arrays), place=path)
    return {
        split: (found[split, "images"], found[split, "labels"], found.get((split, "groups"), "")) for split in splits
    }


def _error(path: Path, key: str, what: str, remedy: str, value: object = None) -> DataError:
    """The error about an array of the file, or about an item of one, such as `images[3]`."""
    return DataError(f"{path}: {key} {what}.", remedy, value=value, place=f"{path}:{key}")


def _as_images(path: Path, key: str, array: Array) -> Array:
    try:
        return channels_first(array)
    except ValueError as error:
        what, remedy = (
            f"has shape {array.shape}, not a batch of images",
            "Save [N, H, W], [N, H, W, C] or [N, C, H, W].",
        )
        raise _error(path, key, what, remedy, array.shape) from error


def _images(path: Path, key: str, array: Array, labels: Array) -> Array:
    if array.dtype.kind not in "buif":
        what, remedy = f"has type {array.dtype}, not numbers", "Save pixels as uint8 or float32."
        raise _error(path, key, what, remedy, str(array.dtype))
    items = _as_images(path, key, array)
    if labels.ndim == 0 or len(array) != len(labels):
        count = len(labels) if labels.ndim else 1
        what = f"has {len(array)} items, but there are {count} labels"
        raise _error(path, key, what, "Save one label per item.", (len(array), count))
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        first = int(np.flatnonzero(~np.isfinite(array).reshape(len(array), -1).all(axis=1))[0])
        raise _error(path, f"{key}[{first}]", "has a NaN or an infinity", "Fix or remove such items.")
    return items


def _labels(
    path: Path, parts: Sequence[tuple[str, Array]], classes: Sequence[str] | None
) -> tuple[list[str], npt.NDArray[np.int64]]:
    """The class names in label order, and each item's position in them."""
    values = []
    for key, array in parts:
        flat = array.reshape(len(array), int(np.prod(array.shape[1:])))
        if flat.shape[1] != 1 or array.dtype.kind not in "buifUS":
            what = f"has shape {array.shape} and type {array.dtype}, not one label per item"
            remedy = "Save one whole number or one name per item (for one-hot labels, their argmax over axis 1)."
            raise _error(path, key, what, remedy, (array.shape, str(array.dtype)))
        column = flat[:, 0]
        if column.dtype.kind == "f":
            bad = np.flatnonzero(column != np.floor(column))
            if len(bad):
                value = column[bad[0]].item()
                what = f"is {value}, not a whole number"
                raise _error(path, f"{key}[{bad[0]}]", what, "Save labels as integers.", value)
        values.append(column.astype(np.int64) if column.dtype.kind in "buif" else column.astype(str))
    if len({column.dtype.kind for column in values}) > 1:
        what = f"{path}: labels are numbers in one split and names in another."
        types = {key: str(array.dtype) for key, array in parts}
        raise DataError(what, "Save all labels as numbers or all as names.", value=types, place=path)
    together = np.concatenate(values)
    if classes is None:
        found, positions = np.unique(together, return_inverse=True)
        return [str(value) for value in found], positions.reshape(-1).astype(np.int64)
    names = list(classes)
    if together.dtype.kind == "i":
        outside = np.flatnonzero((together < 0) | (together >= len(names)))
        valid = f"labels must be 0 to {len(names) - 1} for {len(names)} classes"
        hint = f"Fix the label, or add classes to data.classes: {valid}."
        positions = together
    else:
        order = {name: position for position, name in enumerate(names)}
        positions = np.array([order.get(str(value), -1) for value in together], dtype=np.int64)
        outside = np.flatnonzero(positions < 0)
        hint = "Add it to data.classes, or fix the label."
        if len(outside):
            hint = did_you_mean(str(together[outside[0]]), names, then=hint)
    if len(outside):
        places = [f"{key}[{index}]" for key, array in parts for index in range(len(array))]
        value = together[outside[0]].item()
        what = f"is {value!r}, which is not one of the classes {listed(names)}"
        raise _error(path, places[outside[0]], what, hint, value)
    return names, positions


def _groups(path: Path, arrays: dict[str, Array], key: str, labels_key: str) -> list[str]:
    count = len(arrays[labels_key])
    if not key:
        return [""] * count
    groups = arrays[key].reshape(-1)
    if len(groups) != count:
        what = f"has {len(groups)} groups for {count} items"
        raise _error(path, key, what, "Save one group per item.", (len(groups), count))
    return [value.decode() if isinstance(value, bytes) else str(value) for value in groups.tolist()]


def _tensors(path: Path, keys: Sequence[str], images: Sequence[Array]) -> tuple[torch.Tensor, list[str]]:
    """All items in one tensor, uint8 or float32."""
    types = {key: str(array.dtype) for key, array in zip(keys, images, strict=True)}
    if len(set(types.values())) > 1:
        found = ", ".join(f"{key} {type_}" for key, type_ in types.items())
        what = f"{path}: the splits differ in type: {found}."
        raise DataError(what, "Save all splits in one type.", value=types, place=path)
    array: npt.NDArray[Any] = np.concatenate(list(images)) if len(images) > 1 else images[0]
    if array.dtype == np.uint8:
        return torch.from_numpy(np.ascontiguousarray(array)), []
    if array.dtype.kind == "u" and array.itemsize == 2:
        return torch.from_numpy(np.ascontiguousarray(array / np.float32(65535), dtype=np.float32)), []
    warnings = []
    if array.dtype.kind in "iu" and array.size:
        what = f"{keys[0]} has type {array.dtype}, values {array.min()} to {array.max()}, used unscaled"
        warnings.append(f"{what} (only uint8 and uint16 are scaled to 0 … 1).")
    return torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32)), warnings


def read_images(path: Path) -> tuple[list[str], torch.Tensor]:
    """Reads the names and tensors of all items of an `.npz`, labelled or not: (N names, [N, *item_shape]).

    Raises:
        DataError: the file is unreadable or has no array of images.
    """
    arrays = _read(path)
    keys = [key for key in arrays if any(_ROLE_OF.get(word) == "images" for word in key.lower().split("_"))]
    if not keys:
        what = f"{path} has no array of images; its keys are: {listed(list(arrays))}."
        raise DataError(what, "Save the images under the name `images`.", value=tuple(arrays), place=path)
    tensors, _ = _tensors(path, keys, [_as_images(path, key, arrays[key]) for key in keys])
    return [f"{key}[{index}]" for key in keys for index in range(len(arrays[key]))], tensors
