"""Against the real wandb, offline: what it wrote is read back from its own file."""

from __future__ import annotations

import json
import math
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from wandb_files import Logged, read

from trainyard.errors import ConfigError
from trainyard.running import start_files
from trainyard.runs import environment
from trainyard.runs.snapshot import Snapshot
from trainyard.tracking.wandb import WandbSink, check_installed
from trainyard.training.events import EpochEnded, StepLogged
from trainyard.training.progress import Best

CONFIG = {"training": {"epochs": 3, "rates": [0.1, None]}, "recipe": "emotions", "seed": None}


def _isolate(patch: pytest.MonkeyPatch, home: Path) -> None:
    for key in [key for key in os.environ if key.startswith("WANDB_")]:
        patch.delenv(key)
    patch.setenv("HOME", str(home))
    patch.setenv("WANDB_MODE", "offline")


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No login, no settings of the user's, no network."""
    _isolate(monkeypatch, tmp_path / "home")


def sink(directory: Path, troubles: list[str], **others: Any) -> WandbSink:
    return WandbSink(
        directory,
        project="emotions",
        name="base",
        id="k3v9x0aq",
        config=CONFIG,
        on_trouble=troubles.append,
        tags=["nlp", "v 2"],
        notes="a first try",
        **others,
    )


def epoch(number: int, *, val: dict[str, float]) -> EpochEnded:
    train = {"loss": 1 / number, "learning_rate": 0.1}
    return EpochEnded(number * 10, number, 3, train, val, Best(), True, None, 1.0, 0.0)


def logged(directory: Path) -> Logged:
    (path,) = directory.glob("wandb/offline-run-*/run-k3v9x0aq.wandb")
    return read(path)


def values(row: dict[str, Any]) -> dict[str, Any]:
    """A row of history or the summary, without what wandb adds of itself."""
    return {key: value for key, value in row.items() if key in ("_step", "epoch") or not key.startswith("_")}


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Logged:
    """A short run that went well."""
    directory, troubles = tmp_path_factory.mktemp("run"), []
    with pytest.MonkeyPatch.context() as patch:
        _isolate(patch, directory / "home")
        with sink(directory, troubles, commit="c0ffee", remote="https://example.com/r.git") as tracker:
            tracker.emit(StepLogged(5, 0.5, {"step_loss": 2.5, "learning_rate": 0.1}))
            tracker.emit(epoch(1, val={"loss": 0.25, "f1_macro": 0.5}))
            tracker.emit(StepLogged(15, 1.5, {"step_loss": math.nan}))
            tracker.emit(epoch(2, val={}))
            tracker.summary({"best_epoch": 1, "test_f1_macro": 0.75, "per_class": {"joy": {"f1_score": 0.5}}})
    assert troubles == []
    return logged(directory)


def test_who_the_run_is(kept: Logged) -> None:
    assert (kept.id, kept.project, kept.name, kept.notes) == ("k3v9x0aq", "emotions", "base", "a first try")
    assert (kept.tags, kept.resume, kept.config) == (["nlp", "v 2"], True, CONFIG)
    assert (kept.commit, kept.remote) == ("c0ffee", "https://example.com/r.git")
    assert (kept.environment["program"], kept.environment.get("args", [])) == (sys.argv[0], sys.argv[1:])
    assert kept.exit_code == 0


def test_names_values_steps_and_summary(kept: Logged) -> None:
    rows = [values(row) for row in kept.history]
    assert math.isnan(rows[2].pop("train/step_loss"))
    assert rows == [
        {"_step": 5, "epoch": 0.5, "train/step_loss": 2.5, "train/learning_rate": 0.1},
        {"_step": 10, "epoch": 1, "train/loss": 1.0, "train/learning_rate": 0.1, "val/loss": 0.25, "val/f1_macro": 0.5},
        {"_step": 15, "epoch": 1.5},
        {"_step": 20, "epoch": 2, "train/loss": 0.5, "train/learning_rate": 0.1},
    ]
    assert kept.summary["best_epoch"] == 1
    assert kept.summary["test_f1_macro"] == 0.75
    assert kept.summary["per_class"] == {"joy": {"f1_score": 0.5}}
    assert (kept.summary["val/loss"], kept.summary["train/loss"]) == (0.25, 0.5)


