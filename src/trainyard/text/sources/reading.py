"""Reads files of texts as records: tables with a header, or JSON lines.

Texts are kept verbatim. Every fault of a file is reported with its row, as a spreadsheet or an editor
counts it. Knows neither what labels mean nor which splits exist.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from trainyard.data.tables import read_table, read_text, row_error
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
        remedy = f"Use a file that ends in one of {', '.join(TABLES)}."
        raise DataError(f"{file} is not a table of texts.", remedy, value=suffix, place=file)
    columns = [text_column, *others]
    if suffix in (".tsv", ".csv"):
        return list(read_table(file, columns, filled=0, verbatim=(text_column,)))
    rows = _json_lines(file)
    for number, values in rows:
        for column in columns:
            if column not in values:
                remedy = did_you_mean(column, values, then="Add it to the row, or set its name in the configuration.")
                raise row_error(file, number, f"has no {column!r}; it has: {listed(list(values))}", remedy, column)
        text = values[text_column]
        if not isinstance(text, str):
            what = f"has {_shown(text)} as its {text_column!r}"
            raise row_error(file, number, what, "Write the text as a string.", text)
    return rows


def _json_lines(file: Path) -> list[Record]:
    rows: list[Record] = []
    remedy = "Write one object per line."
    # Not splitlines: a JSON string may contain other characters that it treats as line ends.
    for number, line in enumerate(read_text(file).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            values = json.loads(line)
        except (ValueError, RecursionError) as error:
            why = f"{error.msg}, at column {error.colno}" if isinstance(error, json.JSONDecodeError) else str(error)
            raise row_error(file, number, f"is not valid JSON: {why}", remedy, why) from error
        if not isinstance(values, dict):
            raise row_error(file, number, f"is {_shown(values)}, not an object", remedy, values)
        rows.append((number, values))
    if not rows:
        raise DataError(f"{file} has no rows.", "Add a row for each item.", place=file)
    return rows


def as_labels(file: Path, number: int, value: Any, separator: str | None) -> tuple[str, ...]:
    """The labels in a cell or a JSON value of a row, in their order.

    A value is a string (one label if `separator` is None), a whole number, a list of those, or None.

    Raises:
        DataError: any other value.
    """
    if isinstance(value, str):
        if not value.strip():
            return ()
        return tuple(part.strip() for part in (value.split(separator) if separator else [value]))
    values = value if isinstance(value, list) else [] if value is None else [value]
    for label in values:
        if not _is_name(label):
            remedy = "Write labels as strings or whole numbers."
            raise row_error(file, number, f"has {_shown(label)} as a label", remedy, label)
    return tuple(map(str, values))


def as_name(file: Path, number: int, column: str | None, values: Mapping[str, Any]) -> str:
    """The id, group or split in a column of a row, as a string; "" for None or without a column.

    Raises:
        DataError: the value is not a string, a whole number or None.
    """
    value = None if column is None else values.get(column)
    if value is not None and not _is_name(value):
        what = f"has {_shown(value)} as its {column!r}"
        raise row_error(file, number, what, "Write a string or a whole number.", value)
    return "" if value is None else str(value)


def _is_name(value: Any) -> bool:
    return isinstance(value, str | int) and not isinstance(value, bool)


def _shown(value: Any) -> str:
    kind = {dict: "an object", list: "a list", type(None): "null"}.get(type(value))
    return kind or json.dumps(value)
