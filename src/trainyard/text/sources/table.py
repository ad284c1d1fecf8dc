"""Texts in tables: one file, or a folder with a file for each official split.

Knows the columns and file names of the tables, not how the texts are used.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from trainyard.data.build import SPLIT_ALIASES
from trainyard.data.tables import split_of
from trainyard.errors import DataError
from trainyard.text.sources.labelled_texts import FoundText, Texts, labelled_texts
from trainyard.text.sources.reading import TABLES, as_labels, as_name, read_records
from trainyard.wording import listed


def load(
    path: str | Path,
    *,
    text_column: str = "text",
    label_column: str = "label",
    label_separator: str = ",",
    id_column: str | None = None,
    group_column: str | None = None,
    split_column: str | None = None,
    classes: Sequence[str] | None = None,
    multi_label: bool = True,
    on_bad_item: str = "error",
) -> Texts:
    """Loads the texts of a table.

    Args:
        path: a `.tsv`, `.csv`, `.jsonl` or `.ndjson`; or a folder of such files named train, val (valid, dev), test.
        text_column: the column of texts.
        label_column: the column of labels: names, or their numbers where `classes` are given.
        label_separator: between the labels of a cell. In JSON lines they may be a list instead.
        id_column: the column of ids; None: the id is file and row, as in `train.csv:12`.
        group_column: items of one group stay on one side of a split; an empty cell is no group.
        split_column: official splits in one file: train, val, test.
        classes: names in label order; see `labelled_texts`.
        multi_label: a text may have several labels, or none.
        on_bad_item: "error", or "skip" with a warning.

    Raises:
        DataError: a missing or unreadable file, an unknown column, or a fault that `labelled_texts` reports.
    """
    path = Path(path)
    files = _split_files(path) if path.is_dir() else [(path, "")]
    if path.is_dir() and split_column:
        raise DataError(
            f"data.split_column={split_column!r} is set, but in a folder such as {path} each file is a split.",
            "Unset data.split_column, or set data.path to one file.",
            value=split_column,
            place="data.split_column",
        )
    if multi_label and not label_separator:
        raise DataError(
            "data.label_separator is empty.",
            "Set it to the separator between two labels, such as a comma.",
            value=label_separator,
            place="data.label_separator",
        )
    required = [label_column, *(column for column in (id_column, split_column) if column)]
    found = []
    for file, split in files:
        optional = [group_column] if group_column and file.suffix.lower() in (".tsv", ".csv") else []
        for number, values in read_records(file, text_column, required + optional):
            row = f"row {number}"
            name = as_name(file, number, id_column, values[id_column]).strip() if id_column else ""
            if id_column and not name:
                raise DataError(
                    f"{file}: {row} is empty in column {id_column}.",
                    "Give each text an id.",
                    value=id_column,
                    place=f"{file}:{number}",
                )
            group = as_name(file, number, group_column, values.get(group_column)) if group_column else ""
            if split_column:
                split = split_of(file, number, as_name(file, number, split_column, values[split_column]))
            labels = as_labels(file, number, values[label_column], label_separator if multi_label else None)
            found.append(
                FoundText(
                    where=f"{file.name}: {row}" if path.is_dir() else row,
                    id=name or f"{file.name}:{number}",
                    text=values[text_column],
                    labels=labels,
                    group=group,
                    split=split,
                    place=f"{file}:{number}",
                )
            )
    return labelled_texts(str(path), found, classes, multi_label=multi_label, on_bad_item=on_bad_item)


def _split_files(folder: Path) -> list[tuple[Path, str]]:
    """The files of a folder that are named after a split, train first, each with that split."""
    tables = sorted(file for file in folder.iterdir() if file.suffix.lower() in TABLES)
    found: dict[str, Path] = {}
    for file in tables:
        split = SPLIT_ALIASES.get(file.stem.lower())
        if split in found:
            raise DataError(
                f"{folder} has two files for the {split} split: {found[split].name} and {file.name}.",
                "Remove one of them, or set data.path to one file.",
                value=split,
                place=file,
            )
        if split:
            found[split] = file
    if "train" not in found:
        names = [file.name for file in tables]
        raise DataError(
            f"{folder} has no table named train; its tables are: {listed(names)}.",
            f"Name the files train, val and test, ending in one of {', '.join(TABLES)}, or set data.path to one file.",
            value=tuple(names),
            place=folder,
        )
    return [(found[split], split) for split in ("train", "val", "test") if split in found]