def test_our_own_files_of_the_same_names_say_the_same(kept: Logged) -> None:
    assert {key: entry["value"] for key, entry in start_files.wandb_config(CONFIG).items()} == kept.config
    ours = start_files.wandb_metadata(environment.capture(), started="2026-01-31T20:43:01.123Z")
    theirs = {"args": [], **kept.environment}  # protocol buffers leave empty lists out
    same = ("os", "python", "program", "args", "host", "executable", "cpu_count", "cpu_count_logical", "memory", "cpu")
    assert {key: ours[key] for key in same} == {key: theirs[key] for key in same}
    assert ours["disk"]["/"]["total"] == theirs["disk"]["/"]["total"]
    summary = start_files.wandb_summary(Snapshot(metrics={"train_loss": 0.5, "val_f1_macro": 0.5}), {"best_epoch": 1})
    assert set(summary) <= set(kept.summary) | {"_wandb"}
    assert "_wandb/runtime" in kept.summary


SCRIPT = """
import json, os, random, signal, sys, threading
from pathlib import Path
import numpy, torch
from trainyard.tracking.wandb import WandbSink
from trainyard.training.events import StepLogged

def state():
    return [
        str(sys.excepthook), str(sys.exit), {k: v for k, v in os.environ.items() if "WANDB" in k},
        [str(signal.getsignal(n)) for n in range(1, 32)], str(random.getstate()),
        str(numpy.random.get_state()), torch.get_rng_state().tolist(), "wandb" in sys.modules,
    ]

before = state()
tracker = WandbSink(Path(sys.argv[1]), project="emotions", name="base", id="k3v9x0aq", config={}, on_trouble=print)
for step in range(500):
    tracker.emit(StepLogged(step, 0.0, {"step_loss": step / 2}))
if sys.argv[2] == "finish":
    tracker.close(failed=True)
    print(json.dumps([before == state(), [t.name for t in threading.enumerate()]]))
else:
    while tracker._process is None or not tracker._forwarder._queue.empty():
        pass
    os.kill(os.getpid(), signal.SIGKILL)
"""


def script(directory: Path, ending: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", "-c", SCRIPT, str(directory), ending]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_nothing_of_wandb_is_left_in_the_training(tmp_path: Path) -> None:
    """No output on the terminal, no hook, handler, thread or variable, no random number drawn."""
    done = script(tmp_path, "finish")
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout) == [True, ["MainThread"]]
    assert logged(tmp_path).exit_code == 1  # the run had failed


def test_of_a_killed_training_wandb_has_every_row(tmp_path: Path) -> None:
    assert script(tmp_path, "kill").returncode == -9
    deadline = time.monotonic() + 30
    while (run := logged(tmp_path)).exit_code is None and time.monotonic() < deadline:
        time.sleep(0.1)
    assert run.exit_code == 1
    assert [row["_step"] for row in run.history] == list(range(500))
    assert [row["train/step_loss"] for row in run.history] == [step / 2 for step in range(500)]


@pytest.fixture
def silent_server() -> Iterator[str]:
    """Takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def test_a_network_that_hangs_costs_one_warning_and_nothing_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, silent_server: str
) -> None:
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setenv("WANDB_API_KEY", "0123456789" * 4)
    monkeypatch.setenv("WANDB_BASE_URL", silent_server)
    troubles: list[str] = []
    with sink(tmp_path, troubles, timeout_s=2.0) as tracker:
        deadline = time.monotonic() + 30
        tracker.emit(StepLogged(1, 0.1, {"step_loss": 2.5}))
        assert troubles == []  # long before the failure is known
        while not troubles and time.monotonic() < deadline:
            tracker.emit(StepLogged(2, 0.2, {"step_loss": 1.5}))
            time.sleep(0.01)
    (trouble,) = troubles
    assert "`wandb sync`" in trouble
    assert str(tmp_path / "wandb") in trouble
    assert "\n" not in trouble
    run = logged(tmp_path)
    assert [values(row) for row in run.history] == [
        {"_step": 1, "epoch": 0.1, "train/step_loss": 2.5},
        {"_step": 2, "epoch": 0.2, "train/step_loss": 1.5},
    ]
    assert (run.id, run.exit_code) == ("k3v9x0aq", 0)


def test_without_the_package_a_config_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    check_installed()
    monkeypatch.setattr(sys, "path", [])
    with pytest.raises(ConfigError) as raised:
        check_installed()
    assert raised.value.keys == ("tracker",)
    assert "pip install 'trainyard[tracking]'" in raised.value.remedy
