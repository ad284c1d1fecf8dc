"""ReCANVo: vocalisations of minimally speaking people, recorded at home (Johnson et al., 2023).

Layout: recordings in or below the folder of `dataset_file_directory.csv` (older copies:
`directory_info.csv`), which has the columns Filename, Participant and Label. The label is that of the
table, the group the participant (eight in all). There is no official split.

Labels were chosen by each family. Six are common to most and make up the label set; the rarer ones
are left out and counted in a warning, unless `classes` names them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from trainyard.audio.corpora.corpus import Clip, Corpus, assemble, counted, recordings, row_error
from trainyard.data.folders import walk
from trainyard.data.tables import read_table
from trainyard.errors import DataError
from trainyard.wording import listed

LABELS = ("delighted", "dysregulated", "frustrated", "request", "selftalk", "social")
TABLES = ("dataset_file_directory.csv", "directory_info.csv")
COLUMNS = ("Filename", "Participant", "Label")

LAYOUT = f"a folder with {TABLES[0]} and the recordings that it lists"


def find(root: Path, classes: Sequence[str] | None = None) -> Corpus:
    """Finds the vocalisations that the table lists, whether or not their files exist."""
    present = recordings(root, LAYOUT)
    table = _table(root)
    by_name = defaultdict(list)
    for path in present:
        by_name[path.name].append(path)
    # The published table is not valid UTF-8.
    rows = read_table(table, COLUMNS, filled=3, encodings=("utf-8-sig", "cp1252"))
    clips = []
    for number, row in rows:
        path = _file_of(table, number, row["Filename"], by_name)
        label, group = row["Label"].casefold(), row["Participant"].upper()
        clips.append(Clip(path, label, group=group, where=f"row {number} of {table.name}"))
    unlisted = sorted(set(by_name) - {Path(row["Filename"]).name for _, row in rows})
    notes = [f"Left out {counted(len(unlisted))} without a row in {table.name}: {listed(unlisted, 3)}."]
    return assemble("recanvo", root, clips, LABELS, classes, notes if unlisted else ())


def _table(root: Path) -> Path:
    found = [path for path in walk(root) if path.name in TABLES]
    if found:
        return min(found, key=lambda path: (TABLES.index(path.name), path))
    what = f"{root} has no {' or '.join(TABLES)}, not even in a subfolder."
    raise DataError(what, f"Set data.path to the corpus: {LAYOUT}.", value=TABLES, place=root)


def _file_of(table: Path, number: int, name: str, by_name: dict[str, list[Path]]) -> Path:
    beside = table.parent / name
    places = by_name.get(Path(name).name, [])
    if beside in places or not places:
        return beside  # even if it does not exist: reading it reports that, with the row
    if len(places) > 1:
        what = f"lists {name}, which exists more than once: {places[0]}, {places[1]}."
        raise row_error(table, number, what, "Keep one of the copies.", name)
    return places[0]
