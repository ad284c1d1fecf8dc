"""`checkpoint.every=auto`: fewer checkpoints, and the best one is there all the same, however the training ends."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from trainyard.checkpoints import choose, problems
from trainyard.config.compose import compose
from trainyard.errors import DivergedError, Interrupted
from trainyard.running import attempt
from trainyard.running.train import train
from trainyard.runs import RunReader, Yard, find_homes
from trainyard.training.cadence import Cadence
from trainyard.training.checkpoint.read import load
from trainyard.training.step import Step

# 20 steps an epoch. The largest loss counts as the best, so that the best epoch is the first and not the last.
PLAIN = [
    "model=mlp",
    "model.hidden=[8]",
    "training.epochs=4",
    "training.mode=max",
    "checkpoint.keep_last=null",
    "outputs.plots=false",
    "tracker=none",
    "run.device=cpu",
]


def trained(yard: Path, *overrides: str, error: type[BaseException] | None = None) -> RunReader:
    config = compose("digits", [*PLAIN, *overrides])
    if error is None:
        train(config, yard)
    else:
        with pytest.raises(error):
            train(config, yard)
    (home,) = find_homes(Yard(yard))
    return RunReader(Yard(yard), home)


def at_step(step: int, monkeypatch: pytest.MonkeyPatch, change: Any) -> None:
    """Has `change` applied to the loss of one step, counted in each training."""
    whole = Step.__call__

    def counted(self: Any, group: Any) -> Any:
        self.taken = getattr(self, "taken", 0) + 1
        loss = whole(self, group)
        return change(loss) if self.taken == step else loss

    monkeypatch.setattr(Step, "__call__", counted)


def killed(loss: Any) -> Any:
    os.kill(os.getpid(), signal.SIGTERM)
    return loss


@pytest.mark.parametrize("layout", ["grouped", "shared"])
@pytest.mark.parametrize("end", ["finished", "stopped early", "SIGTERM", "SIGTERM after an epoch", "diverged"])
def test_the_best_weights_are_those_of_a_run_that_keeps_every_epoch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, layout: str, end: str
) -> None:
    # Its clock stands still: nothing is due but what the end of the training asks for.
    monkeypatch.setattr(attempt, "Cadence", lambda: Cadence(clock=lambda: 0.0))
    overrides, error = [f"layout={layout}"], None
    if end == "stopped early":
        overrides.append("training.early_stopping.patience=2")
    elif end == "diverged":
        error = DivergedError
        at_step(53, monkeypatch, lambda loss: loss * float("nan"))
    elif end.startswith("SIGTERM"):
        error = Interrupted
        at_step(60 if "epoch" in end else 53, monkeypatch, killed)
    every = trained(tmp_path / "every", *overrides, "checkpoint.every_epochs=1", error=error)
    auto = trained(tmp_path / "auto", *overrides, "checkpoint.every_epochs=null", error=error)
    best, expected = choose(auto, step="best"), choose(every, step="best")
    assert best is not None
    assert expected is not None
    assert best.checkpoint.step == expected.checkpoint.step == 20
    found, wanted = load(best.path), load(expected.path)
    assert found.model.keys() == wanted.model.keys()
    for name, tensor in wanted.model.items():
        assert found.model[name].numpy().tobytes() == tensor.numpy().tobytes(), name
    assert found.progress == wanted.progress
    steps = [checkpoint.step for checkpoint in auto.snapshot.checkpoints]
    last = {"finished": [80], "stopped early": [60], "SIGTERM": [53], "SIGTERM after an epoch": [60], "diverged": []}
    assert steps == [20, *last[end]]
    assert len(steps) < len(every.snapshot.checkpoints)
    for checkpoint in auto.snapshot.checkpoints:
        assert problems(auto, checkpoint) == []
    assert (auto.snapshot.best, auto.snapshot.step) == (every.snapshot.best, every.snapshot.step)
    assert auto.snapshot.state == every.snapshot.state
