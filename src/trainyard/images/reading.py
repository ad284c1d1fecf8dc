"""What image folders and CSVs of image paths share: reading the files, rejecting bad ones, building the dataset."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from trainyard.data.build import build_dataset, describe_bad
from trainyard.data.dataset import Dataset
from trainyard.data.found import ON_BAD_FILE, FoundFile
from trainyard.errors import DataError
from trainyard.images.files import ImageFiles
from trainyard.images.schema import CsvData, DigitsData, ImageFolderData


def build_from_files(
    data: ImageFolderData | CsvData,
    name: str,
    classes: Sequence[str],
    files: Sequence[FoundFile],
    *,
    cache_mb: float,
    warnings: Sequence[str] = (),
) -> Dataset:
    """Builds the dataset of the files that are complete images.

    Args:
        data: how images are read and split.
        name: the dataset's name.
        classes: names in label order.
        files: what the source found.
        cache_mb: mebibytes of decoded pixels to cache in memory.
        warnings: of the source.

    Raises:
        DataError: a file is missing or damaged and `on_bad_file` is "error", or skipping the bad files
            leaves a class empty.
    """
    if data.on_bad_file not in ON_BAD_FILE:
        raise DataError(
            f"data.on_bad_file={data.on_bad_file!r} is not one of {', '.join(ON_BAD_FILE)}.",
            f"Use one of {', '.join(ON_BAD_FILE)}.",
            value=data.on_bad_file,
            place="data.on_bad_file",
        )
    if data.channels not in (1, 3):
        raise DataError(
            f"data.channels={data.channels} is not supported.",
            "Use 1 or 3.",
            value=data.channels,
            place="data.channels",
        )
    if min(data.image_size) < 1:
        raise DataError(
            f"data.image_size={tuple(data.image_size)} is not a valid size.",
            "Use a height and a width of at least 1.",
            value=tuple(data.image_size),
            place="data.image_size",
        )
    where, channels = data.path, data.channels
    height, width = data.image_size
    images = ImageFiles([file.path for file in files], [file.id for file in files], (height, width), channels, cache_mb)
    read = images.read_all()
    good = np.array([index for index, (_, fault) in enumerate(read) if not fault], dtype=np.int64)
    notes = list(warnings)
    if len(good) < len(files):
        faulty = [(file, fault) for file, (_, fault) in zip(files, read, strict=True) if fault]
        bad = [(f"{file.where}: {file.id}" if file.where else file.id, fault) for file, fault in faulty]
        count = "1 image is" if len(bad) == 1 else f"{len(bad)} images are"
        if data.on_bad_file == "error":
            raise DataError(
                f"{where}: {count} missing or unreadable:{describe_bad(bad)}",
                "Replace or remove them, or set data.on_bad_file=skip.",
                value=tuple(file.id for file, _ in faulty),
                place=where,
            )
        notes.append(f"Skipped: {count} missing or unreadable:{describe_bad(bad)}")
        _check_left(where, classes, files, good)
    kept = [files[index] for index in good]
    readable = images.subset(good)
    return build_dataset(
        name,
        where,
        classes,
        [file.id for file in kept],
        [file.label for file in kept],
        [read[index][0] for index in good],
        images.item_shape,
        readable.subset,
        official=[file.split for file in kept] if any(file.split for file in files) else None,
        groups=[file.group for file in kept] if any(file.group for file in files) else None,
        warnings=notes,
        split=data.split,
    )


def require_no_groups(data: DigitsData | ImageFolderData) -> None:
    """Refuses `split.test_groups` for a source without groups.

    Raises:
        DataError: it is set.
    """
    if data.split.test_groups:
        raise DataError(
            f"data.split.test_groups is set, but {data.source} has no groups.",
            "Use data=csv with data.group_column, or unset it.",
            value=data.split.test_groups,
            place="data.split.test_groups",
        )


def _check_left(where: str, classes: Sequence[str], files: Sequence[FoundFile], good: np.ndarray) -> None:
    left = {files[index].label for index in good}
    for label in sorted({file.label for file in files} - left):
        raise DataError(
            f"{where}: every image of class {classes[label]} is missing or unreadable.",
            "Replace them, or remove the class from data.classes.",
            value=classes[label],
            place=where,
        )
