"""Finds the recordings of each corpus, with the labels, speakers and splits in its file names and tables.

One module per corpus: its label set, its file name grammar, its groups (speakers), and its official split
if it has one. Recordings that belong to no corpus are in a folder per class, or listed in a CSV. Nothing here
opens a recording.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from trainyard.audio.corpora import (
    asvp_esd,
    cnvve,
    donateacry,
    esc,
    fsdd,
    nonverbal_vocalization_dataset,
    recanvo,
    vivae,
)
from trainyard.audio.corpora.corpus import Corpus
from trainyard.audio.decode import AUDIO_SUFFIXES, is_audio
from trainyard.data.folders import find_in_folders
from trainyard.data.tables import find_in_table, read_table

__all__ = ["CORPORA", "Corpus", "find"]

_COLUMNS = {"path_column": "path", "label_column": "label", "group_column": None, "split_column": None}
_SPEAKERS = frozenset({"speaker", "speaker_id", "subject", "subject_id", "participant", "participant_id", "actor"})


def find(name: str, root: str | Path, *, classes: Sequence[str] | None = None, **columns: str | None) -> Corpus:
    """Finds the recordings of a corpus.

    Args:
        name: one of CORPORA.
        root: its folder; a table for "csv".
        classes: names in label order; None: those of the corpus that have recordings. For a corpus with
            a label set, recordings of other classes are left out; a folder or a CSV must have exactly
            these classes.
        columns: of a CSV, as for `find_in_table`: path_column ("path"), label_column ("label"), group_column and
            split_column (None: there are none). Other corpora ignore them.

    Raises:
        DataError: the corpus is missing or does not follow its layout.
        ValueError: a name that is not in CORPORA.
    """
    if name not in CORPORA:
        raise ValueError(f"{name!r} is not one of {', '.join(CORPORA)}")
    if name == "csv":
        return _find_in_table(Path(root), classes, **{**_COLUMNS, **columns})
    return _FIND[name](Path(root), classes)


def _find_in_folder(root: Path, classes: Sequence[str] | None) -> Corpus:
    """A folder of recordings per class; the corpus is named after the root."""
    names, files, warnings = find_in_folders(root, classes, wanted=is_audio, suffixes=AUDIO_SUFFIXES, noun="recording")
    return Corpus(root.resolve().name, tuple(names), files, warnings)


def _find_in_table(root: Path, classes: Sequence[str] | None, **columns: Any) -> Corpus:
    """The recordings that a table lists; the corpus is named after it. Warns of a column of speakers that is unused."""
    names, files = find_in_table(root, classes, **columns)
    _, row = read_table(root, [columns["path_column"]], filled=1)[0]
    unused = [] if columns["group_column"] else [column for column in row if column.strip().lower() in _SPEAKERS]
    warnings = [
        f"{root} has a column {column!r}, but the splits ignore it: the same speaker may be in train and test. "
        f"Set data.group_column={column} to keep each speaker in one split."
        for column in unused
    ]
    return Corpus(root.stem, tuple(names), files, warnings)


_FIND: dict[str, Callable[[Path, Sequence[str] | None], Corpus]] = {
    "folder": _find_in_folder,
    "asvp_esd": asvp_esd.find,
    "asvp_esd_babies": asvp_esd.find_babies,
    "cnvve": cnvve.find,
    "nonverbal_vocalization_dataset": nonverbal_vocalization_dataset.find,
    "recanvo": recanvo.find,
    "vivae": vivae.find,
    "donateacry": donateacry.find,
    "fsdd": fsdd.find,
    "esc": esc.find,
}
CORPORA = (*_FIND, "csv")
