"""Two processes must come to what one comes to; each test trains for real."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import erratic_cadence
import killing
import pytest
import torch
from two_processes import run as run_two

from trainyard.errors import ConfigError
from trainyard.runs import RunReader, Yard, find_homes
from trainyard.training.checkpoint.read import load
from trainyard.training.process import Process, start

# 1,177 items: the last step has 25, which two cannot share evenly.
COMMON = [
    "model=mlp",
    "model.hidden=[16]",
    "run.device=cpu",
    "outputs.plots=false",
    "tracker=none",
    "training.epochs=2",
    "training.log_every=7",
    "run.project=p",
    "data.split.val_fraction=0.125",
    "data.split.test_fraction=0.22",
]


def only_run(yard: Path) -> RunReader:
    homes = list(find_homes(Yard(yard)))
    assert len(homes) == 1, "one run, whatever the number of processes"
    return RunReader(Yard(yard), homes[0])


def left_behind(reader: RunReader) -> dict[str, Any]:
    last = reader.snapshot.checkpoints[-1]
    loaded = load(reader.resolve(last.paths["checkpoint"]))
    rows = [{k: v for k, v in row.items() if k != "time"} for row in reader.history()]
    return {
        "step": last.step,
        "weights": loaded.model,
        "rng": loaded.rng,
        "rows": rows,
        "summary": reader.snapshot.summary,
    }


def fresh(tmp_path: Path, name: str) -> Path:
    (tmp_path / name).mkdir()
    return tmp_path / name / "yard"


def assert_close(two: Any, one: Any) -> None:
    if isinstance(two, dict):
        assert two.keys() == one.keys()
        for key in two:
            assert_close(two[key], one[key])
    elif isinstance(two, list):
        assert len(two) == len(one)
        for pair in zip(two, one, strict=True):
            assert_close(*pair)
    elif isinstance(two, torch.Tensor):
        torch.testing.assert_close(two, one, rtol=0, atol=1e-5)
    else:
        assert two == (pytest.approx(one, abs=1e-5) if isinstance(one, float) else one)


@pytest.mark.parametrize(
    "options",
    [
        [],
        [
            "training.class_weights=[0.2,3,1,1,0.5,1,1,2,1,1]",
            "training.label_smoothing=0.1",
            "training.grad_clip=0.5",
            "training.grad_accumulation=3",
            "training/scheduler=cosine",
            "training.scheduler_interval=step",
        ],
    ],
    ids=["plain", "weighted, smoothed, clipped, accumulated"],
)
def test_two_processes_come_to_what_one_comes_to(tmp_path: Path, options: list[str]) -> None:
    one, two = fresh(tmp_path, "one"), fresh(tmp_path, "two")
    options = [*COMMON, *options, "training/optimizer=sgd", "training.learning_rate=0.05"]
    assert killing.run(one, [*options, "training.batch_size=64"]) == 0
    assert run_two(two, [*options, "training.batch_size=32"]) == [0, 0]
    expected, found = left_behind(only_run(one)), left_behind(only_run(two))
    assert len(found.pop("rng")) == 2
    assert len(expected.pop("rng")) == 1
    assert_close(found, expected)
    predictions = [
        reader.resolve(next(r.path for r in reader.snapshot.records if r.kind == "final_predictions"))
        for reader in map(only_run, (one, two))
    ]
    ids = [[row["id"] for row in csv.DictReader(path.read_text().splitlines())] for path in predictions]
    assert ids[0] == ids[1]


def test_what_is_measured_is_what_is_kept_when_running_statistics_differ(tmp_path: Path) -> None:
    """Batch norm: each process has statistics of its own; the checkpoint has one of them."""
    from trainyard.running.evaluate import evaluate_run

    yard = fresh(tmp_path, "two")
    options = [*COMMON, "model=cnn", "model.channels=[4,8]", "training.epochs=1", "training.batch_size=100"]
    options = [option for option in options if option not in ("model=mlp", "model.hidden=[16]", "training.epochs=2")]
    assert run_two(yard, options) == [0, 0]
    reader = only_run(yard)
    (told,) = [row for row in reader.history() if row["split"] == "val"]
    found = evaluate_run(reader, "val", device="cpu")
    assert found.metrics["loss"] == pytest.approx(told["loss"], abs=1e-6)


def test_killed_and_resumed_in_two_processes_it_is_bit_identical(tmp_path: Path) -> None:
    options = [*COMMON, "model.dropout=0.3", "checkpoint.every_steps=6", "training.epochs=3", "training.batch_size=32"]
    options.remove("training.epochs=2")
    whole, killed = fresh(tmp_path, "whole"), fresh(tmp_path, "killed")
    assert run_two(whole, options) == [0, 0]
    codes = run_two(killed, options, kill_at_call=300)
    assert codes[0] == -signal.SIGKILL
    assert codes[1] != 0
    reader = only_run(killed)
    assert reader.snapshot.state == "crashed"
    assert 0 < reader.snapshot.checkpoints[-1].step < 60
    assert run_two(killed, options, home=reader.home) == [0, 0]
    expected, found = left_behind(only_run(whole)), left_behind(only_run(killed))
    for part in (expected, found):
        part["weights"] = {name: tensor.numpy().tobytes() for name, tensor in part["weights"].items()}
        part["rng"] = [state["torch"].numpy().tobytes() for state in part["rng"]]
    assert found == expected
    assert found["rng"][0] != found["rng"][1], "each process draws its own numbers"


def test_a_cadence_that_differs_between_two_processes_asks_both_for_the_same_checkpoints(tmp_path: Path) -> None:
    """`checkpoint.every=auto` follows the clock of each; what the first finds due is due for all, or they hang."""
    options = [*COMMON, "checkpoint.every_epochs=null", "training.batch_size=32"]
    whole, killed = fresh(tmp_path, "whole"), fresh(tmp_path, "killed")
    assert run_two(whole, options, prepare=erratic_cadence.install) == [0, 0]
    assert run_two(killed, options, prepare=erratic_cadence.install, kill_at_call=300)[0] == -signal.SIGKILL
    reader = only_run(killed)
    assert 0 < reader.snapshot.checkpoints[-1].step < 40
    assert run_two(killed, options, home=reader.home, prepare=erratic_cadence.install) == [0, 0]
    expected, found = (load_last(only_run(yard)) for yard in (whole, killed))
    assert found == expected


def load_last(reader: RunReader) -> tuple[int, dict[str, bytes]]:
    """Step and weights of the last checkpoint."""
    last = reader.snapshot.checkpoints[-1]
    weights = load(reader.resolve(last.paths["checkpoint"])).model
    return last.step, {name: tensor.numpy().tobytes() for name, tensor in weights.items()}


def test_both_stop_early_together(tmp_path: Path) -> None:
    yard = fresh(tmp_path, "two")
    options = [*COMMON, "training.learning_rate=0.5", "training.epochs=30", "training.early_stopping.patience=1"]
    options.remove("training.epochs=2")
    assert run_two(yard, options) == [0, 0]
    snapshot = only_run(yard).snapshot
    assert snapshot.state == "finished"
    assert snapshot.epoch < 30


def test_both_stop_when_one_is_asked_to(tmp_path: Path) -> None:
    yard = fresh(tmp_path, "two")
    options = [*COMMON, "training.epochs=1000"]
    options.remove("training.epochs=2")
    run_two(yard, options, stop=True)
    errors = [(yard.parent / f"errors-{rank}.txt").read_text() for rank in (0, 1)]
    assert all("Interrupted: Stopped on request" in error for error in errors)
    snapshot = only_run(yard).snapshot
    assert snapshot.state == "stopped"
    assert snapshot.checkpoints[-1].resumable


def test_resumed_by_one_process_it_says_that_it_is_not_the_same(tmp_path: Path) -> None:
    yard = fresh(tmp_path, "two")
    run_two(yard, [*COMMON, "checkpoint.every_steps=6"], kill_at_call=150)
    reader = only_run(yard)
    assert reader.snapshot.checkpoints
    assert killing.run(yard, [], home=reader.home) == 0
    snapshot = only_run(yard).snapshot
    assert snapshot.state == "finished"
    assert any("not bit-identical" in warning for warning in snapshot.warnings)


def test_under_torchrun(tmp_path: Path) -> None:
    """The command that people type."""
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--nproc_per_node=2",
        "--rdzv_backend=c10d",
        "--rdzv_endpoint=127.0.0.1:0",
        "--local_addr=127.0.0.1",
        "-m",
        "trainyard",
        "train",
        "digits",
        *COMMON,
        "training.epochs=1",
    ]
    command.remove("training.epochs=2")
    done = subprocess.run(
        command, cwd=tmp_path, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    snapshot = only_run(tmp_path / "outputs").snapshot
    assert snapshot.state == "finished"
    assert done.stdout.count("epoch 1/1") == 1, "one of them speaks"
    assert done.stdout.count("kept in") == 1


# -- one process


def test_alone_every_collective_is_the_value_itself() -> None:
    process = Process(0, 1, torch.device("cpu"))
    value, model = torch.ones(2), torch.nn.Linear(1, 1)
    assert process.is_main
    assert process.sum(value) is value
    assert process.gather("x") == ["x"]
    assert process.share("x") == "x"
    assert process.wrap(model) is model


@pytest.mark.parametrize("device", ["cuda:99", "tpu", "mps:7x", ""])
def test_a_device_that_is_not_there(device: str) -> None:
    with pytest.raises(ConfigError) as caught:
        start(device)
    assert caught.value.keys == ("run.device",)
    assert caught.value.value == device
    assert "auto" in caught.value.remedy


def test_a_process_of_one_needs_no_group(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    process = start("cpu")
    assert (process.rank, process.world, process.device.type) == (0, 1, "cpu")
    assert not torch.distributed.is_initialized()
