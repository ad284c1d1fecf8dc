"""The tables a run leaves: predictions, statistics per class, history. As CSV text, and predictions back.

Written by RFC 4180 (UTF-8, CRLF, quotes where needed), so that spreadsheets and `pandas.read_csv` with
its default arguments give back what was meant. Three things a reader would misread are handled here:

- A name that pandas takes for a missing value (`NA`, `nan`, `None`, the empty name …) is written with
  quotes of its own, `"NA"`, and so is a name that looks so already: `"NA"` becomes `""NA""`.
- Labels that look like numbers or truth values get such quotes too, unless all classes are of one kind
  (`0` … `9`): else pandas could read `1` as a number in one column and as text in another.
- What UTF-8 cannot hold, as in file names of another encoding, becomes a visible `\\udc..`.

Item ids otherwise stay as they are; ids such as `0012` need `pandas.read_csv(path, dtype={"id": str})`.
Probabilities are float32 in the fewest digits that read back identically. Knows no runs and no paths
but the one it reads.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from trainyard.errors import DataError

_PROBABILITY = "pred_prob_"
# pandas' default na_values.
_MISSING = frozenset(
    ("", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>")
).union(("N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null"))
_WHOLE = re.compile(r"0|-?[1-9][0-9]{0,17}")  # comes back from an int64 as it was
_LEADING = ("step", "epoch", "split", "time")


@dataclass(frozen=True, eq=False)
class Predictions:
    """A predictions file, read.

    Attributes:
        ids: what each item is called.
        classes: names in label order.
        labels: int64 [N], the truth; None where the file has no `true_label`.
        predicted: int64 [N].
        probabilities: float32 [N, C].
    """

    ids: tuple[str, ...]
    classes: tuple[str, ...]
    labels: npt.NDArray[np.int64] | None
    predicted: npt.NDArray[np.int64]
    probabilities: npt.NDArray[np.float32]


def predictions_csv(
    ids: Sequence[str],
    true: npt.ArrayLike | None,
    predicted: npt.ArrayLike,
    probabilities: npt.ArrayLike,
    classes: Sequence[str],
) -> str:
    """A table of id, true_label, pred_label and pred_prob_{class} for every class.

    Args:
        ids: what each of the N items is called.
        true: int [N], the truth; None, for items without labels, leaves its column out.
        predicted: int [N].
        probabilities: float [N, C], written as float32.
        classes: distinct names in label order.
    """
    if len(set(classes)) < len(classes):
        raise ValueError("class names must be distinct")
    cells = _label_cells(classes)
    columns: list[Iterable[str]] = [map(_id_cell, ids)]
    header = ["id"]
    if true is not None:
        header.append("true_label")
        columns.append([cells[index] for index in np.asarray(true).tolist()])
    header.append("pred_label")
    columns.append([cells[index] for index in np.asarray(predicted).tolist()])
    # NumPy's own text of a float32 is the shortest that reads back identically.
    numbers = np.asarray(probabilities, dtype=np.float32).reshape(-1, len(classes)).astype(np.str_).tolist()
    lines = ([*row[:-1], *row[-1]] for row in zip(*columns, numbers, strict=True))
    return _csv([*header, *(f"{_PROBABILITY}{name}" for name in classes)], lines)


def read_predictions(path: Path) -> Predictions:
    """The inverse of `predictions_csv`, for the file at `path`.

    Raises:
        DataError: not a predictions file; names the line.
    """
    try:
        # utf-8-sig: spreadsheets add a mark when they save a CSV.
        with path.open(encoding="utf-8-sig", newline="") as file:
            return _read(csv.reader(file, strict=True), path)
    except FileNotFoundError:
        raise DataError(f"There is no predictions file {path}.") from None
    except (csv.Error, UnicodeDecodeError) as error:
        raise DataError(f"{path} is no CSV in UTF-8: {error}.") from error


def per_class_csv(rows: Sequence[Mapping[str, object]], label_column: str = "label") -> str:
    """A table of the rows of `metrics.per_class`.

    Args:
        rows: each with `label` and the same further keys, in column order.
        label_column: the header of the first column.
    """
    names = [str(row["label"]) for row in rows]
    cells = _label_cells(names)
    keys = [key for key in (rows[0] if rows else ()) if key != "label"]
    lines = ([cell, *(row[key] for key in keys)] for cell, row in zip(cells, rows, strict=True))
    return _csv([label_column, *keys], lines)


def history_csv(rows: Sequence[Mapping[str, object]]) -> str:
    """A table of metric rows: step, epoch, split and time, then every value in order of appearance.

    A value that a row does not have is an empty cell; one that was not a number is `nan`.
    """
    seen: dict[str, None] = {}
    for row in rows:
        seen.update(dict.fromkeys(row))
    keys = [key for key in _LEADING if key in seen or not rows] + [key for key in seen if key not in _LEADING]
    return _csv(keys, ([row.get(key) for key in keys] for row in rows))


class _Lines(list[str]):
    write = list.append


def _csv(header: Sequence[str], lines: Iterable[Sequence[object]]) -> str:
    text = _Lines()
    writer = csv.writer(text)
    writer.writerow(header)
    writer.writerows(lines)
    return "".join(text).encode("utf-8", "backslashreplace").decode()


def _core(name: str) -> str:
    """The name without the pairs of quotes around it."""
    while len(name) > 1 and name[0] == name[-1] == '"':
        name = name[1:-1]
    return name


def _id_cell(name: str) -> str:
    return f'"{name}"' if _core(name) in _MISSING else name


def _id_of(cell: str) -> str:
    return cell[1:-1] if len(cell) > 1 and cell[0] == cell[-1] == '"' and _core(cell) in _MISSING else cell


def _label_cells(classes: Sequence[str]) -> list[str]:
    """How each class is written; distinct names stay distinct."""
    guarded = _is_missing if _are_of_one_kind(classes) else _is_misread
    return [f'"{name}"' if guarded(_core(name)) else name for name in classes]


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


def _read(lines: Any, path: Path) -> Predictions:
    header: list[str] = next(lines, [])
    first = 3 if header[1:2] == ["true_label"] else 2
    names = header[first:]
    if header[:1] != ["id"] or header[first - 1 : first] != ["pred_label"] or not names:
        raise DataError(
            f"{path} is no predictions file: its columns are {', '.join(header) or 'none'}.",
            "Its first line must read id,true_label,pred_label,pred_prob_… with a column for each class.",
        )
    if not all(name.startswith(_PROBABILITY) for name in names):
        raise DataError(f"{path} has columns after {names[0]!r} that do not begin with {_PROBABILITY}.")
    classes = tuple(name.removeprefix(_PROBABILITY) for name in names)
    labels = {cell: index for index, cell in enumerate(_label_cells(classes))}
    ids, truth, predicted, probabilities = [], [], [], []
    for line in lines:
        try:
            if len(line) != len(header):
                raise ValueError(f"it has {len(line)} cells, the header {len(header)}")
            ids.append(_id_of(line[0]))
            if first == 3:
                truth.append(labels[line[1]])
            predicted.append(labels[line[first - 1]])
            probabilities.append([float(cell) for cell in line[first:]])
        except (ValueError, KeyError) as error:
            reason = f"{error} is no class of the header" if isinstance(error, KeyError) else error
            raise DataError(f"{path} cannot be read at line {lines.line_num}: {reason}.") from error
    return Predictions(
        ids=tuple(ids),
        classes=classes,
        labels=np.array(truth, dtype=np.int64) if first == 3 else None,
        predicted=np.array(predicted, dtype=np.int64),
        probabilities=np.array(probabilities, dtype=np.float32).reshape(-1, len(classes)),
    )
