"""The configuration of images: where they are and how they are read. Imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from trainyard.config.bounds import Bound, at_least, each
from trainyard.config.schema import SplitOptions


@dataclass(frozen=True)
class DigitsData:
    """scikit-learn's handwritten digits: 1,797 images of 8 x 8, ten classes."""

    source: Literal["digits"] = "digits"
    dataset: str = "digits"  # the name used in paths and queries
    split: SplitOptions = SplitOptions()


@dataclass(frozen=True)
class NpzData:
    """An .npz with `images`, `labels` (or `{split}_images`, `{split}_labels`; x/y likewise)."""

    path: str
    source: Literal["npz"] = "npz"
    dataset: str | None = None  # null: the file's stem
    classes: tuple[str, ...] | None = None  # names in label order; null: the labels themselves
    split: SplitOptions = SplitOptions()


@dataclass(frozen=True)
class ImageFolderData:
    """One folder of images per class, optionally inside train/, val/ and test/ folders."""

    path: str
    source: Literal["image_folder"] = "image_folder"
    dataset: str | None = None  # null: the folder's name
    image_size: tuple[int, int] = (64, 64)  # height, width after resizing
    channels: Literal[1, 3] = 3
    classes: tuple[str, ...] | None = None  # null: the folders, sorted
    workers: int = 0  # processes that decode images; 0: the training process
    on_bad_file: Literal["error", "skip"] = "error"
    split: SplitOptions = SplitOptions()


@dataclass(frozen=True)
class CsvData:
    """A CSV of image paths and labels; paths are relative to the CSV."""

    path: str
    source: Literal["csv"] = "csv"
    dataset: str | None = None  # null: the file's stem
    path_column: str = "path"
    label_column: str = "label"
    group_column: str | None = None  # items of one group stay in one split
    split_column: str | None = None  # official splits: train, val, test
    image_size: tuple[int, int] = (64, 64)
    channels: Literal[1, 3] = 3
    classes: tuple[str, ...] | None = None
    workers: int = 0
    on_bad_file: Literal["error", "skip"] = "error"
    split: SplitOptions = SplitOptions()


DATA = (DigitsData, NpzData, ImageFolderData, CsvData)
MODELS = ()
BOUNDS: tuple[Bound, ...] = (
    ("data.path", bool, "a path"),
    ("data.image_size", each(at_least(1)), "1 or more each"),
    ("data.workers", at_least(0), "0 or more"),
)
