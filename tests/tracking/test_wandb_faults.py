"""A wandb that fails in every way it can: the training gets one warning, and never waits."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

import trainyard.tracking.wandb
from trainyard.tracking.wandb import WandbSink
from trainyard.training.events import StepLogged

# Replaces the package in the separate process; {here} is where it stores what it receives.
FAKE = """
import json, os, sys, time
from pathlib import Path
here = Path({here!r})

class Settings:
    model_fields = {{"silent": None, "console": None}}
    def __init__(self, **values): assert set(values) == set(self.model_fields), values

class Run:
    def __init__(self): self.summary = {{}}
    def log(self, row, step):
        {log}
        with (here / "rows").open("a") as file: file.write(json.dumps([step, row]) + "\\n")
    def finish(self, exit_code):
        {finish}
        (here / "finished").write_text(json.dumps([exit_code, self.summary]))

def wait(name):
    (here / "waiting").write_text(str(os.getpid()))
    while not (here / name).exists(): time.sleep(0.01)

def init(**facts):
    print("wandb: hello!"); print("wandb: hello!", file=sys.stderr); os.system("echo hello from below")
    {init}
    return Run()
"""


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Puts a wandb with the given lines of code in the place of the real one."""

    def make(init: str = "pass", log: str = "pass", finish: str = "pass") -> Path:
        here = tmp_path / "fake"
        here.mkdir()
        (here / "wandb.py").write_text(FAKE.format(here=str(here), init=init, log=log, finish=finish))
        monkeypatch.syspath_prepend(str(here))
        return here

    return make


def sink(directory: Path, troubles: list[str], timeout_s: float = 20.0) -> WandbSink:
    return WandbSink(
        directory, project="p", name="n", id="k3v9x0aq", config={}, on_trouble=troubles.append, timeout_s=timeout_s
    )


def step(number: int) -> StepLogged:
    return StepLogged(number, number / 10, {"step_loss": 0.5})


def steps(here: Path) -> list[int]:
    path = here / "rows"
    return [json.loads(line)[0] for line in path.read_text().splitlines()] if path.exists() else []


def wait_for(path: Path) -> str:
    deadline = time.monotonic() + 30
    while not (path.exists() and path.read_text()):
        assert time.monotonic() < deadline, path
        time.sleep(0.01)
    return path.read_text()


def emit_until_reported(tracker: WandbSink, troubles: list[str]) -> None:
    deadline = time.monotonic() + 30
    while not troubles:
        assert time.monotonic() < deadline
        tracker.emit(step(1))
        time.sleep(0.001)


def test_without_faults_nothing_is_printed(tmp_path: Path, fake: Any, capfd: pytest.CaptureFixture[str]) -> None:
    here, troubles = fake(), []
    with sink(tmp_path, troubles) as tracker:
        tracker.emit(step(1))
        tracker.summary({"best_epoch": 3})
    assert (troubles, steps(here)) == ([], [1])
    assert json.loads((here / "finished").read_text()) == [0, {"best_epoch": 3}]
    assert tuple(capfd.readouterr()) == ("", "")


@pytest.mark.parametrize(
    ("faults", "why"),
    [
        ({"init": "raise ValueError('no such\\n project')"}, "ValueError: no such project"),
        ({"log": "raise OSError('disk gone')"}, "OSError: disk gone"),
        ({"log": "os._exit(3)"}, "process ended"),
        ({"init": "os._exit(3)"}, "process ended"),
    ],
)
def test_an_exception_is_reported_once_while_the_training_goes_on(
    tmp_path: Path, fake: Any, faults: dict[str, str], why: str
) -> None:
    fake(**faults)
    troubles: list[str] = []
    with sink(tmp_path, troubles) as tracker:
        emit_until_reported(tracker, troubles)
        for number in range(100):
            tracker.emit(step(number))
        tracker.summary({"best_epoch": 3})
    (trouble,) = troubles
    assert why in trouble
    assert "\n" not in trouble


def test_an_exception_at_the_end_is_reported_once(tmp_path: Path, fake: Any) -> None:
    fake(finish="raise TimeoutError('still uploading')")
    troubles: list[str] = []
    with sink(tmp_path, troubles) as tracker:
        tracker.emit(step(1))
    (trouble,) = troubles
    assert "TimeoutError: still uploading" in trouble


def test_a_package_that_cannot_be_imported(tmp_path: Path, fake: Any) -> None:
    (fake() / "wandb.py").write_text("raise ImportError('protobuf is too old')")
    troubles: list[str] = []
    sink(tmp_path, troubles).close()
    (trouble,) = troubles
    assert "ImportError: protobuf is too old" in trouble


def test_emitting_never_waits_for_a_wandb_that_does(tmp_path: Path, fake: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """It starts only after everything was emitted: many times more than queue and pipe can hold."""
    monkeypatch.setattr(trainyard.tracking.wandb, "_QUEUE", 50)
    here, troubles = fake(init="wait('go')"), []
    tracker = sink(tmp_path, troubles)
    wait_for(here / "waiting")
    for number in range(5000):
        tracker.emit(step(number))
    assert (troubles, steps(here)) == ([], [])
    (here / "go").touch()
    tracker.summary({"best_epoch": 3})
    tracker.close()
    assert steps(here) == list(range(50))  # the newest were dropped
    assert json.loads((here / "finished").read_text()) == [0, {"best_epoch": 3}]
    (trouble,) = troubles
    assert "4950" in trouble


@pytest.mark.parametrize("where", ["init", "log", "finish"])
def test_closing_gives_up_on_what_hangs_and_leaves_no_process(tmp_path: Path, fake: Any, where: str) -> None:
    here, troubles = fake(**{where: "wait('never')"}), []
    tracker = sink(tmp_path, troubles, timeout_s=0.1)
    if where != "finish":
        for number in range(3000):  # more than a pipe holds
            tracker.emit(step(number))
        wait_for(here / "waiting")
    tracker.close()
    (trouble,) = troubles
    assert "0.2 s" in trouble
    assert tracker._process is not None
    assert tracker._process._child.poll() is not None
    assert not tracker._forwarder._thread.is_alive()


def test_a_killed_process_is_one_warning(tmp_path: Path, fake: Any) -> None:
    here, troubles = fake(log="wait('never')"), []
    with sink(tmp_path, troubles) as tracker:
        tracker.emit(step(1))
        os.kill(int(wait_for(here / "waiting")), signal.SIGKILL)
        emit_until_reported(tracker, troubles)
    (trouble,) = troubles
    assert "process ended" in trouble


def test_signals_to_the_whole_job_do_not_end_it(tmp_path: Path, fake: Any) -> None:
    here, troubles = fake(log="wait('go')"), []
    with sink(tmp_path, troubles) as tracker:
        tracker.emit(step(1))
        pid = int(wait_for(here / "waiting"))
        assert os.getsid(pid) != os.getsid(0)  # Ctrl-C at the terminal does not even reach it
        os.kill(pid, signal.SIGTERM)
        os.kill(pid, signal.SIGINT)
        (here / "go").touch()
    assert (troubles, steps(here)) == ([], [1])


def test_what_is_no_json_is_a_warning_too(tmp_path: Path, fake: Any) -> None:
    fake()
    troubles: list[str] = []
    with sink(tmp_path, troubles) as tracker:
        tracker.summary({("a", "b"): 1})  # type: ignore[dict-item]
    (trouble,) = troubles
    assert "keys must be" in trouble
