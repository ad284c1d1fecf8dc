"""Tables of items: paths and labels, or texts, and optional columns for groups and splits.

Shared by the tables of images, recordings and texts. Every fault is reported with its row as a
spreadsheet counts it (the header is row 1). Does not open the files that a table lists.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Collection, Sequence
from pathlib import Path

from trainyard.data.build import SPLIT_ALIASES
from trainyard.data.found import FoundFile
from trainyard.errors import DataError
from trainyard.wording import did_you_mean, listed

Row = tuple[int, dict[str, str]]  # its number in the file, and its cells by column


def row_error(file: Path, number: int, what: str, remedy: str, value: object) -> DataError:
    """The error about a row of a file: "FILE: row NUMBER `what`."."""
    return DataError(f"{file}: row {number} {what}.", remedy, value=value, place=f"{file}:{number}")


def find_in_table(
    table: Path,
    classes: Sequence[str] | None,
    *,
    path_column: str,
    label_column: str,
    group_column: str | None,
    split_column: str | None,
) -> tuple[list[str], list[FoundFile]]:
    """The class names, and the files that a table lists, in order; whether they exist is not checked.

    The table is a CSV, or a `.tsv` separated by tabs, UTF-8 with a header; paths are relative to it. Without `classes`
    they are the labels, sorted (as numbers when all are). An empty cell in the group column means no group.

    Raises:
        DataError: an unreadable table, an unknown column, an invalid label or split.
    """
    columns = [path_column, label_column, *(column for column in (group_column, split_column) if column)]
    rows = read_table(table, columns)
    names = list(classes) if classes is not None else sort_labels({row[label_column] for _, row in rows})
    _check_labels(table, rows, label_column, names)
    position = {name: index for index, name in enumerate(names)}
    files = [
        FoundFile(
            path=table.parent / row[path_column],
            id=row[path_column].replace("\\", "/"),
            label=position[row[label_column]],
            group=row[group_column] if group_column else "",
            split=split_of(table, number, row[split_column]) if split_column else "",
            where=f"row {number}",
        )
        for number, row in rows
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
    """Reads the rows of a table, with all their cells; empty rows are ignored.

    Args:
        table: a CSV, or a `.tsv` separated by tabs.
        columns: the columns that it must have.
        filled: how many of these, from the first, must not be empty in any row.
        verbatim: columns whose cells are not stripped of surrounding whitespace.
        encodings: tried in this order.

    Raises:
        DataError: a missing file, no header, no rows, a missing or repeated column, a row of the wrong length.
    """
    if not table.is_file():
        what = "is a folder, not a file" if table.is_dir() else "does not exist"
        raise DataError(f"{table} {what}.", "Set data.path to a table.", place=table)
    lines = _lines(table, encodings)
    if not lines or not any(lines[0]):
        remedy = f"Name the columns in row 1: {', '.join(columns)}."
        raise DataError(f"{table} has no header.", remedy, place=f"{table}:1")
    header = [cell.strip() for cell in lines[0]]
    for column in columns:
        if header.count(column) != 1:
            count = "no" if column not in header else "more than one"
            what = f"{table} has {count} column {column!r}; its columns are: {listed(header)}."
            remedy = did_you_mean(column, header, then="Rename the column, or set its name in the configuration.")
            raise DataError(what, remedy, value=column, place=f"{table}:1")
    rows = []
    for number, line in enumerate(lines[1:], start=2):
        if not any(cell if verbatim else cell.strip() for cell in line):
            continue
        if len(line) != len(header):
            what = f"has {len(line)} cells, but the header has {len(header)}"
            remedy = "Quote cells that contain a separator, and give every row all its cells."
            raise row_error(table, number, what, remedy, len(line))
        named = zip(header, line, strict=True)
        rows.append((number, {name: cell if name in verbatim else cell.strip() for name, cell in named}))
    if not rows:
        raise DataError(f"{table} has a header but no rows.", "Add a row for each item.", place=table)
    for column in columns[:filled]:
        empty = next((number for number, row in rows if not row[column]), None)
        if empty is not None:
            raise row_error(
                table, empty, f"is empty in column {column}", "Fill in the cell, or remove the row.", column
            )
    return rows


def _lines(table: Path, encodings: Sequence[str]) -> list[list[str]]:
    text = read_text(table, encodings)
    separator = "\t" if table.suffix.lower() == ".tsv" else ","
    usual = csv.field_size_limit(max(len(text), 1))  # global to the process; restored below
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    try:
        return list(reader)
    except csv.Error as error:
        line = reader.line_num
        remedy = "Check the quotes: a quoted cell must end with a quote, and quotes inside it must be doubled."
        what = f"{table} is not a valid CSV: {error}, in line {line}."
        raise DataError(what, remedy, value=str(error), place=f"{table}:{line}") from error
    finally:
        csv.field_size_limit(usual)


def read_text(file: Path, encodings: Sequence[str] = ("utf-8-sig",)) -> str:
    """Reads a file as text in the first encoding that can decode it; line ends are not translated.

    Raises:
        DataError: it cannot be read, or no encoding can decode it.
    """
    try:
        data = file.read_bytes()
    except OSError as error:
        reason = error.strerror or str(error)
        raise DataError(f"{file} cannot be read: {reason}.", "Check the path.", value=reason, place=file) from error
    for encoding in encodings[:-1]:
        try:
            return data.decode(encoding)
        except UnicodeDecodeError:
            continue
    try:
        return data.decode(encodings[-1])
    except UnicodeDecodeError as error:
        # utf-8-sig counts from the end of the byte-order mark.
        start = error.start + (3 if data.startswith(b"\xef\xbb\xbf") else 0)
        line = data.count(b"\n", 0, start) + 1
        what = f"{file} is not UTF-8: {error.reason} at byte {start}, in line {line}."
        raise DataError(what, "Save it as UTF-8.", value=data[start], place=f"{file}:{line}") from error


def sort_labels(labels: Collection[str]) -> list[str]:
    """Labels in alphabetical order, or in numerical order when all are whole numbers."""
    if all(re.fullmatch("-?[0-9]+", label) for label in labels):
        return sorted(labels, key=lambda label: (int(label), label))
    return sorted(labels)


def _check_labels(table: Path, rows: Sequence[Row], column: str, names: Sequence[str]) -> None:
    unknown: dict[str, int] = {}
    for number, row in rows:
        if row[column] not in names:
            unknown.setdefault(row[column], number)
    if unknown:
        value, number = next(iter(unknown.items()))
        others = [f"{other!r} (row {at})" for other, at in unknown.items() if other != value]
        more = f". Also unknown: {listed(others, 5)}" if others else ""
        what = f"has label {value!r}, which is not one of the classes {listed(list(names))}{more}"
        remedy = did_you_mean(value, names, then="Fix the label, or add it to data.classes.")
        raise row_error(table, number, what, remedy, value)


def split_of(table: Path, number: int, value: str) -> str:
    """The split that a cell names: "train", "val" or "test"; DataError for another value."""
    split = SPLIT_ALIASES.get(value.lower())
    if split is None:
        remedy = did_you_mean(value, SPLIT_ALIASES, then="Use train, val or test.")
        raise row_error(table, number, f"has an invalid split {value!r}", remedy, value)
    return split
