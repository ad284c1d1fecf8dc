"""A folder of images per class, optionally below `train`, `val` and `test` folders."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from trainyard.data.dataset import Dataset
from trainyard.data.folders import find_in_folders
from trainyard.images.files import IMAGE_SUFFIXES, is_image
from trainyard.images.reading import build_from_files


def load(
    path: str | Path,
    *,
    name: str | None = None,
    image_size: tuple[int, int] = (64, 64),
    channels: int = 3,
    classes: Sequence[str] | None = None,
    on_bad_file: str = "error",
    cache_mb: float = 512,
    val_fraction: float = 0.1,
    test_fraction: float = 0.2,
    seed: int = 0,
    on_leak: str = "warn",
) -> Dataset:
    """Loads the images below a folder. The first folder below the root is the class of all images in it, at any depth.

    When the root contains `train`, the subfolders of `train` are the classes, and `val` (or `valid`, `validation`)
    and `test` beside it are official splits; a split that is missing is cut from train.

    Args:
        path: the folder.
        name: the dataset's name; None: the folder's name.
        image_size: height and width after resizing.
        channels: 1 or 3.
        classes: names in label order; None: the class folders, sorted.
        on_bad_file: "error", or "skip" with a warning.
        cache_mb: mebibytes of decoded pixels to cache in memory.
        val_fraction: share of the items for validation, when there is no val folder.
        test_fraction: share of the items for testing, when there is no test folder.
        seed: of the split.
        on_leak: "warn", "error" or "drop".

    Raises:
        DataError: a missing folder, no class folders, an empty class, an unreadable image.
    """
    root = Path(path)
    names, files, warnings = find_in_folders(root, classes, wanted=is_image, suffixes=IMAGE_SUFFIXES, noun="image")
    return build_from_files(
        name or root.resolve().name,
        str(root),
        names,
        files,
        image_size=image_size,
        channels=channels,
        on_bad_file=on_bad_file,
        cache_mb=cache_mb,
        warnings=warnings,
        val_fraction=val_fraction,
        test_fraction=test_fraction,
        seed=seed,
        on_leak=on_leak,
    )
