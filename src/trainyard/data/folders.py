"""A folder of files per class, optionally below `train`, `val` and `test` folders.

Shared by the image folder and the folder of recordings: what a class folder is, which files are
ignored, and how faults are reported. Uses names alone and opens no file.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from trainyard.data.build import SPLIT_ALIASES
from trainyard.data.dataset import SPLITS
from trainyard.data.found import FoundFile
from trainyard.errors import DataError
from trainyard.wording import did_you_mean, listed


def find_in_folders(
    root: Path, classes: Sequence[str] | None, *, wanted: Callable[[Path], bool], suffixes: frozenset[str], noun: str
) -> tuple[list[str], list[FoundFile], list[str]]:
    """The class names (by default the sorted folders), the `wanted` files below a folder in order, and warnings.

    The first folder below the root is the class of all files in it, at any depth. When the root contains `train`, the
    subfolders of `train` are the classes, and `val` (or `valid`, `validation`) and `test` beside it are official
    splits. `suffixes`, which `wanted` accepts, and `noun`, such as "image", are for messages.

    Raises:
        DataError: a missing folder, no class folders, a class without files, classes that do not match.
    """
    if not root.is_dir():
        kind = "is a file, not a folder" if root.exists() else "does not exist"
        remedy = f"Set data.path to a folder with one folder of {noun}s per class"
        if noun == "recording" and root.is_file():
            remedy += "; for a CSV of recordings use data=audio_csv"
        raise DataError(f"{root} {kind}.", f"{remedy}.", place=root)
    tops, warnings = _split_folders(root)
    folders = {split: _subfolders(top) for split, top in tops.items()}
    found = sorted({folder.name for below in folders.values() for folder in below})
    if not found:
        loose = sum(wanted(entry) for entry in root.iterdir())
        what = f", only {loose} {noun}s without a class" if loose else ""
        remedy = f"Create one folder per class and move its {noun}s there."
        raise DataError(f"{root} has no class folders{what}.", remedy, value=loose, place=root)
    names = _class_names(root, found, classes)
    files: list[FoundFile] = []
    ignored: list[str] = []
    for split, below in folders.items():
        for folder in below:
            inside = sorted(walk(folder))
            here = [file for file in inside if wanted(file)]
            if not here and split in ("", "train"):
                remedy = f"Add {noun}s to it ({', '.join(sorted(suffixes))}), or remove the folder."
                raise DataError(f"The class folder {folder} has no {noun}s.", remedy, value=folder.name, place=folder)
            ignored += [file.relative_to(root).as_posix() for file in inside if not wanted(file)]
            label = names.index(folder.name)
            files += [FoundFile(file, file.relative_to(root).as_posix(), label, split=split) for file in here]
    if ignored:
        warnings.append(f"Ignored files of other types ({len(ignored)}): {listed(ignored, 3)}.")
    return names, files, warnings


def walk(folder: Path) -> Iterator[Path]:
    """Every file below a folder that is not hidden, following links but visiting each folder once."""
    seen: set[str] = set()
    for top, below, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(top)
        if real in seen:
            below.clear()
            continue
        seen.add(real)
        below[:] = sorted(name for name in below if not name.startswith("."))
        yield from (Path(top) / file for file in files if not file.startswith("."))


def _split_folders(root: Path) -> tuple[dict[str, Path], list[str]]:
    """The folder of each split, or the root alone under ""; and warnings."""
    tops: dict[str, Path] = {}
    others = []
    for folder in _subfolders(root):
        split = SPLIT_ALIASES.get(folder.name.lower())
        if split is None:
            others.append(folder.name)
        elif split in tops:
            what = f"{tops[split]} and {folder} are both {split} folders."
            raise DataError(what, "Merge them, or remove one.", value=split, place=folder)
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
    if classes is None:
        return found
    for folder in found:
        if folder not in classes:
            what = f"The folder {folder} in {root} is not one of the classes {listed(list(classes))}."
            remedy = did_you_mean(folder, classes, then="Add it to data.classes, or rename or remove the folder.")
            raise DataError(what, remedy, value=folder, place=root / folder)
    for name in classes:
        if name not in found:
            what = f"{root} has no folder for class {name}; its folders are: {listed(found)}."
            remedy = did_you_mean(name, found, then="Create the folder, or remove the class from data.classes.")
            raise DataError(what, remedy, value=name, place=root)
    return list(classes)
