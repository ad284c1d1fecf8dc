"""Items to predict, without labels or splits, and the search for their files.

Each kind of data reads its own. Knows no model and no run.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from trainyard.data.dataset import Fetch, Finish, Indices
from trainyard.data.folders import walk
from trainyard.errors import DataError


@dataclass(frozen=True)
class Items:
    """Named items, as inputs of a trained model.

    Attributes:
        ids: the name of each item.
        fetch: int64 positions [B] -> float32 [B, *item_shape], or int64 [B, T] of texts.
        finish: as in a `Dataset`.
        lengths: as in a `Dataset`.
        texts: the items themselves, if they are texts.
    """

    ids: tuple[str, ...]
    fetch: Fetch
    finish: Finish | None = None
    lengths: Indices | None = None
    texts: tuple[str, ...] | None = None


def files_at(path: Path, wanted: Callable[[Path], bool], noun: str) -> tuple[list[Path], list[str]]:
    """A file, or the files in a folder at any depth, and their names.

    Args:
        path: a file, accepted without `wanted`, or a folder.
        wanted: whether to include a file of the folder.
        noun: the kind of file, for errors: "image".

    Raises:
        DataError: there is no such file.
    """
    if path.is_dir():
        files = sorted(file for file in walk(path) if wanted(file))
        names = [file.relative_to(path).as_posix() for file in files]
    else:
        files, names = ([path], [path.name]) if path.is_file() else ([], [])
    if not files:
        raise DataError(f"There is no {noun} at {path}.", f"Pass a file or a folder with {noun}s.", place=path)
    return files, names
