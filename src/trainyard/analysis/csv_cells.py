r"""Names and texts as cells of a CSV that every reader reads back unchanged.

Files follow RFC 4180 (UTF-8, CRLF, quotes where needed), so that spreadsheets and `pandas.read_csv` with its
default arguments read the right values. Values that such readers would misinterpret get a visible escape that
`read_names` and `read_texts` undo:

- A name that pandas reads as a missing value (`NA`, `nan`, `None`, the empty name …) is written with literal
  quotes, `"NA"`, and so is a name that has such quotes already: `"NA"` becomes `""NA""`.
- Labels that look like numbers or booleans get such quotes too, unless all classes are of one kind
  (`0` … `9`): otherwise pandas could read `1` as a number in one column and as text in another. Texts get
  them only if all texts of a column look like that, because pandas would convert the column to numbers.
- A lone surrogate, which UTF-8 cannot encode (it occurs in file names of other encodings), becomes a visible
  `\udc..`; the backslash of a text that looks like that already becomes `\u005c`.

A NUL stays a NUL: Python's csv and pandas 3.1 or later keep it; older versions of pandas cut the text there.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from trainyard.errors import DataError

RESTORE = "Restore the file from a copy."
# pandas' default na_values.
_MISSING = {"", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>"}
_MISSING |= {"N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null"}
_WHOLE = re.compile(r"0|-?[1-9][0-9]{0,17}")  # survives a conversion to int64
# What pandas' C parser reads as numbers and booleans; white space around a number is allowed.
_NUMBER = re.compile(r"[\t-\r ]*[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?[\t-\r ]*|[+-]?(?i:inf(inity)?)")
_TRUTH = re.compile(r"(?i:true|false)", re.ASCII)
_HIDDEN = re.compile("[\ud800-\udfff]|" + r"\\(?=u(?:005c|d[89a-f][0-9a-f]{2}))")
_SHOWN = re.compile(r"\\u(005c|d[89a-f][0-9a-f]{2})")


def csv_text(header: Sequence[str], lines: Iterable[Sequence[object]]) -> str:
    """The table as text that UTF-8 can encode."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(header)
    writer.writerows(lines)
    return text.getvalue().encode("utf-8", "backslashreplace").decode()


@contextmanager
def csv_lines(path: Path) -> Iterator[Any]:
    """A `csv.reader` of the file, for as long as the block lasts.

    Raises:
        DataError: it is missing, or not CSV in UTF-8.
    """
    limit = csv.field_size_limit(2**31 - 1)  # by default, a text of 131,073 characters is refused
    try:
        # utf-8-sig: spreadsheets add a byte order mark when they save a CSV.
        with path.open(encoding="utf-8-sig", newline="") as file:
            yield csv.reader(file, strict=True)
    except FileNotFoundError:
        raise DataError(f"The file {path} does not exist.", RESTORE, place=path) from None
    except (csv.Error, UnicodeDecodeError) as error:
        raise DataError(f"{path} is not a CSV file in UTF-8: {error}.", RESTORE, place=path) from error
    finally:
        csv.field_size_limit(limit)


def visible(text: str) -> str:
    """The text with its lone surrogates as escapes."""
    return _HIDDEN.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def original(cell: str) -> str:
    """The inverse of `visible`."""
    return _SHOWN.sub(lambda match: chr(int(match[1], 16)), cell)


def label_cells(classes: Sequence[str]) -> list[str]:
    """The cell of each class; distinct names stay distinct."""
    guarded = _MISSING.__contains__ if _are_of_one_kind(classes) else _is_misread
    return [f'"{name}"' if guarded(_core(name)) else name for name in map(visible, classes)]


def name_cells(names: Iterable[str]) -> list[str]:
    """The cells of item names: names that look like missing values get quotes; numbers do not."""
    return [f'"{name}"' if _core(name) in _MISSING else name for name in map(visible, names)]


def read_names(cells: Iterable[str]) -> list[str]:
    """The inverse of `name_cells`."""
    return [
        original(cell[1:-1] if len(cell) > 1 and cell[0] == cell[-1] == '"' and _core(cell) in _MISSING else cell)
        for cell in cells
    ]


def text_cells(texts: Sequence[str]) -> list[str]:
    """The cells of texts: like names, but a column of only numbers or only booleans gets quotes."""
    cells = name_cells(texts)
    return [f'"{cell}"' for cell in cells] if _are_numbers_or_booleans(cells) else cells


def read_texts(cells: Sequence[str]) -> list[str]:
    """The inverse of `text_cells`."""
    return [cell[1:-1] for cell in cells] if _are_numbers_or_booleans(cells) else read_names(cells)


def records_csv(records: Sequence[Mapping[str, object]]) -> str:
    """A table of records with the same keys. A set of labels is a JSON list, None an empty cell."""
    if not records:
        return ""
    columns: list[Sequence[object]] = []
    for key in records[0]:
        values = [record[key] for record in records]
        texts = [value for value in values if isinstance(value, str)]
        if len(texts) == len(values):
            columns.append(label_cells(texts) if key == "label" else text_cells(texts))
        else:
            columns.append([label_set(value) if isinstance(value, tuple) else value for value in values])
    return csv_text(list(records[0]), list(zip(*columns, strict=True)))


def history_csv(rows: Sequence[Mapping[str, object]]) -> str:
    """A table of metric rows: step, epoch, split and time, then every value in order of appearance.

    A missing value is an empty cell; NaN is `nan`.
    """
    leading = ("step", "epoch", "split", "time")
    seen = dict.fromkeys(key for row in rows for key in row)
    keys = [key for key in leading if key in seen or not rows] + [key for key in seen if key not in leading]
    return csv_text(keys, ([row.get(key) for key in keys] for row in rows))


def label_set(names: Iterable[str]) -> str:
    """A set of labels as a cell: a JSON list of the names, written as in headers."""
    return json.dumps([visible(name) for name in names], ensure_ascii=False)


def _core(name: str) -> str:
    """The name without surrounding pairs of quotes."""
    while len(name) > 1 and name[0] == name[-1] == '"':
        name = name[1:-1]
    return name


def _are_numbers_or_booleans(cells: Sequence[str]) -> bool:
    """Whether pandas would read the cells as numbers or booleans. Ignores quotes, so it holds before and after."""
    kinds: tuple[Callable[[str], object], ...] = (_NUMBER.fullmatch, _TRUTH.fullmatch)
    return bool(cells) and any(all(kind(_core(cell)) for cell in cells) for kind in kinds)


def _are_of_one_kind(classes: Sequence[str]) -> bool:
    """Whether pandas reads all of these as one type, and converting back to text gives the names."""
    return (
        all(map(_WHOLE.fullmatch, classes))
        or all(_is_number(name) and repr(float(name)) == name not in ("nan", "-0.0") for name in classes)
        or {"True", "False"}.issuperset(classes)
    )


def _is_misread(text: str) -> bool:
    return text in _MISSING or _is_number(text) or text.strip().lower() in ("true", "false")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
