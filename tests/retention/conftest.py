from __future__ import annotations

import sys
from pathlib import Path

import pytest

from trainyard.runs import Yard

sys.path.insert(0, str(Path(__file__).parent))  # for retention_yards, which the tests here share


@pytest.fixture
def yard(tmp_path: Path) -> Yard:
    return Yard(tmp_path / "yard", create=True)
