"""What is told at the end of a run."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_runs import QUIET, trained

from trainyard.runs import Yard

TINY = [
    "model.hidden_size=16",
    "model.num_layers=1",
    "model.num_heads=2",
    "model.ffn_size=32",
    "data.sentences=100",
    "training.epochs=1",
    "training.precision=fp32",
    "run.device=cpu",
    *QUIET,
]


@pytest.mark.parametrize(("mode", "said"), [("per_class", True), ("fixed", False)])
def test_without_validation_it_is_said_that_nothing_was_tuned(mode: str, said: bool, tmp_path: Path) -> None:
    options = ["data.split.val_fraction=0", "training.monitor=train_loss", f"training.thresholds.mode={mode}"]
    run = trained("emotions", [*TINY, *options], Yard(tmp_path / "y", create=True))
    assert any("not tuned" in warning for warning in run.snapshot.warnings) is said
