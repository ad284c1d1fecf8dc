"""A CSV of image paths and labels, with optional columns for groups and splits.

Knows how tables go wrong: every fault is told with the row as a spreadsheet counts it (the header
is row 1). Paths are relative to the CSV, so that table and images can be moved together.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from pathlib import Path

from trainyard.data.build import SPLIT_ALIASES, listed, nearest
from trainyard.data.dataset import Dataset
from trainyard.data.files import FoundFile, build_from_files
from trainyard.errors import DataError

Row = tuple[int, dict[str, str]]  # its number in the file, and its cells by column


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
) -> Dataset:
    """The images that a CSV lists; `.tsv` files are separated by tabs.

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
        on_bad_file: "error", or "skip" with a warning; holds for missing files too.
        cache_mb: megabytes of decoded pixels to keep in memory.
        val_fraction: share of the items for validation, when there is no val split.
        test_fraction: share of the items for testing, when there is no test split.
        seed: of the split.
        on_leak: "warn", "error" or "drop".

    Raises:
        DataError: an unreadable table, an unknown column, a label, split or file that is wrong.
    """
    table = Path(path)
    columns = [path_column, label_column, *(column for column in (group_column, split_column) if column)]
    rows = _read(table, columns)
    for column in (path_column, label_column):
        empty = [number for number, cells in rows if not cells[column]]
        if empty:
            raise DataError(f"{table}: row {empty[0]} has nothing in column {column}.", "Fill it, or remove the row.")
    names = list(classes) if classes is not None else _sorted({cells[label_column] for _, cells in rows})
    _check_labels(table, rows, label_column, names)
    position = {name: index for index, name in enumerate(names)}
    files = [
        FoundFile(
            path=table.parent / cells[path_column],
            id=cells[path_column].replace("\\", "/"),
            label=position[cells[label_column]],
            group=cells[group_column] if group_column else "",
            split=_split(table, number, cells[split_column]) if split_column else "",
            where=f"row {number}",
        )
        for number, cells in rows
    ]
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
        val_fraction=val_fraction,
        test_fraction=test_fraction,
        seed=seed,
        on_leak=on_leak,
    )


def _read(table: Path, columns: Sequence[str]) -> list[Row]:
    if not table.is_file():
        what = f"{table} is a folder, not a file." if table.is_dir() else f"There is no file {table}."
        raise DataError(what, "Set data.path to a CSV file.")
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            separator = "\t" if table.suffix.lower() == ".tsv" else ","
            lines = list(csv.reader(file, delimiter=separator, strict=True))
    except UnicodeDecodeError as error:
        raise DataError(f"{table} is not UTF-8: {error.reason} at byte {error.start}.", "Save it as UTF-8.") from error
    except (csv.Error, OSError) as error:
        raise DataError(f"{table} cannot be read as a CSV: {error}.", "Check its quotes and its encoding.") from error
    if not lines or not any(lines[0]):
        raise DataError(f"{table} has no header.", f"Name the columns in row 1: {', '.join(columns)}.")
    header = [cell.strip() for cell in lines[0]]
    for column in columns:
        if header.count(column) != 1:
            fault = "no" if column not in header else "more than one"
            raise DataError(
                f"{table} has {fault} column {column!r}; its columns are: {listed(header)}.",
                f"Rename the column, or name the right one in the configuration.{nearest(column, header)}",
            )
    rows = []
    for number, line in enumerate(lines[1:], start=2):
        if not any(cell.strip() for cell in line):
            continue
        if len(line) != len(header):
            raise DataError(
                f"{table}: row {number} has {len(line)} cells and the header has {len(header)}.",
                "Put cells that contain a separator in quotes, and give every row all its cells.",
            )
        rows.append((number, {name: cell.strip() for name, cell in zip(header, line, strict=True)}))
    if not rows:
        raise DataError(f"{table} has a header and no rows.", "Add a row for each image.")
    return rows


def _sorted(labels: set[str]) -> list[str]:
    if all(re.fullmatch("-?[0-9]+", label) for label in labels):
        return sorted(labels, key=lambda label: (int(label), label))
    return sorted(labels)


def _check_labels(table: Path, rows: Sequence[Row], column: str, names: Sequence[str]) -> None:
    unknown: dict[str, int] = {}
    for number, cells in rows:
        if cells[column] not in names:
            unknown.setdefault(cells[column], number)
    if unknown:
        value, number = next(iter(unknown.items()))
        others = [f"{other!r} (row {row})" for other, row in unknown.items() if other != value]
        more = f" Also unknown: {listed(others, 5)}." if others else ""
        raise DataError(
            f"{table}: row {number} has label {value!r}, which is not one of the classes {listed(list(names))}.{more}",
            f"Mend the label, or add it to data.classes.{nearest(value, list(names))}",
        )


def _split(table: Path, number: int, value: str) -> str:
    split = SPLIT_ALIASES.get(value.lower())
    if split is None:
        raise DataError(
            f"{table}: row {number} has split {value!r}.",
            f"Use train, val or test.{nearest(value, list(SPLIT_ALIASES)) if value else ''}",
        )
    return split
