"""Texts in tables: one file, or a folder with a file for each official split.

Knows the columns and file names of the tables, not how the texts are used.
"""

from __future__ import annotations

from pathlib import Path

from trainyard.data.build import SPLIT_ALIASES
from trainyard.data.dataset import SPLITS
from trainyard.data.tables import row_error, split_of
from trainyard.errors import DataError
from trainyard.text.schema import TextData
from trainyard.text.sources.labelled_texts import FoundText, Texts, labelled_texts
from trainyard.text.sources.reading import TABLES, as_labels, as_name, read_records
from trainyard.wording import listed


def load(path: Path, data: TextData) -> Texts:
    """The texts of the table `path`, or of a folder of tables named train, val (valid, dev) and test.

    Labels are names, or their numbers where `data.classes` are given; JSON lines may have a list of them. Without an
    id column the id is file and row, as in `train.csv:12`. An empty cell in the group column means no group.

    Raises:
        DataError: a missing or unreadable file, an unknown column, or a fault that `labelled_texts` reports.
    """
    separator, split_column = data.label_separator if data.multi_label else None, data.split_column
    if path.is_dir() and split_column:
        what = f"data.split_column={split_column!r} is set, but in a folder such as {path} each file is a split."
        remedy = "Unset data.split_column, or set data.path to one file."
        raise DataError(what, remedy, value=split_column, place="data.split_column")
    if separator == "":
        remedy = "Set it to the separator between two labels, such as a comma."
        raise DataError("data.label_separator is empty.", remedy, value=separator, place="data.label_separator")
    files = _split_files(path) if path.is_dir() else [(path, "")]
    required = [data.label_column, *(column for column in (data.id_column, split_column) if column)]
    found = []
    for file, split in files:
        grouped = [data.group_column] if data.group_column and file.suffix.lower() in (".tsv", ".csv") else []
        for number, values in read_records(file, data.text_column, required + grouped):
            id_ = as_name(file, number, data.id_column, values).strip()
            if data.id_column and not id_:
                what = f"is empty in column {data.id_column}"
                raise row_error(file, number, what, "Give each text an id.", data.id_column)
            if split_column:
                split = split_of(file, number, as_name(file, number, split_column, values))
            found.append(
                FoundText(
                    where=f"{file.name}: row {number}" if path.is_dir() else f"row {number}",
                    id=id_ or f"{file.name}:{number}",
                    text=values[data.text_column],
                    labels=as_labels(file, number, values[data.label_column], separator),
                    group=as_name(file, number, data.group_column, values),
                    split=split,
                    place=f"{file}:{number}",
                )
            )
    multi_label, on_bad_item = data.multi_label, data.on_bad_item
    return labelled_texts(str(path), found, data.classes, multi_label=multi_label, on_bad_item=on_bad_item)


def _split_files(folder: Path) -> list[tuple[Path, str]]:
    """The files of a folder that are named after a split, train first, each with that split."""
    tables = sorted(file for file in folder.iterdir() if file.suffix.lower() in TABLES)
    found: dict[str, Path] = {}
    for file in tables:
        split = SPLIT_ALIASES.get(file.stem.lower())
        if split in found:
            what = f"{folder} has two files for the {split} split: {found[split].name} and {file.name}."
            raise DataError(what, "Remove one of them, or set data.path to one file.", value=split, place=file)
        if split:
            found[split] = file
    if "train" not in found:
        names = [file.name for file in tables]
        what = f"{folder} has no table named train; its tables are: {listed(names)}."
        remedy = f"Name the files train, val and test, ending in {' or '.join(TABLES)}, or set data.path to one file."
        raise DataError(what, remedy, value=tuple(names), place=folder)
    return [(found[split], split) for split in SPLITS if split in found]
