"""Files of texts as records: a table with a header, or JSON lines.

Keeps a text as it stands in the file, byte for byte. Every fault of a file is told with its row, counted
as a spreadsheet or an editor does. Knows neither what labels mean nor which splits there are.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from trainyard.data.build import listed, nearest
from trainyard.data.tables import read_table, read_text
from trainyard.errors import DataError

TABLES = (".tsv", ".csv", ".jsonl", ".ndjson")

Record = tuple[int, dict[str, Any]]  # the row in the file, and its values by column


def read_records(file: Path, text_column: str, others: Sequence[str] = ()) -> list[Record]:
    """The rows of a file; cells of a table are strings, values of JSON lines are what they are.

    Args:
        file: a `.tsv` or `.csv` with a header, or a `.jsonl` or `.ndjson` with an object a line; UTF-8.
        text_column: its column of texts, strings.
        others: columns that every row must have too.

    Raises:
        DataError: not such a file, a column missing, or a text that is no string.
    """
    suffix = file.suffix.lower()
    if not file.exists():
        raise DataError(f"There is no {file}.", "Check the path.")
    if suffix not in TABLES:
        raise DataError(f"{file} is no table of texts.", f"Give a file that ends in one of {', '.join(TABLES)}.")
    columns = [text_column, *others]
    if suffix in (".tsv", ".csv"):
        return list(read_table(file, columns, filled=0, verbatim=(text_column,)))
    rows = _json_lines(file)
    for number, values in rows:
        for column in columns:
            if column not in values:
                raise DataError(
                    f"{file}: row {number} has no {column!r}; it has: {listed(list(values))}.",
                    f"Add it to the row, or name the right column in the configuration.{nearest(column, list(values))}",
                )
        if not isinstance(values[text_column], str):
            raise DataError(
                f"{file}: row {number} has {_shown(values[text_column])} as its {text_column!r}.",
                "Write the text as a string.",
            )
    return rows


def _json_lines(file: Path) -> list[Record]:
    rows: list[Record] = []
    # Not splitlines: a string of JSON may hold other characters that count as line ends.
    for number, line in enumerate(read_text(file).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            values = json.loads(line)
        except (ValueError, RecursionError) as error:
            why = f"{error.msg}, at column {error.colno}" if isinstance(error, json.JSONDecodeError) else str(error)
            raise DataError(f"{file}: row {number} is no JSON: {why}.", "Write one object a line.") from error
        if not isinstance(values, dict):
            raise DataError(f"{file}: row {number} is {_shown(values)}.", "Write one object a line.")
        rows.append((number, values))
    if not rows:
        raise DataError(f"{file} has no rows.", "Add a row for each item.")
    return rows


def as_labels(file: Path, number: int, value: Any, separator: str | None) -> tuple[str, ...]:
    """The labels of a cell or a JSON value, in the order in which they stand there.

    Args:
        file: for messages, like `number`.
        number: the row.
        value: a string, a whole number, a list of those, or None.
        separator: what stands between labels in a string; None: a string is one label.

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
                f"{file}: row {number} has {_shown(label)} as a label.", "Write labels as strings or whole numbers."
            )
    return tuple(str(label) for label in values)


def as_name(file: Path, number: int, column: str, value: Any) -> str:
    """An id, a group or a split, as a string; "" for None.

    Raises:
        DataError: neither a string, a whole number nor None.
    """
    if value is None:
        return ""
    if not isinstance(value, str | int) or isinstance(value, bool):
        raise DataError(
            f"{file}: row {number} has {_shown(value)} as its {column!r}.", "Write a string or a whole number."
        )
    return str(value)


def _shown(value: Any) -> str:
    kind = {dict: "an object", list: "a list", type(None): "null"}.get(type(value))
    return kind or json.dumps(value)
