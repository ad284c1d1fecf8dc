"""Small trees made to the grammar of a corpus."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest
import soundfile

Tree = Callable[[Path, Iterable[str]], Path]


@pytest.fixture(scope="session")
def sound(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A tiny recording."""
    path = tmp_path_factory.mktemp("sound") / "a.wav"
    soundfile.write(path, np.linspace(-0.5, 0.5, 80), 8000)
    return path.read_bytes()


@pytest.fixture
def tree(sound: bytes) -> Tree:
    """Writes a tiny recording under each name below a folder, and returns the folder."""

    def write(root: Path, names: Iterable[str]) -> Path:
        root.mkdir(parents=True, exist_ok=True)
        for name in names:
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(sound)
        return root

    return write
