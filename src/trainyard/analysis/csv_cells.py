r"""How names and texts become cells of a CSV that every reader gives back as they were.

Files are written by RFC 4180 (UTF-8, CRLF, quotes where needed), so that spreadsheets and `pandas.read_csv`
with its default arguments see what was meant. What such readers would take for something else gets a form
that people see and `read_cells` undoes:

- A name that pandas takes for a missing value (`NA`, `nan`, `None`, the empty name …) is written with
  quotes of its own, `"NA"`, and so is a name that looks so already: `"NA"` becomes `""NA""`.
- Labels that look like numbers or truth values get such quotes too, unless all classes are of one kind
  (`0` … `9`): else pandas could read `1` as a number in one column and as text in another. Texts get them
  only where every text of the column looks so, and pandas would make numbers of the column.
- A lone surrogate, which UTF-8 cannot hold (file names of another encoding have them), becomes a visible
  `\udc..`; the backslash of a text that looks so already becomes `\u005c`.

A NUL stays a NUL: Python's csv and pandas from 3.1 on keep it; an older pandas cuts the text there.
Knows no columns and no files.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence

# pandas' default na_values.
_MISSING = frozenset(
    ("", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>")
).union(("N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null"))
_WHOLE = re.compile(r"0|-?[1-9][0-9]{0,17}")  # comes back from an int64 as it was
# What pandas' C parser takes for numbers and truth values, white space around a number included.
_NUMBER = re.compile(r"[\t-\r ]*[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?[\t-\r ]*|[+-]?(?i:inf(inity)?)")
_TRUTH = re.compile(r"(?i:true|false)", re.ASCII)
_HIDDEN = re.compile("[\ud800-\udfff]|" + r"\\(?=u(?:005c|d[89a-f][0-9a-f]{2}))")
_SHOWN = re.compile(r"\\u(005c|d[89a-f][0-9a-f]{2})")


class _Lines(list[str]):
    write = list.append


def csv_text(header: Sequence[str], lines: Iterable[Sequence[object]]) -> str:
    """The table as text that UTF-8 can hold."""
    text = _Lines()
    writer = csv.writer(text)
    writer.writerow(header)
    writer.writerows(lines)
    return "".join(text).encode("utf-8", "backslashreplace").decode()


def visible(text: str) -> str:
    """The text with its lone surrogates as escapes."""
    return _HIDDEN.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def original(cell: str) -> str:
    """The inverse of `visible`."""
    return _SHOWN.sub(lambda match: chr(int(match[1], 16)), cell)


def label_cells(classes: Sequence[str]) -> list[str]:
    """How each class is written; distinct names stay distinct."""
    guarded = _is_missing if _are_of_one_kind(classes) else _is_misread
    return [f'"{name}"' if guarded(_core(name)) else name for name in map(visible, classes)]


def name_cells(names: Iterable[str]) -> list[str]:
    """How the names of items are written: what looks like a missing value has quotes, numbers are left as they are."""
    return [f'"{name}"' if _core(name) in _MISSING else name for name in map(visible, names)]


def read_names(cells: Iterable[str]) -> list[str]:
    """The inverse of `name_cells`."""
    return [
        original(cell[1:-1] if len(cell) > 1 and cell[0] == cell[-1] == '"' and _core(cell) in _MISSING else cell)
        for cell in cells
    ]


def text_cells(texts: Sequence[str]) -> list[str]:
    """How texts are written: as names are, but a column of nothing but numbers or truth values has quotes."""
    cells = name_cells(texts)
    return [f'"{cell}"' for cell in cells] if _are_no_text(cells) else cells


def read_texts(cells: Sequence[str]) -> list[str]:
    """The inverse of `text_cells`."""
    return [cell[1:-1] for cell in cells] if _are_no_text(cells) else read_names(cells)


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


def label_set(names: Iterable[str]) -> str:
    """A set of labels as its cell: a JSON list of the names as headers have them."""
    return json.dumps([visible(name) for name in names], ensure_ascii=False)


def _core(name: str) -> str:
    """The name without the pairs of quotes around it."""
    while len(name) > 1 and name[0] == name[-1] == '"':
        name = name[1:-1]
    return name


def _are_no_text(cells: Sequence[str]) -> bool:
    """Whether pandas would read the cells, less their quotes, as numbers or truth values: so it is before and after."""
    kinds: tuple[Callable[[str], object], ...] = (_NUMBER.fullmatch, _TRUTH.fullmatch)
    return bool(cells) and any(all(kind(_core(cell)) for cell in cells) for kind in kinds)


def _are_of_one_kind(classes: Sequence[str]) -> bool:
    """Whether pandas reads any of these as values of one type whose text is the name again."""
    return (
        all(map(_WHOLE.fullmatch, classes))
        or all(_is_number(name) and repr(float(name)) == name not in ("nan", "-0.0") for name in classes)
        or {"True", "False"}.issuperset(classes)
    )


def _is_missing(text: str) -> bool:
    return text in _MISSING


def _is_misread(text: str) -> bool:
    return text in _MISSING or _is_number(text) or text.strip().lower() in ("true", "false")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
