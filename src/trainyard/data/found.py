"""One file that a source found, before it was read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

ON_BAD_FILE = ("error", "skip")


@dataclass
class FoundFile:
    """One file that a source found, before it was read.

    Attributes:
        path: where it is.
        id: what it is called in records.
        label: the position of its class.
        group: "" for none.
        split: "train", "val" or "test"; "" when the data has no splits of its own.
        where: where it was found, for messages, such as a row of a CSV; "" when the id suffices.
    """

    path: Path
    id: str
    label: int
    group: str = ""
    split: str = ""
    where: str = ""
