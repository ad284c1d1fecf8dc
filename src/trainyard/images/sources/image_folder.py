"""A folder of images per class, optionally below `train`, `val` and `test` folders."""

from __future__ import annotations

from pathlib import Path

from trainyard.data.dataset import Dataset
from trainyard.data.folders import find_in_folders
from trainyard.images.files import IMAGE_SUFFIXES, is_image
from trainyard.images.reading import build_from_files, require_no_groups
from trainyard.images.schema import ImageFolderData


def load(data: ImageFolderData, *, cache_mb: float = 512) -> Dataset:
    """Loads the images below a folder. The first folder below the root is the class of all images in it, at any depth.

    When the root contains `train`, the subfolders of `train` are the classes, and `val` (or `valid`, `validation`)
    and `test` beside it are official splits; a split that is missing is cut from train.

    Args:
        data: which folder and how to read it. Without `dataset` the data is named after the folder; without
            `classes` they are the class folders, sorted.
        cache_mb: mebibytes of decoded pixels to cache in memory.

    Raises:
        DataError: a missing folder, no class folders, an empty class, an unreadable image, or `split.test_groups`,
            which folders do not have.
    """
    require_no_groups(data)
    root = Path(data.path)
    names, files, warnings = find_in_folders(root, data.classes, wanted=is_image, suffixes=IMAGE_SUFFIXES, noun="image")
    return build_from_files(
        data, data.dataset or root.resolve().name, names, files, cache_mb=cache_mb, warnings=warnings
    )
