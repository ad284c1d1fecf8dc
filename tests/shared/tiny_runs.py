"""Runs of the tests here: ways to break one off, and what two of them have in common."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import pytest
from torch import Tensor

from trainyard.config.compose import compose
from trainyard.running.resume import resume
from trainyard.running.train import train
from trainyard.runs import RunReader, Yard, find_homes
from trainyard.training.checkpoint.capture import seed_everything
from trainyard.training.checkpoint.read import load
from trainyard.training.step import Step

QUIET = ["outputs.plots=false", "tracker=none"]


def trained(recipe: str, overrides: Sequence[str], yard: Yard) -> RunReader:
    """The run that training leaves."""
    home = train(compose(recipe, overrides), yard.root, overrides=overrides)
    assert home is not None
    return RunReader(yard, home)


def again(run: RunReader) -> RunReader:
    """The run as it is now."""
    return RunReader(run.yard, run.home)


class Pulled(BaseException):
    """The plug, at a moment when nothing expects it."""


def broken_off(recipe: str, overrides: Sequence[str], yard: Yard, steps: int) -> RunReader:
    """A run that fails after so many steps; the random generators are left in disorder."""
    whole, taken = Step.__call__, 0

    def pulled(self: Step, batches: Any) -> Any:
        nonlocal taken
        if taken == steps:
            raise Pulled
        taken += 1
        return whole(self, batches)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Step, "__call__", pulled)
        with pytest.raises(Pulled):
            train(compose(recipe, overrides), yard.root, overrides=overrides)
    seed_everything(12345)
    (home,) = find_homes(yard)
    return RunReader(yard, home)


def resumed(run: RunReader) -> RunReader:
    """The run after it was continued to its end."""
    resume(run.yard, run.home)
    return again(run)


def left_behind(run: RunReader) -> dict[str, Any]:
    """What must be the same to the bit in two runs that did the same."""
    assert run.snapshot.state == "finished"
    path = run.locate(run.snapshot.checkpoints[-1])
    assert path is not None
    last = load(path)
    assert last.optimizer is not None
    assert last.rng is not None
    return {
        "steps": [checkpoint.step for checkpoint in run.snapshot.checkpoints],
        "weights": {name: tensor.numpy().tobytes() for name, tensor in last.model.items()},
        "optimizer": [
            (key, value.numpy().tobytes())
            for state in last.optimizer["state"].values()
            for key, value in state.items()
            if isinstance(value, Tensor)
        ],
        "rng": last.rng[0]["torch"].numpy().tobytes(),
        "decision": last.decision,
        "tokenizer": last.files,
        "history": [{key: value for key, value in row.items() if key != "time"} for row in run.history()],
        "predictions": {
            record.kind + str(record.facts): hashlib.sha256(run.resolve(record.path).read_bytes()).hexdigest()
            for record in run.snapshot.records
            if "predictions" in record.kind or record.kind in ("per_class", "layer_weights")
        },
        "summary": run.snapshot.summary,
        "best": run.snapshot.best,
    }


def recorded(run: RunReader) -> set[str]:
    """Every file that the journal knows, by its own path or by the folder that it was recorded with."""
    known = [run.resolve(record.path) for record in run.snapshot.records]
    known += [run.resolve(path) for one in run.snapshot.checkpoints for path in one.paths.values()]
    found: set[str] = set()
    for path in known:
        assert path.exists(), path
        inside = path.rglob("*") if path.is_dir() else [path]
        found |= {run.yard.relative(file) for file in inside if file.is_file()}
    return found


def files(yard: Yard) -> set[str]:
    """Every file of the yard but those it keeps for itself."""
    found = (path for path in yard.root.rglob("*") if path.is_file())
    return {yard.relative(path) for path in found if not {".yard", ".run"} & set(path.parts)}
