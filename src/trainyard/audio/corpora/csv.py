"""A CSV of recordings and labels, with optional columns for groups and splits.

For recordings that belong to no corpus. Paths are relative to the table, so that both can be moved
together.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from trainyard.audio.corpora.corpus import Corpus
from trainyard.data.tables import find_in_table, read_table

_SPEAKERS = frozenset({"speaker", "speaker_id", "subject", "subject_id", "participant", "participant_id", "actor"})


def find(
    root: Path,
    *,
    classes: Sequence[str] | None = None,
    path_column: str = "path",
    label_column: str = "label",
    group_column: str | None = None,
    split_column: str | None = None,
) -> Corpus:
    """Finds the recordings that a table lists; the corpus is named after the table. See `find_in_table`.

    Raises:
        DataError: an unreadable table, an unknown column, an invalid label or split.
    """
    names, files = find_in_table(
        root,
        classes,
        path_column=path_column,
        label_column=label_column,
        group_column=group_column,
        split_column=split_column,
    )
    return Corpus(root.stem, tuple(names), files, _unused_speakers(root, path_column, group_column))


def _unused_speakers(root: Path, path_column: str, group_column: str | None) -> list[str]:
    """Warns when the table seems to have a column of speakers and no group column is set."""
    if group_column is not None:
        return []
    _, row = read_table(root, [path_column], filled=1)[0]
    found = [column for column in row if column.strip().lower() in _SPEAKERS]
    return [
        f"{root} has a column {column!r}, but the splits ignore it: the same speaker may be in train and test. "
        f"Set data.group_column={column} to keep each speaker in one split."
        for column in found
    ]
