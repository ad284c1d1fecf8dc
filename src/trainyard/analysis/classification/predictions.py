"""The tables of a run as CSV text: predictions, statistics per class; and reading predictions.

`csv_cells` defines how names and texts are written, so that pandas with its default arguments reads them back. An
item has one label (`true_label`, `pred_label`) or a set of labels (`true_labels`, `pred_labels`): then a cell is
a JSON list in class order, `["joy", "anger"]`, and `[]` for none. Equal sets are equal cells, and no cell is
missing, so `df['true_labels'] == df['pred_labels']` is the exact match that the run reports.

Ids such as `0012` need `pandas.read_csv(path, dtype={"id": str})`; texts need nothing. Probabilities are float32,
written with the fewest digits that read back identically.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from trainyard.analysis import csv_cells
from trainyard.analysis.csv_cells import csv_text, label_cells, label_set, original, visible
from trainyard.errors import DataError

Labels = npt.NDArray[np.int64] | npt.NDArray[np.bool_]  # int64 [N], or bool [N, C]

ID = "id"  # the column of names; any other column of items holds texts
_PROBABILITY = "pred_prob_"
_ONE, _SET = ("true_label", "pred_label"), ("true_labels", "pred_labels")
_COLUMNS = (
    "Its first line must read id,true_label,pred_label,pred_prob_… with a column for each class; "
    "the first may be text, and the next two true_labels,pred_labels if an item has several."
)


@dataclass(frozen=True, eq=False)
class Predictions:
    """The content of a predictions file."""

    items: tuple[str, ...]  # each item's name or text
    item_column: str  # their header, `id` or another
    classes: tuple[str, ...]  # names in label order
    labels: Labels | None  # the true labels; None if the file has no such column
    predicted: Labels
    probabilities: npt.NDArray[np.float32]  # [N, C]

    @property
    def multi_label(self) -> bool:
        """Whether an item has a set of labels."""
        return self.predicted.ndim == 2


def predictions_csv(
    items: Sequence[str],
    true: npt.ArrayLike | None,
    predicted: npt.ArrayLike,
    probabilities: npt.ArrayLike,
    classes: Sequence[str],
    *,
    item_column: str = ID,
) -> str:
    """A table of the items, their true and predicted labels, and pred_prob_{class} for every class.

    Labels are int [N], or bool [N, C] if an item has a set of labels; without true ones, the column is omitted.
    Probabilities, float [N, C], are written as float32. Classes are distinct. `item_column` is the first header:
    `id` if the items are names, anything else (`text`) for texts.
    """
    if len(set(classes)) < len(classes):
        raise ValueError("class names must be distinct")
    if not item_column or item_column in _ONE + _SET or item_column.startswith(_PROBABILITY):
        raise ValueError(f"{item_column!r} cannot be the header of the items")
    chosen = np.asarray(predicted)
    true_header, predicted_header = _SET if chosen.ndim == 2 else _ONE
    columns: list[Iterable[str]] = [csv_cells.name_cells(items) if item_column == ID else csv_cells.text_cells(items)]
    header = [visible(item_column)]
    if true is not None:
        if np.ndim(true) != chosen.ndim:
            shapes = f"labels have shape {np.shape(true)}, predictions {chosen.shape}"
            raise ValueError(f"{shapes}; both must be [N] or [N, C]")
        header.append(true_header)
        columns.append(_written(np.asarray(true), classes))
    header.append(predicted_header)
    columns.append(_written(chosen, classes))
    # NumPy writes a float32 with the fewest digits that read back identically.
    numbers = np.asarray(probabilities, dtype=np.float32).reshape(-1, len(classes)).astype(np.str_).tolist()
    lines = ([*row[:-1], *row[-1]] for row in zip(*columns, numbers, strict=True))
    return csv_text([*header, *(f"{_PROBABILITY}{visible(name)}" for name in classes)], lines)


def read_predictions(path: Path) -> Predictions:
    """The inverse of `predictions_csv`, for the file at `path`.

    Raises:
        DataError: it is not a predictions file; `place` is the file, or `file:line`.
    """
    with csv_cells.csv_lines(path) as lines:
        return _read(lines, path)


def per_class_csv(rows: Sequence[Mapping[str, object]], label_column: str = "label") -> str:
    """A table of the rows of `metrics.per_class`; `label_column` is the header of the first column."""
    cells = label_cells([str(row["label"]) for row in rows])
    keys = [key for key in (rows[0] if rows else ()) if key != "label"]
    lines = ([cell, *(row[key] for key in keys)] for cell, row in zip(cells, rows, strict=True))
    return csv_text([label_column, *keys], lines)


def _written(labels: npt.NDArray[Any], classes: Sequence[str]) -> list[str]:
    """A cell for each item's label, or set of labels."""
    if labels.ndim == 1:
        cells = label_cells(classes)
        return [cells[index] for index in labels.tolist()]
    if labels.dtype != np.bool_ or labels.shape[1] != len(classes):
        raise ValueError(f"label sets of {len(classes)} classes must be bool [N, C], not {labels.dtype} {labels.shape}")
    names = [label_set([name])[1:-1] for name in classes]
    known: dict[bytes, str] = {}
    for row in labels:
        if row.tobytes() not in known:
            known[row.tobytes()] = f"[{', '.join(names[index] for index in np.flatnonzero(row))}]"
    return [known[row.tobytes()] for row in labels]


