"""Files that a source found."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

ON_BAD_FILE = ("error", "skip")


@dataclass
class FoundFile:
    """One file that a source found, before it was read."""

    path: Path
    id: str  # its name in records
    label: int  # the position of its class
    group: str = ""  # "" for none
    split: str = ""  # "train", "val" or "test"; "" if the data has no official splits
    where: str = ""  # its source for messages, such as a row of a CSV; "" if the id is enough
