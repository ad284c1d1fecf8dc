"""A CSV of image paths and labels, with optional columns for groups and splits.

Paths are relative to the CSV, so that table and images can be moved together.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from trainyard.data.dataset import Dataset
from trainyard.data.tables import find_in_table
from trainyard.images.reading import build_from_files


def load(
    path: str | Path,
    *,
    name: str | None = None,
    path_column: str = "path",
    label_column: str = "label",
    group_column: str | None = None,
    split_column: str | None = None,
    image_size: tuple[int, int] = (64, 64),
    channels: int = 3,
    classes: Sequence[str] | None = None,
    on_bad_file: str = "error",
    cache_mb: float = 512,
    val_fraction: float = 0.1,
    test_fraction: float = 0.2,
    seed: int = 0,
    on_leak: str = "warn",
    test_groups: Sequence[str] = (),
    by_group: bool = True,
) -> Dataset:
    """Loads the images that a CSV lists; `.tsv` files are separated by tabs.

    Args:
        path: the CSV, UTF-8 with a header.
        name: the dataset's name; None: the file's stem.
        path_column: the column of image paths, relative to the CSV.
        label_column: the column of labels.
        group_column: items of one group stay on one side of a split; an empty cell is no group.
        split_column: official splits: train, val, test; one that is missing is cut from train.
        image_size: height and width after resizing.
        channels: 1 or 3.
        classes: names in label order; None: the labels, sorted (as numbers when all are).
        on_bad_file: "error", or "skip" with a warning; applies to missing files too.
        cache_mb: mebibytes of decoded pixels to cache in memory.
        val_fraction: share of the items for validation, when there is no val split.
        test_fraction: share of the items for testing, when there is no test split.
        seed: of the split.
        on_leak: "warn", "error" or "drop".
        test_groups: groups that make up the test split, in place of the split column.
        by_group: keep groups on one side of the splits made here.

    Raises:
        DataError: an unreadable table, an unknown column, an invalid label or split, a bad file.
    """
    table = Path(path)
    names, files = find_in_table(
        table,
        classes,
        path_column=path_column,
        label_column=label_column,
        group_column=group_column,
        split_column=split_column,
    )
    return build_from_files(
        name or table.stem,
        str(table),
        names,
        files,
        image_size=image_size,
        channels=channels,
        on_bad_file=on_bad_file,
        cache_mb=cache_mb,
        warnings=(),
        test_groups=test_groups,
        by_group=by_group,
        val_fraction=val_fraction,
        test_fraction=test_fraction,
        seed=seed,
        on_leak=on_leak,
    )
