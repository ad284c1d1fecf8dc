"""Image files as a dataset: a folder of images per class, or a CSV of image paths and labels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from trainyard.data.build import ON_BAD, build_dataset, describe_bad, require_choice
from trainyard.data.dataset import Dataset
from trainyard.data.folders import find_in_folders
from trainyard.data.found import FoundFile
from trainyard.data.tables import find_in_table
from trainyard.errors import DataError
from trainyard.images.files import IMAGE_SUFFIXES, ImageFiles, is_image
from trainyard.images.schema import CsvData, ImageFolderData


def load_folder(data: ImageFolderData, *, cache_mb: float = 512) -> Dataset:
    """Loads the images below a folder, see `find_in_folders`; up to `cache_mb` MiB of pixels stay in memory.

    Without `dataset` the data is named after the folder.

    Raises:
        DataError: a missing folder, no class folders, an empty class, an unreadable image.
    """
    root = Path(data.path)
    names, files, warnings = find_in_folders(root, data.classes, wanted=is_image, suffixes=IMAGE_SUFFIXES, noun="image")
    return _dataset(data, data.dataset or root.resolve().name, names, files, cache_mb=cache_mb, warnings=warnings)


def load_csv(data: CsvData) -> Dataset:
    """Loads the images that a CSV lists, see `find_in_table`; `.tsv` files are separated by tabs.

    Without `dataset` the data is named after the file.

    Raises:
        DataError: an unreadable table, an unknown column, an invalid label or split, a bad file.
    """
    table = Path(data.path)
    names, files = find_in_table(
        table,
        data.classes,
        path_column=data.path_column,
        label_column=data.label_column,
        group_column=data.group_column,
        split_column=data.split_column,
    )
    return _dataset(data, data.dataset or table.stem, names, files)


def _dataset(
    data: ImageFolderData | CsvData,
    name: str,
    classes: Sequence[str],
    files: Sequence[FoundFile],
    *,
    cache_mb: float = 512,
    warnings: Sequence[str] = (),
) -> Dataset:
    """Builds the dataset of the files that are complete images; `cache_mb` MiB of their pixels are kept in memory.

    Raises:
        DataError: a file is missing or damaged and `data.on_bad_file` is "error", or skipping the bad files
            leaves a class empty.
    """
    size = tuple(data.image_size)
    require_choice("data.on_bad_file", data.on_bad_file, ON_BAD)
    require_choice("data.channels", data.channels, (1, 3))
    if min(size) < 1:
        what, remedy = f"data.image_size={size} is not a valid size.", "Use a height and a width of at least 1."
        raise DataError(what, remedy, value=size, place="data.image_size")
    where = data.path
    paths, ids = [file.path for file in files], [file.id for file in files]
    images = ImageFiles(paths, ids, data.image_size, data.channels, cache_mb)
    read = images.read_all()
    good = np.array([index for index, (_, fault) in enumerate(read) if not fault], dtype=np.int64)
    notes = list(warnings)
    if len(good) < len(files):
        faulty = [(file, fault) for file, (_, fault) in zip(files, read, strict=True) if fault]
        bad = [(f"{file.where}: {file.id}" if file.where else file.id, fault) for file, fault in faulty]
        count = "1 image is" if len(bad) == 1 else f"{len(bad)} images are"
        summary = f"{count} missing or unreadable:{describe_bad(bad)}"
        if data.on_bad_file == "error":
            remedy = "Replace or remove them, or set data.on_bad_file=skip."
            raise DataError(f"{where}: {summary}", remedy, value=tuple(file.id for file, _ in faulty), place=where)
        notes.append(f"Skipped: {summary}")
        left = {files[index].label for index in good}
        for label in sorted({file.label for file in files} - left):
            what = f"{where}: every image of class {classes[label]} is missing or unreadable."
            remedy = "Replace them, or remove the class from data.classes."
            raise DataError(what, remedy, value=classes[label], place=where)
    kept = [files[index] for index in good]
    return build_dataset(
        name,
        where,
        classes,
        [file.id for file in kept],
        [file.label for file in kept],
        [read[index][0] for index in good],
        images.item_shape,
        images.subset(good).subset,
        official=[file.split for file in kept] if any(file.split for file in files) else None,
        groups=[file.group for file in kept] if any(file.group for file in files) else None,
        warnings=notes,
        split=data.split,
    )
