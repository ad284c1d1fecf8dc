"""Tiny datasets on disk, for tests of Trainyard and of what is built on it.

Each class is a bright bar at its own position on a noisy background: small networks learn it in
seconds, and no two images are equal. The same arguments give the same files.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

CLASSES = ("barn", "crane", "track")


def tiny_images(
    labels: Sequence[int], classes: int, size: tuple[int, int] = (12, 12), channels: int = 1, seed: int = 0
) -> npt.NDArray[np.uint8]:
    """Images with the given labels: uint8 [N, height, width, channels]."""
    rng = np.random.default_rng(seed)
    height, width = size
    images = rng.integers(0, 96, (len(labels), height, width, channels), dtype=np.uint8)
    for image, label in zip(images, labels, strict=True):
        low = label * width // classes
        image[:, low : max((label + 1) * width // classes, low + 1)] += 128
    return images


def image_tree(
    root: Path,
    classes: Sequence[str] = CLASSES,
    per_class: int = 8,
    size: tuple[int, int] = (12, 12),
    seed: int = 0,
    *,
    channels: int = 3,
    suffix: str = ".png",
    splits: Mapping[str, int] | None = None,
) -> list[Path]:
    """Writes a folder of images per class, and returns the files, class by class.

    Args:
        root: the folder, created if missing.
        classes: the folders.
        per_class: images in each.
        size: height and width.
        seed: other seeds give other images.
        channels: 1 or 3.
        suffix: the format, such as ".png" or ".jpg".
        splits: images per class for each split folder, such as {"train": 8, "test": 2}; replaces `per_class`.
    """
    files = []
    for offset, (split, count) in enumerate((splits or {"": per_class}).items()):
        labels = [label for label in range(len(classes)) for _ in range(count)]
        images = tiny_images(labels, len(classes), size, channels, seed * 1000 + offset)
        for index, (label, image) in enumerate(zip(labels, images, strict=True)):
            path = root / split / classes[label] / f"{classes[label]}-{index % max(count, 1):03d}{suffix}"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image[..., 0] if channels == 1 else image).save(path)
            files.append(path)
    return files


def image_csv(
    root: Path,
    classes: Sequence[str] = CLASSES,
    per_class: int = 8,
    size: tuple[int, int] = (12, 12),
    seed: int = 0,
    *,
    channels: int = 3,
    groups: int | None = None,
) -> Path:
    """Writes images into `root/images` and `root/items.csv` with columns path and label; returns the CSV.

    Args:
        root: the folder, created if missing.
        classes: the labels.
        per_class: images of each.
        size: height and width.
        seed: other seeds give other images.
        channels: 1 or 3.
        groups: how many groups to distribute the items over, in a column `group`; None for no such column.
    """
    files = image_tree(root / "images", classes, per_class, size, seed, channels=channels)
    table = root / "items.csv"
    with table.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label", *(["group"] if groups else [])])
        for index, path in enumerate(files):
            group = [f"group-{index % groups}"] if groups else []
            writer.writerow([path.relative_to(root).as_posix(), path.parent.name, *group])
    return table


def tiny_npz(
    path: Path,
    classes: int = 3,
    per_class: int = 12,
    size: tuple[int, int] = (12, 12),
    seed: int = 0,
    *,
    channels: int = 1,
    splits: Mapping[str, int] | None = None,
) -> Path:
    """Writes an `.npz` of uint8 images and integer labels; returns the path.

    Args:
        path: the file.
        classes: how many.
        per_class: images of each, under `images` and `labels`.
        size: height and width.
        seed: other seeds give other images.
        channels: 1 gives [N, H, W], more gives [N, H, W, C].
        splits: images per class for each split, under `{split}_images` and `{split}_labels`; replaces
            `per_class`.
    """
    arrays: dict[str, npt.NDArray[np.generic]] = {}
    for offset, (split, count) in enumerate((splits or {"": per_class}).items()):
        labels = np.random.default_rng([seed, offset]).permutation(np.repeat(np.arange(classes), count))
        images = tiny_images(labels.tolist(), classes, size, channels, seed * 1000 + offset)
        prefix = f"{split}_" if split else ""
        arrays[f"{prefix}images"] = images[..., 0] if channels == 1 else images
        arrays[f"{prefix}labels"] = labels
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, allow_pickle=False, **arrays)
    return path
