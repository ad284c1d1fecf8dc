"""One file that a source found, before it was read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

ON_BAD_FILE = ("error", "skip")


@dataclass
class FoundFile:
    """One file that a source found, before it was read.

    Attributes:
        path: its path.
        id: its name in records.
        label: the position of its class.
        group: "" for none.
        split: "train", "val" or "test"; "" if the data has no official splits.
        where: its source for messages, such as a row of a CSV; "" if the id is enough.
    """

    path: Path
    id: str
    label: int
    group: str = ""
    split: str = ""
    where: str = ""
