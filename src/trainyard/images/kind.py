"""Images as a kind of data, see `config.kinds`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from trainyard.config.kinds import Files
from trainyard.config.schema import Config
from trainyard.data.arrays import InMemory
from trainyard.data.build import unusable_items
from trainyard.data.dataset import Dataset
from trainyard.data.items import Items, files_at, require_shape
from trainyard.errors import DataError
from trainyard.images.files import ImageFiles, is_image
from trainyard.images.schema import CsvData, DigitsData, ImageFolderData, NpzData
from trainyard.images.sources import digits, npz
from trainyard.images.sources.files import load_csv, load_folder

__all__ = ["load", "preprocessing", "read_new"]

_SOURCES: dict[type, Any] = {
    DigitsData: digits.load,
    NpzData: npz.load,
    ImageFolderData: load_folder,
    CsvData: load_csv,
}


def load(
    config: Config, *, trust: bool = False, item_shape: Sequence[int] | None = None, files: Files | None = None
) -> Dataset:
    """The images of `config.data`."""
    dataset = _SOURCES[type(config.data)](config.data)
    return replace(dataset, preprocessing=preprocessing(config, dataset.item_shape))


def preprocessing(config: Config, item_shape: Sequence[int]) -> dict[str, Any]:
    """How an image becomes the input of a model."""
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
    path: Path, preprocessing: Mapping[str, Any], *, files: Files, cache_dir: Path, cache_mb: float, trust: bool = False
) -> Items:
    """The images at `path`: an image, a folder of images at any depth, or an .npz with images."""
    item_shape = tuple(preprocessing["item_shape"])
    if path.suffix == ".npz":
        names, tensors = npz.read_images(path)
        require_shape(path, tensors, item_shape)
        return Items(tuple(names), InMemory(tensors))
    paths, names = files_at(path, is_image, "image")
    if "computed_as" not in preprocessing:
        what = f"The model takes items of shape {item_shape}, which image files do not have."
        raise DataError(what, "Pass an .npz with arrays of that shape.", value=item_shape, place=path)
    images = ImageFiles(paths, names, (item_shape[1], item_shape[2]), item_shape[0])
    bad = [(name, why) for name, (_, why) in zip(names, images.read_all(), strict=True) if why]
    if bad:
        raise unusable_items(path, "some files are not images", bad)
    return Items(tuple(names), images)
