"""A run killed at any moment opens, is seen as crashed, resumes, and ends as if never killed, to the bit."""

from __future__ import annotations

import hashlib
import random
import signal
import time
from pathlib import Path
from typing import Any

import erratic_cadence
import killing
import pytest

from trainyard.layouts import LAYOUTS
from trainyard.runs import RunReader, Yard, find_homes
from trainyard.training.checkpoint.read import load

OVERRIDES = [
    "model=mlp",
    "model.hidden=[16]",
    "model.dropout=0.2",
    "training.epochs=4",
    "training.log_every=7",
    "checkpoint.every_steps=9",
    "checkpoint.keep_last=2",
    "outputs.plots=false",
    "run.project=p",
    "outputs.val_predictions_every=2",
    "run.device=cpu",
]
TIMES = {"time"}


def left_behind(yard: Path) -> dict[str, Any]:
    """What must be the same: weights and optimizer of the last checkpoint, history, predictions, summary."""
    (home,) = find_homes(Yard(yard))
    run = RunReader(Yard(yard), home)
    assert run.snapshot.state == "finished"
    last = run.snapshot.checkpoints[-1]
    path = run.locate(last)
    assert path is not None
    loaded = load(path)
    assert loaded.optimizer is not None
    moments = [state["exp_avg"] for state in loaded.optimizer["state"].values()]
    return {
        "steps": [c.step for c in run.snapshot.checkpoints],
        "weights": {name: tensor.numpy().tobytes() for name, tensor in loaded.model.items()},
        "optimizer": [moment.numpy().tobytes() for moment in moments],
        "rng": loaded.rng[0]["torch"].numpy().tobytes() if loaded.rng else None,
        "history": [{k: v for k, v in row.items() if k not in TIMES} for row in run.history()],
        "predictions": {
            record.kind + str(record.facts): hashlib.sha256(run.resolve(record.path).read_bytes()).hexdigest()
            for record in run.snapshot.records
            if "predictions" in record.kind or record.kind == "per_class"
        },
        "summary": run.snapshot.summary,
        "best": run.snapshot.best,
    }


@pytest.fixture(scope="module")
def never_killed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[dict[str, Any], float]]:
    """For each layout, what an undisturbed run leaves, and how long it takes."""
    results = {}
    for layout in LAYOUTS:
        yard = tmp_path_factory.mktemp(layout) / "yard"
        started = time.monotonic()
        assert killing.run(yard, [*OVERRIDES, f"layout={layout}"]) == 0
        results[layout] = (left_behind(yard), time.monotonic() - started)
    return results


def finish(yard: Path, overrides: list[str]) -> int:
    """Resumes until the run is finished; returns how many attempts that took."""
    homes = list(find_homes(Yard(yard))) if yard.exists() else []
    if not homes:  # killed before the run existed: nothing half-made may be there
        left = [path.relative_to(yard) for path in yard.rglob("*") if path.is_file()] if yard.exists() else []
        assert not [path for path in left if ".tmp-" not in str(path) and path.parts[0] != ".yard"]
        assert killing.run(yard, overrides) == 0
        return 1
    (home,) = homes
    state = RunReader(Yard(yard), home).snapshot.state
    if state == "finished":
        return 0
    assert state == "crashed"
    assert killing.run(yard, overrides, home=home) == 0
    return 1


def kill_and_compare(tmp_path: Path, never_killed: dict[str, tuple[dict[str, Any], float]], seed: int) -> None:
    dice = random.Random(seed)
    layout = LAYOUTS[seed % len(LAYOUTS)]
    expected, duration_s = never_killed[layout]
    yard = tmp_path / f"kill-{seed}" / "yard"
    yard.parent.mkdir()
    overrides = [*OVERRIDES, f"layout={layout}"]
    if dice.random() < 0.5:
        code = killing.run(yard, overrides, kill_after_s=dice.uniform(0.2, duration_s))
    else:
        code = killing.run(yard, overrides, kill_at_call=dice.randint(1, 900))
    assert code in (0, -signal.SIGKILL)
    homes = list(find_homes(Yard(yard))) if yard.exists() else []
    again = dice.random() < 0.3  # killed while it resumes, too
    if again and homes and RunReader(Yard(yard), homes[0]).snapshot.state == "crashed":
        killing.run(yard, overrides, home=homes[0], kill_at_call=dice.randint(1, 500))
    finish(yard, overrides)
    assert left_behind(yard) == expected


@pytest.mark.parametrize("seed", range(5))
def test_killed_and_resumed_is_bit_identical(tmp_path, never_killed, seed):
    kill_and_compare(tmp_path, never_killed, seed)


AUTO = [option for option in OVERRIDES if not option.startswith(("checkpoint.every_steps", "checkpoint.keep_last"))] + [
    "checkpoint.every_epochs=null",
    "checkpoint.keep_last=null",
]


@pytest.fixture(scope="module")
def never_killed_auto(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], float]:
    """What an undisturbed run with a cadence leaves, and how long it takes."""
    yard = tmp_path_factory.mktemp("auto") / "yard"
    started = time.monotonic()
    assert killing.run(yard, AUTO) == 0
    return left_behind(yard), time.monotonic() - started


@pytest.mark.parametrize("seed", range(4))
def test_killed_with_a_cadence_it_ends_with_the_same_bits(
    tmp_path: Path, never_killed_auto: tuple[dict[str, Any], float], seed: int
) -> None:
    """Checkpoints are at other steps in each attempt, and the best one in memory is lost with the process."""
    dice = random.Random(seed)
    expected, duration_s = never_killed_auto
    yard = tmp_path / "yard"
    if seed % 2:
        killing.run(yard, AUTO, kill_after_s=dice.uniform(0.4, 1) * duration_s, prepare=erratic_cadence.install)
    else:
        code = killing.run(yard, AUTO, kill_at_call=dice.randint(150, 400), prepare=erratic_cadence.install)
        assert code == -signal.SIGKILL
    homes = list(find_homes(Yard(yard))) if yard.exists() else []
    if not homes or RunReader(Yard(yard), homes[0]).snapshot.state != "finished":
        home = homes[0] if homes else None
        assert killing.run(yard, AUTO, home=home, prepare=erratic_cadence.install) == 0
    found = left_behind(yard)
    assert found.pop("steps")[-1] == expected["steps"][-1]
    assert found == {key: value for key, value in expected.items() if key != "steps"}


@pytest.mark.stress
@pytest.mark.parametrize("seed", range(100, 300))
def test_two_hundred_kills(tmp_path, never_killed, seed):
    kill_and_compare(tmp_path, never_killed, seed)


def test_weights_of_two_seeds_differ(tmp_path):
    """So that the comparisons above can fail."""
    results = []
    for seed in (0, 1):
        yard = tmp_path / str(seed) / "yard"
        yard.parent.mkdir()
        assert killing.run(yard, [*OVERRIDES, f"run.seed={seed}"]) == 0
        results.append(left_behind(yard)["weights"])
    assert results[0] != results[1]