class _Sets(dict[str, list[bool]]):
    """The row of truth values for each cell of a label set; each distinct cell is read once."""

    def __init__(self, classes: Sequence[str]) -> None:
        super().__init__()
        self._classes = classes

    def __missing__(self, cell: str) -> list[bool]:
        try:
            names = json.loads(cell)
        except ValueError:
            names = None
        if not isinstance(names, list):
            raise ValueError(f"{cell!r} is not a JSON list of labels")
        for name in names:
            if name not in self._classes:
                raise KeyError(name)
        if names != [name for name in self._classes if name in names]:
            raise ValueError(f"{cell} is not in the order of the columns")
        self[cell] = [name in names for name in self._classes]
        return self[cell]


def _read(lines: Any, path: Path) -> Predictions:
    header: list[str] = next(lines, [])
    headers = _SET if set(_SET).intersection(header[1:3]) else _ONE
    first = 3 if header[1:2] == [headers[0]] else 2
    names = header[first:]
    if not header[:1] or header[first - 1 : first] != [headers[1]] or not names:
        what = f"{path} is not a predictions file: its columns are {', '.join(header) or 'missing'}."
        raise DataError(what, _COLUMNS, value=header, place=path)
    for name in names:
        if not name.startswith(_PROBABILITY):
            remedy = f"Remove it, or begin its name with {_PROBABILITY}."
            raise DataError(f"{path} has the column {name!r} among the probabilities.", remedy, value=name, place=path)
    shown = [name.removeprefix(_PROBABILITY) for name in names]
    classes = tuple(map(original, shown))
    labels: Mapping[str, int] | _Sets = _Sets(shown)
    if headers is _ONE:
        labels = {cell: index for index, cell in enumerate(label_cells(classes))}
    items, truth, predicted, probabilities = [], [], [], []
    for line in lines:
        try:
            if len(line) != len(header):
                raise ValueError(f"it has {len(line)} cells, the header {len(header)}")
            items.append(line[0])
            if first == 3:
                truth.append(labels[line[1]])
            predicted.append(labels[line[first - 1]])
            probabilities.append([float(cell) for cell in line[first:]])
        except (ValueError, KeyError) as error:
            place, value = f"{path}:{lines.line_num}", error.args[0] if isinstance(error, KeyError) else line
            reason = f"{error} is not a class of the header" if isinstance(error, KeyError) else error
            raise DataError(
                f"{place} cannot be read: {reason}.", csv_cells.RESTORE, value=value, place=place
            ) from error

    def array(values: list[Any]) -> Labels:
        return np.array(values, np.int64) if headers is _ONE else np.array(values, np.bool_).reshape(-1, len(classes))

    return Predictions(
        items=tuple(csv_cells.read_names(items) if header[0] == ID else csv_cells.read_texts(items)),
        item_column=original(header[0]),
        classes=classes,
        labels=array(truth) if first == 3 else None,
        predicted=array(predicted),
        probabilities=np.array(probabilities, dtype=np.float32).reshape(-1, len(classes)),
    )
