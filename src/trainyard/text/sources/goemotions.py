"""GoEmotions in its own files: three TSVs without a header, and the names of the labels.

Demszky et al., GoEmotions: A Dataset of Fine-Grained Emotions, ACL 2020. A line is a text, the numbers of its
labels with commas between them, and the id of the comment. Quotes are plain characters: the files are no CSVs.
"""

from __future__ import annotations

from pathlib import Path

from trainyard.data.build import listed
from trainyard.data.tables import read_text
from trainyard.errors import DataError
from trainyard.text.sources.labelled_texts import FoundText, Texts, labelled_texts
from trainyard.text.sources.reading import as_labels

FILES = (("train.tsv", "train"), ("dev.tsv", "val"), ("test.tsv", "test"))
LABELS = ("labels.txt", "emotions.txt")  # of its two publications


def load(path: str | Path, *, multi_label: bool = True, on_bad_item: str = "error") -> Texts:
    """The comments of GoEmotions with their official splits, labels in the order of the file that names them.

    Args:
        path: the folder with the files, or one above it, such as a copy of the repository.
        multi_label: False: every comment has exactly one label.
        on_bad_item: "error", or "skip" with a warning.

    Raises:
        DataError: a file is missing or not as described, or what `labelled_texts` refuses.
    """
    folder = _folder(Path(path))
    classes = _classes(folder)
    found = []
    for name, split in FILES:
        file = folder / name
        # By hand: a csv reader would take a lone carriage return for the end of a row.
        for number, line in enumerate(read_text(file).split("\n"), start=1):
            line = line.removesuffix("\r")
            if not line:
                continue
            cells = line.split("\t")
            if len(cells) != 3:
                raise DataError(
                    f"{file}: row {number} has {len(cells)} cells; it should have 3: text, label ids, comment id.",
                    "Mend the row, or take the files as they were published.",
                )
            text, labels, id_ = cells
            found.append(
                FoundText(f"{name}: row {number}", id_, text, as_labels(file, number, labels, ","), split=split)
            )
    return labelled_texts(str(folder), found, classes, multi_label=multi_label, on_bad_item=on_bad_item)


def _folder(path: Path) -> Path:
    """The folder with the three tables, there or below."""
    folders = [path] if (path / "train.tsv").is_file() else sorted(file.parent for file in path.rglob("train.tsv"))
    if len(folders) != 1:
        what = f"more than one train.tsv below {path}" if folders else f"no train.tsv in {path} or below"
        raise DataError(f"There is {what}.", "Set data.path to the folder with train.tsv, dev.tsv and test.tsv.")
    for name, _ in FILES:
        if not (folders[0] / name).is_file():
            raise DataError(f"{folders[0]} has no {name}.", "Put train.tsv, dev.tsv and test.tsv there.")
    return folders[0]


def _classes(folder: Path) -> list[str]:
    for name in LABELS:
        if (folder / name).is_file():
            names = [line.strip() for line in read_text(folder / name).splitlines() if line.strip()]
            if len(set(names)) < len(names):
                twice = sorted({label for label in names if names.count(label) > 1})
                raise DataError(f"{folder / name} names {listed(twice)} more than once.", "Name each label once.")
            return names
    raise DataError(
        f"{folder} has neither {' nor '.join(LABELS)}.",
        "Put the names of the labels there, one a line, in their order.",
    )
