"""GoEmotions in its published files: three TSVs without a header, and a file of label names.

Demszky et al., GoEmotions: A Dataset of Fine-Grained Emotions, ACL 2020. A line consists of a text, the numbers
of its labels separated by commas, and the id of the comment. Quotes are ordinary characters, unlike in a CSV.
"""

from __future__ import annotations

from pathlib import Path

from trainyard.data.tables import read_text, row_error
from trainyard.errors import DataError
from trainyard.text.sources.labelled_texts import FoundText, Texts, labelled_texts
from trainyard.text.sources.reading import as_labels
from trainyard.wording import listed

FILES = (("train.tsv", "train"), ("dev.tsv", "val"), ("test.tsv", "test"))
LABELS = ("labels.txt", "emotions.txt")  # in its two publications


def load(path: Path, *, multi_label: bool, on_bad_item: str) -> Texts:
    """GoEmotions with its official splits; labels are in the order of the file of label names.

    Args:
        path: the folder of the files, or a parent of it, such as a copy of the repository.
        multi_label: False: every comment has exactly one label.
        on_bad_item: "error", or "skip" with a warning.

    Raises:
        DataError: a missing or malformed file, or a fault that `labelled_texts` reports.
    """
    folder = _folder(path)
    classes = _classes(folder)
    found = []
    for name, split in FILES:
        file = folder / name
        # Not with the csv module, which would end a row at a lone carriage return.
        for number, line in enumerate(read_text(file).split("\n"), start=1):
            columns = line.removesuffix("\r").split("\t")
            if columns == [""]:
                continue
            if len(columns) != 3:
                what = f"has {len(columns)} cells, expected 3: text, label ids, comment id"
                raise row_error(file, number, what, "Fix the row, or use the files as published.", len(columns))
            text, cell, id_ = columns
            labels = as_labels(file, number, cell, ",")
            where, place = f"{name}: row {number}", f"{file}:{number}"
            found.append(FoundText(where, id_, text, labels, split=split, place=place))
    return labelled_texts(str(folder), found, classes, multi_label=multi_label, on_bad_item=on_bad_item)


def _folder(path: Path) -> Path:
    """The folder of the three tables: `path` or one below it."""
    folders = [path] if (path / "train.tsv").is_file() else sorted(file.parent for file in path.rglob("train.tsv"))
    if len(folders) != 1:
        what = f"{path} has {'more than one' if folders else 'no'} train.tsv in it or in its subfolders."
        remedy = "Set data.path to the folder that has train.tsv, dev.tsv and test.tsv."
        raise DataError(what, remedy, value=tuple(map(str, folders)), place=path)
    (folder,) = folders
    for name, _ in FILES:
        if not (folder / name).is_file():
            raise DataError(f"{folder} has no {name}.", "Add the missing file.", value=name, place=folder)
    return folder


def _classes(folder: Path) -> list[str]:
    file = next((folder / name for name in LABELS if (folder / name).is_file()), None)
    if file is None:
        remedy = "Add one with the names of the labels in order, one per line."
        raise DataError(f"{folder} has neither {' nor '.join(LABELS)}.", remedy, value=LABELS, place=folder)
    names = [line.strip() for line in read_text(file).splitlines() if line.strip()]
    twice = tuple(sorted({label for label in names if names.count(label) > 1}))
    if twice:
        raise DataError(f"{file} repeats {listed(twice)}.", "List each label once.", value=twice, place=file)
    return names
