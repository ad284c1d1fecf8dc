"""Items to predict, without labels or splits, and the search for their files.

Each kind of data reads its own. Knows no model and no run.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from trainyard.data.dataset import Fetch, Finish, Indices
from trainyard.data.folders import walk
from trainyard.errors import DataError


@dataclass(frozen=True)
class Items:
    """Named items, as inputs of a trained model; the attributes are those of a `Dataset`."""

    ids: tuple[str, ...]
    fetch: Fetch
    finish: Finish | None = None
    lengths: Indices | None = None
    texts: tuple[str, ...] | None = None


def files_at(path: Path, wanted: Callable[[Path], bool], noun: str) -> tuple[list[Path], list[str]]:
    """The file `path`, or the `wanted` files in it at any depth, and their names; `noun` is for errors: "image".

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


def require_shape(path: Path, items: Tensor, item_shape: tuple[int, ...]) -> None:
    """Raises DataError unless the items of `path` [N, ...] have the shape that the model takes."""
    shape = tuple(items.shape[1:])
    if not items.ndim or shape != item_shape:
        what = f"{path} holds items of shape {shape}; the model takes {item_shape}."
        raise DataError(what, "Give items like those of the training.", value=shape, place=path)
