"""A table of items: paths and labels, or texts, and optional columns for groups and splits.

Shared by the tables of images, of recordings and of texts. Knows how tables go wrong: every fault is
told with the row as a spreadsheet counts it (the header is row 1). Knows nothing of the files listed.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Collection, Sequence
from pathlib import Path

from trainyard.data.build import SPLIT_ALIASES, listed, nearest
from trainyard.data.found import FoundFile
from trainyard.errors import DataError

Row = tuple[int, dict[str, str]]  # its number in the file, and its cells by column


def find_in_table(
    table: Path,
    classes: Sequence[str] | None,
    *,
    path_column: str,
    label_column: str,
    group_column: str | None,
    split_column: str | None,
) -> tuple[list[str], list[FoundFile]]:
    """The files that a table lists, paths taken relative to it; whether they exist is not looked at.

    Args:
        table: a CSV, or a `.tsv` separated by tabs; UTF-8 with a header.
        classes: names in label order; None: the labels, sorted (as numbers when all are).
        path_column: the column of paths.
        label_column: the column of labels.
        group_column: items of one group stay on one side of a split; an empty cell is no group.
        split_column: official splits: train, val, test.

    Returns:
        The class names, and the files in the order of the rows.

    Raises:
        DataError: an unreadable table, an unknown column, a label or split that is wrong.
    """
    columns = [path_column, label_column, *(column for column in (group_column, split_column) if column)]
    rows = read_table(table, columns)
    names = list(classes) if classes is not None else sort_labels({cells[label_column] for _, cells in rows})
    _check_labels(table, rows, label_column, names)
    position = {name: index for index, name in enumerate(names)}
    files = [
        FoundFile(
            path=table.parent / cells[path_column],
            id=cells[path_column].replace("\\", "/"),
            label=position[cells[label_column]],
            group=cells[group_column] if group_column else "",
            split=split_of(table, number, cells[split_column]) if split_column else "",
            where=f"row {number}",
        )
        for number, cells in rows
    ]
    return names, files


def read_table(
    table: Path,
    columns: Sequence[str],
    *,
    filled: int = 2,
    verbatim: Collection[str] = (),
    encodings: Sequence[str] = ("utf-8-sig",),
) -> list[Row]:
    """The rows of a table, with all their cells; empty rows are passed over.

    Args:
        table: a CSV, or a `.tsv` separated by tabs.
        columns: those it must have.
        filled: how many of them, from the first, must not be empty in any row.
        verbatim: columns whose cells are kept as they are; those of the others lose the blanks around them.
        encodings: tried in this order.

    Raises:
        DataError: no such file, no header, no rows, a column missing or twice, a row of the wrong length.
    """
    if not table.is_file():
        what = f"{table} is a folder, not a file." if table.is_dir() else f"There is no file {table}."
        raise DataError(what, "Set data.path to a table.")
    lines = _lines(table, encodings)
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
        if not any(cell if verbatim else cell.strip() for cell in line):
            continue
        if len(line) != len(header):
            raise DataError(
                f"{table}: row {number} has {len(line)} cells and the header has {len(header)}.",
                "Put cells that contain a separator in quotes, and give every row all its cells.",
            )
        cells = zip(header, line, strict=True)
        rows.append((number, {name: cell if name in verbatim else cell.strip() for name, cell in cells}))
    if not rows:
        raise DataError(f"{table} has a header and no rows.", "Add a row for each item.")
    for column in columns[:filled]:
        empty = [number for number, cells in rows if not cells[column]]
        if empty:
            raise DataError(f"{table}: row {empty[0]} has nothing in column {column}.", "Fill it, or remove the row.")
    return rows


def _lines(table: Path, encodings: Sequence[str]) -> list[list[str]]:
    text = read_text(table, encodings)
    separator = "\t" if table.suffix.lower() == ".tsv" else ","
    usual = csv.field_size_limit(max(len(text), 1))  # of the whole process: put back below
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    try:
        return list(reader)
    except csv.Error as error:
        raise DataError(
            f"{table} cannot be read as a CSV: {error}, in line {reader.line_num}.",
            "Check its quotes: a cell that begins with one ends with one, and those inside it are doubled.",
        ) from error
    finally:
        csv.field_size_limit(usual)


def read_text(file: Path, encodings: Sequence[str] = ("utf-8-sig",)) -> str:
    """The whole of a file, its line ends as they are, in the first of the encodings that fits.

    Raises:
        DataError: it cannot be read, or none fits.
    """
    try:
        data = file.read_bytes()
    except OSError as error:
        raise DataError(f"{file} cannot be read: {error.strerror or error}.", "Check the path.") from error
    for encoding in encodings[:-1]:
        try:
            return data.decode(encoding)
        except UnicodeDecodeError:
            continue
    try:
        return data.decode(encodings[-1])
    except UnicodeDecodeError as error:
        # The codec that passes over a byte-order mark counts from behind it.
        start = error.start + (3 if data.startswith(b"\xef\xbb\xbf") else 0)
        line = data.count(b"\n", 0, start) + 1
        raise DataError(
            f"{file} is not UTF-8: {error.reason} at byte {start}, in line {line}.", "Save it as UTF-8."
        ) from error


def sort_labels(labels: Collection[str]) -> list[str]:
    """Labels in alphabetical order, or that of their numbers when all are whole numbers."""
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


def split_of(table: Path, number: int, value: str) -> str:
    """The split that a cell names, "train", "val" or "test".

    Raises:
        DataError: it names none.
    """
    split = SPLIT_ALIASES.get(value.lower())
    if split is None:
        raise DataError(
            f"{table}: row {number} has split {value!r}.",
            f"Use train, val or test.{nearest(value, list(SPLIT_ALIASES)) if value else ''}",
        )
    return split
