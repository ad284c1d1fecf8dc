"""A folder of images per class, optionally below `train`, `val` and `test` folders.

Finds the files and names them; knows nothing of what is inside an image.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from trainyard.data.build import SPLIT_ALIASES, listed, nearest
from trainyard.data.dataset import SPLITS, Dataset
from trainyard.data.files import FoundFile, build_from_files
from trainyard.data.images import IMAGE_SUFFIXES, is_image
from trainyard.errors import DataError


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
    """The images below a folder; the folder that an image is in, at any depth below it, is its class.

    When the folder holds `train`, its subfolders are the classes, and `val` (or `valid`, `validation`)
    and `test` beside it are official splits; a split that is missing is cut from train.

    Args:
        path: the folder.
        name: the dataset's name; None: the folder's name.
        image_size: height and width after resizing.
        channels: 1 or 3.
        classes: names in label order; None: the class folders, sorted.
        on_bad_file: "error", or "skip" with a warning.
        cache_mb: megabytes of decoded pixels to keep in memory.
        val_fraction: share of the items for validation, when there is no val folder.
        test_fraction: share of the items for testing, when there is no test folder.
        seed: of the split.
        on_leak: "warn", "error" or "drop".

    Raises:
        DataError: no such folder, no class folders, an empty class, an unreadable image.
    """
    root = Path(path)
    if not root.is_dir():
        kind = "is a file, not a folder" if root.exists() else "does not exist"
        raise DataError(f"{root} {kind}.", "Set data.path to a folder with one folder of images per class.")
    tops, warnings = _split_folders(root)
    folders = {split: _subfolders(top) for split, top in tops.items()}
    found = sorted({folder.name for below in folders.values() for folder in below})
    names = _class_names(root, found, classes)
    files: list[FoundFile] = []
    ignored: list[str] = []
    for split, below in folders.items():
        for folder in below:
            inside = sorted(_walk(folder))
            images = [file for file in inside if is_image(file)]
            if not images and split in ("", "train"):
                raise DataError(
                    f"The class folder {folder} holds no images.",
                    f"Put images into it ({', '.join(sorted(IMAGE_SUFFIXES))}), or remove the folder.",
                )
            ignored += [file.relative_to(root).as_posix() for file in inside if not is_image(file)]
            label = names.index(folder.name)
            files += [FoundFile(file, file.relative_to(root).as_posix(), label, split=split) for file in images]
    if ignored:
        warnings.append(f"Ignored what is no image ({len(ignored)}): {listed(ignored, 3)}.")
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


def _split_folders(root: Path) -> tuple[dict[str, Path], list[str]]:
    """The folder of each split, or the root alone under ""; and what to warn about."""
    tops: dict[str, Path] = {}
    others = []
    for folder in _subfolders(root):
        split = SPLIT_ALIASES.get(folder.name.lower())
        if split is None:
            others.append(folder.name)
        elif split in tops:
            raise DataError(f"{tops[split]} and {folder} are both {split} folders.", "Keep one of them.")
        else:
            tops[split] = folder
    if "train" not in tops or not _subfolders(tops["train"]):
        return {"": root}, []
    warnings = [f"Ignored folders beside train ({len(others)}): {listed(others, 3)}."] if others else []
    return {split: tops[split] for split in SPLITS if split in tops}, warnings


def _subfolders(folder: Path) -> list[Path]:
    below = (entry for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    return sorted(below, key=lambda entry: entry.name)


def _class_names(root: Path, found: list[str], classes: Sequence[str] | None) -> list[str]:
    if not found:
        loose = sum(is_image(entry) for entry in root.iterdir())
        what = f" ({loose} images lie in it without a class)" if loose else ""
        raise DataError(f"{root} holds no class folders{what}.", "Make one folder per class and put its images there.")
    if classes is None:
        return found
    for folder in found:
        if folder not in classes:
            raise DataError(
                f"The folder {folder} in {root} is not one of the classes {listed(list(classes))}.",
                f"Add it to data.classes, or rename or remove the folder.{nearest(folder, list(classes))}",
            )
    for name in classes:
        if name not in found:
            raise DataError(
                f"There is no folder for class {name} in {root}; the folders are: {listed(found)}.",
                f"Make the folder, or leave the class out of data.classes.{nearest(name, found)}",
            )
    return list(classes)


def _walk(folder: Path) -> Iterator[Path]:
    """Every visible file below a folder, through links, each folder once."""
    seen: set[str] = set()
    for top, below, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(top)
        if real in seen:
            below.clear()
            continue
        seen.add(real)
        below[:] = sorted(name for name in below if not name.startswith("."))
        yield from (Path(top) / file for file in files if not file.startswith("."))
