from __future__ import annotations

from pathlib import Path

import pytest

from trainyard.artifacts import Artifacts
from trainyard.runs import Yard


@pytest.fixture
def store(yard: Yard) -> Artifacts:
    """The artifacts of an empty yard."""
    return Artifacts(yard)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of the user's, on the disk of the yard: a.txt, more/b.bin."""
    folder = tmp_path / "mine"
    (folder / "more").mkdir(parents=True)
    (folder / "a.txt").write_text("alpha\n")
    (folder / "more" / "b.bin").write_bytes(bytes(range(256)) * 40)
    return folder
