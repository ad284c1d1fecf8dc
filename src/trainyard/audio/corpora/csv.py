"""A CSV of recordings and labels, with optional columns for groups and splits.

For recordings that follow no corpus. Paths are relative to the table, so that both can be moved
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
    """The recordings that a table lists, named after it; see `find_in_table`.

    Raises:
        DataError: an unreadable table, an unknown column, a label or split that is wrong.
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
    """A warning when the table seems to say who speaks, and nobody told us to look."""
    if group_column is not None:
        return []
    _, cells = read_table(root, [path_column], filled=1)[0]
    found = [column for column in cells if column.strip().lower() in _SPEAKERS]
    return [
        f"{root} has a column {column!r}, but the splits do not heed it: the same may be in train and test. "
        f"Set data.group_column={column} to keep each on one side."
        for column in found
    ]
