"""What image folders and CSVs of image paths share: reading the files, rejecting bad ones, building the dataset."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from trainyard.data.build import build_dataset, describe_bad
from trainyard.data.dataset import Dataset
from trainyard.data.found import ON_BAD_FILE, FoundFile
from trainyard.errors import DataError
from trainyard.images.files import ImageFiles


def build_from_files(
    name: str,
    where: str,
    classes: Sequence[str],
    files: Sequence[FoundFile],
    *,
    image_size: tuple[int, int],
    channels: int,
    on_bad_file: str,
    cache_mb: float,
    warnings: Sequence[str],
    test_groups: Sequence[str] = (),
    by_group: bool = True,
    val_fraction: float,
    test_fraction: float,
    seed: int,
    on_leak: str,
) -> Dataset:
    """Builds the dataset of the files that are complete images; see `build_dataset` for the other arguments.

    Raises:
        DataError: a file is missing or damaged and `on_bad_file` is "error", or skipping the bad files
            leaves a class empty.
    """
    if on_bad_file not in ON_BAD_FILE:
        raise DataError(
            f"data.on_bad_file={on_bad_file!r} is not one of {', '.join(ON_BAD_FILE)}.",
            f"Use one of {', '.join(ON_BAD_FILE)}.",
            value=on_bad_file,
            place="data.on_bad_file",
        )
    if channels not in (1, 3):
        raise DataError(
            f"data.channels={channels} is not supported.", "Use 1 or 3.", value=channels, place="data.channels"
        )
    if min(image_size) < 1:
        raise DataError(
            f"data.image_size={tuple(image_size)} is not a valid size.",
            "Use a height and a width of at least 1.",
            value=tuple(image_size),
            place="data.image_size",
        )
    height, width = image_size
    images = ImageFiles([file.path for file in files], [file.id for file in files], (height, width), channels, cache_mb)
    read = images.read_all()
    good = np.array([index for index, (_, fault) in enumerate(read) if not fault], dtype=np.int64)
    notes = list(warnings)
    if len(good) < len(files):
        faulty = [(file, fault) for file, (_, fault) in zip(files, read, strict=True) if fault]
        bad = [(f"{file.where}: {file.id}" if file.where else file.id, fault) for file, fault in faulty]
        count = "1 image is" if len(bad) == 1 else f"{len(bad)} images are"
        if on_bad_file == "error":
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
        test_groups=test_groups,
        by_group=by_group,
        val_fraction=val_fraction,
        test_fraction=test_fraction,
        seed=seed,
        on_leak=on_leak,
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
