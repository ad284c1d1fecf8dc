"""Reads files of texts as records: tables with a header, or JSON lines.

Texts are kept verbatim. Every fault of a file is reported with its row, as a spreadsheet or an editor
counts it. Knows neither what labels mean nor which splits exist.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from trainyard.data.tables import read_table, read_text
from trainyard.errors import DataError
from trainyard.wording import did_you_mean, listed

TABLES = (".tsv", ".csv", ".jsonl", ".ndjson")

Record = tuple[int, dict[str, Any]]  # the row in the file, and its values by column


def read_records(file: Path, text_column: str, others: Sequence[str] = ()) -> list[Record]:
    """Reads the rows of a file; cells of a table are strings, values of JSON lines keep their types.

    Args:
        file: a `.tsv` or `.csv` with a header, or a `.jsonl` or `.ndjson` with one object per line; UTF-8.
        text_column: the column of texts, strings.
        others: columns that every row must have too.

    Raises:
        DataError: another kind of file, a missing column, or a text that is not a string.
    """
    suffix = file.suffix.lower()
    if not file.exists():
        raise DataError(f"{file} does not exist.", "Check the path.", place=file)
    if suffix not in TABLES:
        raise DataError(
            f"{file} is not a table of texts.",
            f"Use a file that ends in one of {', '.join(TABLES)}.",
            value=suffix,
            place=file,
        )
    columns = [text_column, *others]
    if suffix in (".tsv", ".csv"):
        return list(read_table(file, columns, filled=0, verbatim=(text_column,)))
    rows = _json_lines(file)
    for number, values in rows:
        for column in columns:
            if column not in values:
                raise DataError(
                    f"{file}: row {number} has no {column!r}; it has: {listed(list(values))}.",
                    did_you_mean(column, values, then="Add it to the row, or set its name in the configuration."),
                    value=column,
                    place=f"{file}:{number}",
                )
        if not isinstance(values[text_column], str):
            raise DataError(
                f"{file}: row {number} has {_shown(values[text_column])} as its {text_column!r}.",
                "Write the text as a string.",
                value=values[text_column],
                place=f"{file}:{number}",
            )
    return rows


def _json_lines(file: Path) -> list[Record]:
    rows: list[Record] = []
    # Not splitlines: a JSON string may contain other characters that it treats as line ends.
    for number, line in enumerate(read_text(file).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            values = json.loads(line)
        except (ValueError, RecursionError) as error:
            why = f"{error.msg}, at column {error.colno}" if isinstance(error, json.JSONDecodeError) else str(error)
            raise DataError(
                f"{file}: row {number} is not valid JSON: {why}.",
                "Write one object per line.",
                value=why,
                place=f"{file}:{number}",
            ) from error
        if not isinstance(values, dict):
            raise DataError(
                f"{file}: row {number} is {_shown(values)}, not an object.",
                "Write one object per line.",
                value=values,
                place=f"{file}:{number}",
            )
        rows.append((number, values))
    if not rows:
        raise DataError(f"{file} has no rows.", "Add a row for each item.", place=file)
    return rows


def as_labels(file: Path, number: int, value: Any, separator: str | None) -> tuple[str, ...]:
    """The labels of a cell or a JSON value, in their order.

    Args:
        file: for messages.
        number: the row, for messages.
        value: a string, a whole number, a list of those, or None.
        separator: between labels in a string; None: a string is one label.

    Raises:
        DataError: any other value.
    """
    if isinstance(value, str):
        if not value.strip():
            return ()
        return tuple(part.strip() for part in (value.split(separator) if separator else [value]))
    values = value if isinstance(value, list) else [] if value is None else [value]
    for label in values:
        if not isinstance(label, str | int) or isinstance(label, bool):
            raise DataError(
                f"{file}: row {number} has {_shown(label)} as a label.",
                "Write labels as strings or whole numbers.",
                value=label,
                place=f"{file}:{number}",
            )
    return tuple(str(label) for label in values)


def as_name(file: Path, number: int, column: str, value: Any) -> str:
    """An id, a group or a split, as a string; "" for None.

    Raises:
        DataError: the value is not a string, a whole number or None.
    """
    if value is None:
        return ""
    if not isinstance(value, str | int) or isinstance(value, bool):
        raise DataError(
            f"{file}: row {number} has {_shown(value)} as its {column!r}.",
            "Write a string or a whole number.",
            value=value,
            place=f"{file}:{number}",
        )
    return str(value)


def _shown(value: Any) -> str:
    kind = {dict: "an object", list: "a list", type(None): "null"}.get(type(value))
    return kind or json.dumps(value)
