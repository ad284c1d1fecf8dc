"""A CSV of image paths and labels, with optional columns for groups and splits.

Paths are relative to the CSV, so that table and images can be moved together.
"""

from __future__ import annotations

from pathlib import Path

from trainyard.data.dataset import Dataset
from trainyard.data.tables import find_in_table
from trainyard.images.reading import build_from_files
from trainyard.images.schema import CsvData


def load(data: CsvData, *, cache_mb: float = 512) -> Dataset:
    """Loads the images that a CSV lists; `.tsv` files are separated by tabs.

    Args:
        data: which table and how to read it. Without `dataset` the data is named after the file; without `classes`
            they are the labels, sorted (as numbers when all are). An empty cell in the group column means no group.
        cache_mb: mebibytes of decoded pixels to cache in memory.

    Raises:
        DataError: an unreadable table, an unknown column, an invalid label or split, a bad file.
    """
    table = Path(data.path)
    names, files = find_in_table(
        table,
        data.classes,
        path_column=data.path_column,
        label_column=data.label_column,
        group_column=data.group_column,
        split_column=data.split_column,
    )
    return build_from_files(data, data.dataset or table.stem, names, files, cache_mb=cache_mb)
