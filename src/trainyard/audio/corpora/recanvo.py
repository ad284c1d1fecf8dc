"""ReCANVo: what people of few words express by voice at home (Johnson et al., 2023).

Layout: recordings beside, or below the folder of, `dataset_file_directory.csv` (older copies:
`directory_info.csv`) with the columns Filename, Participant and Label. The label is that of the
table, the group the participant, of whom there are eight. There is no official split.

Labels were chosen by each family. Six are common to most and make up the label set; the rarer ones
are left out and counted in a warning, unless `classes` names them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from trainyard.audio.corpora.corpus import Clip, Corpus, assemble, counted, recordings
from trainyard.data.build import listed
from trainyard.data.folders import walk
from trainyard.data.tables import read_table
from trainyard.errors import DataError

LABELS = ("delighted", "dysregulated", "frustrated", "request", "selftalk", "social")
TABLES = ("dataset_file_directory.csv", "directory_info.csv")
COLUMNS = ("Filename", "Participant", "Label")

LAYOUT = f"a folder with {TABLES[0]} and the recordings that it lists"


def find(root: Path, *, classes: Sequence[str] | None = None) -> Corpus:
    """The vocalisations that the table lists, whether or not the files are there.

    Raises:
        DataError: no table, one that cannot be read, a row without label, two files for one row, or
            classes that are not there.
    """
    present = recordings(root, LAYOUT)
    table = _table(root)
    by_name = defaultdict(list)
    for path in present:
        by_name[path.name].append(path)
    # The published table has bytes that are not UTF-8.
    rows = read_table(table, COLUMNS, filled=3, encodings=("utf-8-sig", "cp1252"))
    clips = []
    for number, cells in rows:
        path = _placed(table, number, cells["Filename"], by_name)
        label, group = cells["Label"].casefold(), cells["Participant"].upper()
        clips.append(Clip(path, label, group=group, where=f"row {number} of {table.name}"))
    unlisted = sorted(set(by_name) - {Path(cells["Filename"]).name for _, cells in rows})
    notes = [f"Left out {counted(len(unlisted))} without a row in {table.name}: {listed(unlisted, 3)}."]
    return assemble("recanvo", root, clips, LABELS, classes, notes if unlisted else ())


def _table(root: Path) -> Path:
    found = [path for path in walk(root) if path.name in TABLES]
    if found:
        return min(found, key=lambda path: (TABLES.index(path.name), path))
    raise DataError(f"There is no {' or '.join(TABLES)} below {root}.", f"Set data.path to the corpus: {LAYOUT}.")


def _placed(table: Path, number: int, name: str, by_name: dict[str, list[Path]]) -> Path:
    beside = table.parent / name
    places = by_name.get(Path(name).name, [])
    if beside in places or not places:
        return beside  # a missing file too: reading it says so, with the row
    if len(places) > 1:
        raise DataError(
            f"{table}: row {number} lists {name}, which is there more than once: {places[0]}, {places[1]}.",
            "Keep one of them.",
        )
    return places[0]
