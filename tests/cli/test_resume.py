"""`trainyard resume`, after a kill, a signal, and a damaged checkpoint; and what a signal does to a training."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from command_line import SMALL, Kept, Training, flip_a_byte, left_behind

from trainyard.errors import CheckpointError, UnknownCheckpointError
from trainyard.runs import RunReader


@pytest.fixture(scope="module")
def never_killed(tmp_path_factory) -> RunReader:
    """What `killed` would have been."""
    yard = Kept(tmp_path_factory.mktemp("whole") / "yard")
    changes = [*SMALL, "run.project=p", "run.name=killed", "checkpoint.keep_last=null", "training.epochs=8"]
    assert yard("train", *changes, "--quiet").code == 0
    return yard.run("killed")


def test_a_killed_run_ends_as_if_it_never_was(yard: Kept, never_killed):
    outcome = yard("resume", "killed")
    assert outcome.code == 0
    assert outcome.out.splitlines()[0] == "resuming killed from step 100"
    assert outcome.err == ""
    run = yard.run("killed")
    assert run.snapshot.state == "finished"
    assert [attempt.state for attempt in run.snapshot.attempts] == ["crashed", "finished"]
    assert left_behind(run) == left_behind(never_killed)
    assert yard("verify").code == 0


def test_last_names_the_newest_run_whatever_its_state(yard: Kept):
    outcome = yard("resume", "last")
    assert outcome.code == 2
    assert "The loss became nan" in outcome.err, "the newest run diverges again"


def test_quiet(yard: Kept):
    outcome = yard("resume", "killed", "--quiet")
    assert (outcome.code, outcome.out, outcome.err) == (0, "", "")


def test_a_damaged_newest_checkpoint_is_set_aside_and_the_one_before_used(yard: Kept, never_killed):
    damaged = yard.root / "p/digits/killed/checkpoint-100/model.safetensors"
    flip_a_byte(damaged, at=3000)
    outcome = yard("resume", "killed")
    assert outcome.code == 0
    first = outcome.out.splitlines()[0]
    assert "step 100" in first
    assert "checkpoint-100/model.safetensors" in outcome.out
    assert "killed from step 80" in outcome.out
    log = next((yard.root / "p/digits/killed").glob("*.log")).read_text()
    assert all(line.removeprefix("warning: ") in log for line in outcome.out.splitlines()), "all of it is in the log"
    assert (yard.root / "p/digits/killed/checkpoint-100.corrupt").is_dir()
    run = yard.run("killed")
    assert left_behind(run) == left_behind(never_killed)
    assert any("step 100 was damaged" in warning for warning in run.snapshot.warnings)
    assert "damaged" in yard("show", "killed").out


def test_all_checkpoints_damaged_is_an_error_and_nothing_is_lost(yard: Kept):
    for folder in (yard.root / "p/digits/killed").glob("checkpoint-*"):
        flip_a_byte(folder / "model.safetensors", at=3000)
    outcome = yard("resume", "killed")
    assert outcome.code == 1
    assert isinstance(outcome.error, CheckpointError)
    assert outcome.error.value == [100, 80, 60, 40, 20]
    assert outcome.error.place == "killed"
    assert "`trainyard train --like" in outcome.error.remedy
    assert yard.run("killed").snapshot.state == "crashed"
    assert len(list((yard.root / "p/digits/killed").glob("checkpoint-*"))) == 5


def test_step_goes_back_once_later_ones_are_cleaned_away(yard: Kept, never_killed):
    outcome = yard("resume", "killed", "--step", "60")
    assert outcome.code == 2
    assert "checkpoints after step 60: 80, 100" in outcome.err
    commands = [part.split()[1:] for part in outcome.err.split("`") if part.startswith("trainyard clean")]
    assert len(commands) == 2
    for command in commands:
        assert yard(*command, "--yes").code == 0
    outcome = yard("resume", "killed", "--step", "60")
    assert "resuming killed from step 60" in outcome.out
    assert left_behind(yard.run("killed")) == left_behind(never_killed)


def test_a_step_that_is_not_there(yard: Kept):
    outcome = yard("resume", "killed", "--step", "101")
    assert outcome.code == 2
    assert isinstance(outcome.error, UnknownCheckpointError)
    assert (outcome.error.value, outcome.error.place) == (101, "killed")
    assert "20, 40, 60, 80, 100" in outcome.error.remedy


# -- signals


EPOCHS = 25


@pytest.fixture
def said(tmp_path) -> Path:
    """Where a training says what went wrong."""
    return tmp_path / "stderr.txt"


@pytest.fixture(scope="module")
def never_stopped(tmp_path_factory) -> RunReader:
    yard = Kept(tmp_path_factory.mktemp("whole") / "yard")
    assert yard("train", *SMALL, "run.name=stopped", f"training.epochs={EPOCHS}", "--quiet").code == 0
    return yard.run("stopped")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "sigterm"])
def test_a_signal_stops_after_a_step_with_a_checkpoint_and_resume_goes_on_exactly(empty, number, never_stopped, said):
    code = Training(empty, f"training.epochs={EPOCHS}", err=str(said)).send(number)
    err = said.read_text()
    assert code == 130
    assert "Stopped on request after" in err
    assert "`trainyard resume" in err
    assert "Traceback" not in err
    run = empty.run("stopped")
    assert run.snapshot.state == "stopped"
    stopped_at = run.history()[-1]["step"]
    newest = run.snapshot.checkpoints[-1]
    assert newest.step >= stopped_at, "the checkpoint must be of the very step where it stopped"
    assert run.snapshot.epoch < EPOCHS
    outcome = empty("resume", "stopped")
    assert outcome.code == 0
    assert f"resuming stopped from step {newest.step}" in outcome.out
    assert left_behind(empty.run("stopped"))["history"] == left_behind(never_stopped)["history"]
    assert left_behind(empty.run("stopped"))["predictions"] == left_behind(never_stopped)["predictions"]
    assert left_behind(empty.run("stopped"))["weights"][-1] == left_behind(never_stopped)["weights"][-1]


def test_a_second_ctrl_c_ends_at_once(empty, said):
    training = Training(empty, "training.epochs=2000", err=str(said))
    # stopped meanwhile, so that both arrive before the next step
    code = training.send(signal.SIGSTOP, signal.SIGINT, signal.SIGTERM, signal.SIGCONT)
    err = said.read_text()
    assert code == 130
    assert "Traceback" not in err
    assert empty.run("stopped").snapshot.state == "stopped"
