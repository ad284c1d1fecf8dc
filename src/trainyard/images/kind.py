"""Images as a kind of data: loads them for training, and reads new ones in the same way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from trainyard.config.schema import Config
from trainyard.data.arrays import InMemory
from trainyard.data.build import describe_bad
from trainyard.data.dataset import Dataset
from trainyard.data.items import Items, files_at
from trainyard.errors import DataError
from trainyard.images.files import ImageFiles, is_image
from trainyard.images.schema import CsvData, DigitsData, ImageFolderData, NpzData
from trainyard.images.sources import csv, digits, image_folder, npz

__all__ = ["load", "preprocessing", "read_new"]


def load(
    config: Config,
    *,
    trust: bool = False,
    item_shape: Sequence[int] | None = None,
    files: Mapping[str, str] | None = None,
) -> Dataset:
    """The images that `config.data` describes.

    Args:
        config: its `data`.
        trust: not used.
        item_shape: not used.
        files: not used.

    Raises:
        DataError: the data cannot be read or trained on.
    """
    dataset = _load(config.data)
    return replace(dataset, preprocessing=preprocessing(config, dataset.item_shape))


def _load(data: object) -> Dataset:
    match data:
        case DigitsData():
            return digits.load(data)
        case NpzData():
            return npz.load(data)
        case ImageFolderData():
            return image_folder.load(data)
        case CsvData():
            return csv.load(data)
        case _:
            raise TypeError(f"{type(data).__name__} does not describe images")


def preprocessing(config: Config, item_shape: Sequence[int]) -> dict[str, Any]:
    """How an image becomes the input of a model: plain JSON values.

    Args:
        config: not used.
        item_shape: of an input.
    """
    described: dict[str, Any] = {"kind": "image", "item_shape": [int(size) for size in item_shape]}
    if len(item_shape) == 3 and item_shape[0] in (1, 3):
        channels, height, width = described["item_shape"]
        mode = "L" if channels == 1 else "RGB"
        described["computed_as"] = (
            f"PIL.Image.open(file).convert({mode!r}).resize(({width}, {height}), PIL.Image.Resampling.BILINEAR) / 255; "
            "as [channels, height, width]"
        )
    return described


def read_new(
    path: Path,
    preprocessing: Mapping[str, Any],
    *,
    files: Mapping[str, str],
    cache_dir: Path,
    cache_mb: float,
    trust: bool = False,
) -> Items:
    """The images at `path`, as inputs of a trained model.

    Args:
        path: an image, a folder of images at any depth, or an .npz with images.
        preprocessing: the result of `preprocessing` for the training.
        files: not used.
        cache_dir: not used.
        cache_mb: not used.
        trust: not used.

    Raises:
        DataError: there are no images, a file is not an image, or arrays have another shape.
    """
    item_shape = tuple(preprocessing["item_shape"])
    if path.suffix == ".npz":
        names, tensors = npz.read_images(path)
        if tuple(tensors.shape[1:]) != item_shape:
            raise DataError(
                f"{path} holds items of shape {tuple(tensors.shape[1:])}; the model takes {item_shape}.",
                "Pass items of that shape.",
                value=tuple(tensors.shape[1:]),
                place=path,
            )
        return Items(tuple(names), InMemory(tensors))
    paths, names = files_at(path, is_image, "image")
    if "computed_as" not in preprocessing:
        raise DataError(
            f"The model takes items of shape {item_shape}, which image files do not have.",
            "Pass an .npz with arrays of that shape.",
            value=item_shape,
            place=path,
        )
    images = ImageFiles(paths, names, (item_shape[1], item_shape[2]), item_shape[0])
    bad = [(name, why) for name, (_, why) in zip(names, images.read_all(), strict=True) if why]
    if bad:
        raise DataError(
            f"{path}: some files are not images:{describe_bad(bad)}",
            "Remove or fix them.",
            value=[name for name, _ in bad],
            place=path,
        )
    return Items(tuple(names), images)
