"""ESC-50: 2,000 environmental sounds of five seconds (Piczak, 2015).

Layout: `audio/*.wav` and `meta/esc50.csv` with the columns filename, fold, target, category and
src_file (esc10 and take are not used). The label is the category, in the order of the targets; the
group is the source file, which several clips can share. The official evaluation is five-fold
cross-validation: here fold 5 is test, fold 4 val and the others are train. Folds never share a source.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from trainyard.audio.corpora.corpus import Clip, Corpus, assemble, counted, recordings, row_error
from trainyard.data.tables import Row, read_table
from trainyard.errors import DataError
from trainyard.wording import listed

COLUMNS = ("filename", "fold", "target", "category", "src_file")
SPLIT_OF_FOLD = {"1": "train", "2": "train", "3": "train", "4": "val", "5": "test"}

LAYOUT = "a folder with audio/*.wav and meta/esc50.csv"


def find(root: Path, classes: Sequence[str] | None = None) -> Corpus:
    """Finds the clips that the table lists, whether or not their files exist."""
    present = recordings(root, LAYOUT)
    table = root / "meta" / "esc50.csv"
    if not table.is_file():
        raise DataError(f"{table} does not exist.", f"Set data.path to the corpus: {LAYOUT}.", place=table)
    rows = read_table(table, COLUMNS, filled=5)
    labels = _labels(table, rows)
    clips = []
    for number, row in rows:
        split = SPLIT_OF_FOLD.get(row["fold"])
        if split is None:
            what = f"has an invalid fold {row['fold']!r}."
            raise row_error(table, number, what, "Use a fold from 1 to 5.", row["fold"])
        path = root / "audio" / row["filename"]
        clips.append(Clip(path, row["category"], row["src_file"], split, f"row {number} of {table.name}"))
    unlisted = sorted(path.name for path in set(present) - {clip.path for clip in clips})
    notes = [f"Left out {counted(len(unlisted))} without a row in {table.name}: {listed(unlisted, 3)}."]
    return assemble("esc", root, clips, labels, classes, notes if unlisted else ())


def _labels(table: Path, rows: Sequence[Row]) -> list[str]:
    """The categories in the order of their targets."""
    category_of: dict[int, str] = {}
    target_of: dict[str, str] = {}
    for number, row in rows:
        category, target = row["category"], row["target"]
        if not target.isdecimal():
            what = f"has an invalid target {target!r}."
            raise row_error(table, number, what, "Use a whole number from 0.", target)
        known = category_of.setdefault(int(target), category)
        if known != category or target_of.setdefault(category, target) != target:
            earlier = f"target {target} for {known}, or target {target_of.get(category, target)} for {category}"
            what = f"has target {target} for {category}, but an earlier row has {earlier}."
            remedy = "Give each category one target, and no two categories the same."
            raise row_error(table, number, what, remedy, (target, category))
    return [category_of[target] for target in sorted(category_of)]
