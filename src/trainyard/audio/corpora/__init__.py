"""Finds the recordings of each corpus, with the labels, speakers and splits in its file names and tables.

One module per corpus: its label set, its file name grammar, its groups (speakers), and its official split
if it has one. Nothing here opens a recording.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from trainyard.audio.corpora import (
    asvp_esd,
    asvp_esd_babies,
    cnvve,
    csv,
    donateacry,
    esc,
    folder,
    fsdd,
    nonverbal_vocalization_dataset,
    recanvo,
    vivae,
)
from trainyard.audio.corpora.corpus import Corpus

__all__ = ["CORPORA", "Corpus", "find"]

_MODULES: dict[str, Any] = {
    "folder": folder,
    "csv": csv,
    "asvp_esd": asvp_esd,
    "asvp_esd_babies": asvp_esd_babies,
    "cnvve": cnvve,
    "nonverbal_vocalization_dataset": nonverbal_vocalization_dataset,
    "recanvo": recanvo,
    "vivae": vivae,
    "donateacry": donateacry,
    "fsdd": fsdd,
    "esc": esc,
}
CORPORA = tuple(_MODULES)


def find(
    name: str,
    root: str | Path,
    *,
    classes: Sequence[str] | None = None,
    path_column: str = "path",
    label_column: str = "label",
    group_column: str | None = None,
    split_column: str | None = None,
) -> Corpus:
    """Finds the recordings of a corpus.

    Args:
        name: one of CORPORA.
        root: its folder; a table for "csv".
        classes: names in label order; None: those of the corpus that have recordings. For a corpus with
            a label set, recordings of other classes are left out; a folder or a CSV must have exactly
            these classes.
        path_column: the column of paths; this and the columns below apply to "csv" alone.
        label_column: the column of labels.
        group_column: the column of groups; None: there are no groups.
        split_column: the column of official splits; None: there are none.

    Raises:
        DataError: the corpus is missing or does not follow its layout.
        ValueError: a name that is not in CORPORA.
    """
    if name not in _MODULES:
        raise ValueError(f"{name!r} is not one of {', '.join(CORPORA)}")
    columns = {
        "path_column": path_column,
        "label_column": label_column,
        "group_column": group_column,
        "split_column": split_column,
    }
    found: Corpus = _MODULES[name].find(Path(root), classes=classes, **(columns if name == "csv" else {}))
    return found
