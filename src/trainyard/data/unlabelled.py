"""Items to predict, without labels or splits: image files, folders of them, or an `.npz`.

What a trained model takes is known, so items are brought to that shape. Knows no model and no run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from trainyard.data.arrays import InMemory
from trainyard.data.dataset import Fetch
from trainyard.data.images import ImageFiles, describe_bad, is_image
from trainyard.data.sources.npz import read_images
from trainyard.errors import DataError


@dataclass(frozen=True)
class Items:
    """Names, and a fetch from positions int64 [B] to float32 [B, *item_shape]."""

    ids: tuple[str, ...]
    fetch: Fetch


def load_items(path: Path, item_shape: Sequence[int]) -> Items:
    """The items at `path`, in the shape that a model takes.

    Args:
        path: an image, a folder of images (at any depth), or an .npz with images.
        item_shape: channels, height, width; files are decoded and resized to it.

    Raises:
        DataError: nothing there, a file that is no image, or arrays of another shape.
    """
    if path.suffix == ".npz":
        names, tensors = read_images(path)
        if tuple(tensors.shape[1:]) != tuple(item_shape):
            raise DataError(
                f"{path} holds items of shape {tuple(tensors.shape[1:])}; the model takes {tuple(item_shape)}.",
                "Give items like those it was trained on.",
            )
        return Items(tuple(names), InMemory(tensors))
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.is_file() and is_image(file))
        names = [file.relative_to(path).as_posix() for file in files]
    else:
        files, names = ([path], [path.name]) if path.is_file() else ([], [])
    if not files:
        raise DataError(f"There are no images at {path}.", "Name an image, a folder of images, or an .npz.")
    if len(item_shape) != 3 or item_shape[0] not in (1, 3):
        raise DataError(
            f"The model takes items of shape {tuple(item_shape)}, which image files do not have.",
            "Give an .npz.",
        )
    images = ImageFiles(files, names, (item_shape[1], item_shape[2]), item_shape[0])
    bad = [(name, why) for name, (_, why) in zip(names, images.read_all(), strict=True) if why]
    if bad:
        raise DataError(f"Not every file is an image:{describe_bad(bad)}", "Take them out, or mend them.")
    return Items(tuple(names), images)
