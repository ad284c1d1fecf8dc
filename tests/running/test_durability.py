"""Full disks, rotten bytes, moved yards, changed data, failing system calls: said clearly, and nothing lost."""

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import faults
import killing
import numpy as np
import pytest
from rich.console import Console
from tiny_images import tiny_npz

import trainyard
from trainyard import durable
from trainyard.checkpoints import problems
from trainyard.config.compose import compose
from trainyard.errors import (
    ChangedDataError,
    CheckpointError,
    DiskFullError,
    Interrupted,
    NotResumableError,
    TrainyardError,
)
from trainyard.layouts import LAYOUTS
from trainyard.running import attempt, start_files
from trainyard.running import resume as resuming
from trainyard.running import train as training
from trainyard.running.evaluate import evaluate_run
from trainyard.runs import RunReader, Yard, find_homes
from trainyard.training.checkpoint.read import load
from trainyard.upkeep.verify import Tally, verify_run, verify_yard

# 40 steps, four checkpoints of each epoch.
PLAIN = [
    "model=mlp",
    "model.hidden=[8]",
    "model.dropout=0.2",
    "training.epochs=2",
    "training.log_every=9",
    "checkpoint.every_steps=10",
    "outputs.plots=false",
    "run.project=p",
    "run.device=cpu",
]


class Crash(BaseException):
    """As sudden as a kill, in this process."""


def train(yard: Path, *overrides: str, console: Console | None = None) -> None:
    training.train(compose("digits", [*PLAIN, *overrides]), yard, console=console)


def only_run(yard: Path) -> RunReader:
    (home,) = find_homes(Yard(yard))
    return RunReader(Yard(yard), home)


def outcome(yard: Path) -> dict[str, Any]:
    """What must be the same as in a run that nothing happened to."""
    run = only_run(yard)
    assert run.snapshot.state == "finished"
    last = run.locate(run.snapshot.checkpoints[-1])
    assert last is not None
    loaded = load(last)
    texts = {
        str(sorted(record.facts.items())): run.resolve(record.path).read_bytes()
        for record in run.snapshot.records
        if record.kind in ("final_predictions", "per_class")
    }
    return {
        "steps": [c.step for c in run.snapshot.checkpoints],
        "weights": {name: tensor.numpy().tobytes() for name, tensor in loaded.model.items()},
        "history": [{k: v for k, v in row.items() if k != "time"} for row in run.history()],
        "summary": run.snapshot.summary,
        "texts": texts,
    }


@contextlib.contextmanager
def crashing_at(step: int, monkeypatch: pytest.MonkeyPatch, error: BaseException | None = None) -> Iterator[None]:
    """Training goes down once this step is done and everything saved so far is on disk."""
    real = attempt._fit

    def fit(setup: Any, checkpointer: Any, sinks: Any, progress: Any, asked: Any) -> None:
        inner = checkpointer.save

        def save(request: Any) -> None:
            inner(request)
            if request.progress.step >= step:
                checkpointer.wait()
                raise error or Crash

        checkpointer.save = save
        real(setup, checkpointer, sinks, progress, asked)

    with monkeypatch.context() as patched:
        patched.setattr(attempt, "_fit", fit)
        yield


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    yard = tmp_path_factory.mktemp("undisturbed") / "yard"
    train(yard)
    return outcome(yard)


@pytest.fixture
def crashed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A yard with a run that has checkpoints of the steps 10, 20 and 30, and no end."""
    yard = tmp_path / "yard"
    with crashing_at(30, monkeypatch), pytest.raises(Crash):
        train(yard)
    assert [c.step for c in only_run(yard).snapshot.checkpoints] == [10, 20, 30]
    return yard


def resume(yard: Path, console: Console | None = None, **options: Any) -> None:
    run = only_run(yard)
    resuming.resume(run.yard, run.home, console=console, **options)


def said() -> tuple[Console, Callable[[], str]]:
    out = io.StringIO()
    return Console(file=out, width=300), out.getvalue


def no_litter(yard: Path) -> bool:
    return not [path for path in yard.rglob("*") if durable.is_temporary(path)]


# -- full disks


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 24 MB, really full when it is full."""
    (tmp_path / "disk").mkdir()
    try:
        with faults.tmpfs(tmp_path / "disk", 24) as disk:
            yield disk
    except faults.NotPermittedError as error:
        pytest.skip(str(error))


LARGE = ("model.hidden=[512,512]", "checkpoint.keep_last=null")  # 1.2 MB of weights, 3.6 MB a checkpoint


@pytest.mark.parametrize("predicted", [True, False], ids=["foreseen", "unforeseen"])
@pytest.mark.parametrize("layout", ["grouped", "shared", "files"])
def test_a_full_disk(small_disk: Path, layout: str, predicted: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Foreseen or in the middle of a file: the last good checkpoint is whole, and resuming works once there is room."""
    yard = small_disk / "yard"
    filler = small_disk / "filler"
    filler.write_bytes(bytes(14 << 20))
    if not predicted:
        monkeypatch.setattr(durable.calls, "free_bytes", lambda directory: 1 << 40)
    options = (*LARGE, f"layout={layout}")
    with pytest.raises(DiskFullError) as caught:
        train(yard, *options)
    assert caught.value.exit_code == 1
    assert caught.value.remedy
    run = only_run(yard)
    assert run.snapshot.state in ("failed", "crashed"), "crashed: when not even the end fits into the journal"
    good = [c.step for c in run.snapshot.checkpoints]
    assert good
    assert good == [10, 20, 30, 40][: len(good)]
    assert 40 not in good
    for checkpoint in run.snapshot.checkpoints:
        assert problems(run, checkpoint) == []
    assert no_litter(yard)
    filler.unlink()
    monkeypatch.undo()
    resume(yard)
    run = only_run(yard)
    assert run.snapshot.state == "finished"
    assert run.snapshot.attempts[1].resumed_from == good[-1]
    assert [c.step for c in run.snapshot.checkpoints] == [10, 20, 30, 40]
    assert [f for f in verify_yard(run.yard, Tally()) if "log" not in f.what] == []


def _command_line(arguments: list[str], out: str) -> None:
    """`trainyard …`, its output in a file."""
    import torch

    from trainyard.cli.main import main

    torch.set_num_threads(1)
    file = os.open(out, os.O_WRONLY | os.O_CREAT)
    os.dup2(file, 1)
    os.dup2(file, 2)
    sys.argv = ["trainyard", *arguments]
    main()


def test_a_full_disk_at_the_command_line(small_disk: Path, tmp_path: Path) -> None:
    (small_disk / "filler").write_bytes(bytes(16 << 20))
    arguments = ["train", "digits", *PLAIN, *LARGE, "--yard", str(small_disk / "yard")]
    process = killing.CONTEXT.Process(target=_command_line, args=(arguments, str(tmp_path / "out.txt")))
    process.start()
    process.join(120)
    text = (tmp_path / "out.txt").read_text()
    assert process.exitcode == 1, text
    assert "The disk is full" in text
    assert "Free some space" in text
    assert "Traceback" not in text


@pytest.mark.parametrize("left", [20_000, 100_000, 250_000])
def test_an_injected_full_disk(tmp_path: Path, left: int, undisturbed: dict[str, Any]) -> None:
    """Where nothing can be mounted: all that goes through `durable` meets the end of the disk."""
    yard = tmp_path / "yard"
    with faults.disk_full(left), pytest.raises(DiskFullError):
        train(yard)
    if not yard.exists() or not list(find_homes(Yard(yard))):
        train(yard)
    else:
        run = only_run(yard)
        assert run.snapshot.state in ("failed", "crashed")
        assert all(problems(run, c) == [] for c in run.snapshot.checkpoints)
        resume(yard)
    assert outcome(yard) == undisturbed


# -- rotten bytes


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_flipped_byte(tmp_path: Path, layout: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """`verify` names the file; resuming sets it aside, says so, and goes on from the one before."""
    whole, yard = tmp_path / "whole", tmp_path / "yard"
    train(whole, f"layout={layout}")
    with crashing_at(30, monkeypatch), pytest.raises(Crash):
        train(yard, f"layout={layout}")
    run = only_run(yard)
    newest = run.snapshot.checkpoints[-1]
    path = run.resolve(newest.paths["checkpoint"])
    victim = path if path.is_file() else path / "optimizer.pt"
    faults.flip_byte(victim, -200)
    (finding,) = verify_run(run, Tally())
    assert str(victim) in finding.what
    assert "step 30" in finding.what
    assert "steps 10, 20" in finding.remedy
    console, text = said()
    resume(yard, console)
    lines = text()
    assert "checkpoint of step 30 is damaged and was set aside" in lines
    assert str(victim) in lines
    assert "resuming mlp from step 20" in lines
    assert outcome(yard) == outcome(whole)
    run = only_run(yard)
    assert any("step 30 was damaged" in warning for warning in run.snapshot.warnings)
    assert list(verify_yard(run.yard, Tally())) == []
    assert [p for p in path.parent.iterdir() if p.name.startswith(f"{path.name}.corrupt")]


def test_all_damaged(crashed: Path) -> None:
    run = only_run(crashed)
    steps = [checkpoint.step for checkpoint in run.snapshot.checkpoints]
    for checkpoint in run.snapshot.checkpoints:
        faults.flip_byte(run.resolve(checkpoint.paths["checkpoint"]) / "model.safetensors", -3)
    before = (run.home / ".run/journal.jsonl").read_bytes()
    with pytest.raises(CheckpointError) as caught:
        resume(crashed)
    assert caught.value.value == steps[::-1]
    assert "trainyard train --like" in caught.value.remedy
    assert (run.home / ".run/journal.jsonl").read_bytes() == before, "nothing was done to the run"
    assert len(list(verify_yard(run.yard, Tally()))) == 3


@pytest.mark.parametrize("file", ["rng_state.pth", "optimizer.pt", "trainer_state.json", "manifest.json"])
def test_a_missing_file_counts_as_damage(crashed: Path, file: str, undisturbed: dict[str, Any]) -> None:
    run = only_run(crashed)
    (run.resolve(run.snapshot.checkpoints[-1].paths["checkpoint"]) / file).unlink()
    resume(crashed)
    assert only_run(crashed).snapshot.attempts[1].resumed_from == 20
    assert outcome(crashed) == undisturbed


def test_a_torn_journal_and_history(crashed: Path, undisturbed: dict[str, Any]) -> None:
    run = only_run(crashed)
    for name in ("journal.jsonl", "history.jsonl"):
        with (run.home / ".run" / name).open("ab") as file:
            file.write(b'{"crc":"00000000","half')
    (run.home / ".run/run.json").write_bytes(b'{"half')
    assert only_run(crashed).snapshot.step == run.snapshot.step
    resume(crashed)
    assert outcome(crashed) == undisturbed


# -- being stopped


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("step", [13, 20])
def test_a_signal_stops_it_with_a_checkpoint_of_that_step(
    tmp_path: Path, number: int, step: int, monkeypatch: pytest.MonkeyPatch, undisturbed: dict[str, Any]
) -> None:
    """Inside an epoch, and at its end."""
    yard = tmp_path / "yard"
    real = attempt._fit

    def fit(setup: Any, checkpointer: Any, sinks: Any, progress: Any, asked: Any) -> None:
        setup.step.optimizer.register_step_post_hook(
            lambda *_: os.kill(os.getpid(), number) if progress.step == step - 1 else None
        )
        real(setup, checkpointer, sinks, progress, asked)

    with monkeypatch.context() as patched:
        patched.setattr(attempt, "_fit", fit)
        with pytest.raises(Interrupted):
            train(yard)
    run = only_run(yard)
    assert run.snapshot.state == "stopped"
    assert run.snapshot.checkpoints[-1].step == step
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL, "handlers are put back"
    resume(yard)
    found, expected = outcome(yard), dict(undisturbed)
    found.pop("steps"), expected.pop("steps")  # it has one more, and so one less of the others
    assert found == expected


def test_a_finished_run_has_nothing_to_resume(tmp_path: Path) -> None:
    train(tmp_path / "yard")
    before = (only_run(tmp_path / "yard").home / ".run/journal.jsonl").read_bytes()
    with pytest.raises(NotResumableError) as caught:
        resume(tmp_path / "yard")
    assert caught.value.value == "finished"
    assert (only_run(tmp_path / "yard").home / ".run/journal.jsonl").read_bytes() == before


def test_killed_before_its_first_files_it_has_them_after_a_resume(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, undisturbed: dict[str, Any]
) -> None:
    yard = tmp_path / "yard"

    def nothing(*_: Any) -> None:
        raise Crash

    with monkeypatch.context() as patched:
        patched.setattr(start_files, "write_start", nothing)
        with pytest.raises(Crash):
            train(yard)
    assert not (only_run(yard).home / "config.yaml").exists()
    resume(yard)
    assert outcome(yard) == undisturbed
    assert (only_run(yard).home / "config.yaml").exists()
    assert json.loads((only_run(yard).home / "environment.json").read_text())["packages"]


# -- yards that move


def looked_at(yard: Path) -> tuple[Any, ...]:
    """What the readers say of a yard, down to a fresh evaluation."""
    (run,) = trainyard.open(yard).runs()
    found = evaluate_run(only_run(yard), "val", device="cpu")
    best = run.best_checkpoint()
    assert best is not None
    files = [file for file in run.files() if "evaluation" not in file.name]
    summary = {key: value for key, value in run.summary.items() if key != "times_tested"}
    return run.id, run.state, summary, len(run.history()), len(files), found.metrics, best.step


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_yard_renamed_or_copied_works(tmp_path: Path, layout: str) -> None:
    yard = tmp_path / "yard"
    train(yard, f"layout={layout}")
    expected = looked_at(yard)
    renamed = tmp_path / "another name"
    yard.rename(renamed)
    assert looked_at(renamed) == expected
    copied = tmp_path / "deep" / "er"
    copied.mkdir(parents=True)
    for path in sorted(renamed.rglob("*")):  # as rsync does without -H: files one by one, times kept, no links
        target = copied / path.relative_to(renamed)
        target.mkdir(exist_ok=True) if path.is_dir() else shutil.copy2(path, target)
    assert looked_at(copied) == expected
    assert list(verify_yard(Yard(copied), Tally())) == []
    (copied / ".yard/index.sqlite").unlink()
    assert looked_at(copied) == expected
    shutil.rmtree(copied / ".yard")
    assert looked_at(copied)[:4] == expected[:4]


def test_a_crashed_run_in_a_moved_yard_resumes(crashed: Path, undisturbed: dict[str, Any]) -> None:
    moved = crashed.parent / "moved"
    crashed.rename(moved)
    resume(moved)
    assert outcome(moved) == undisturbed
    assert not crashed.exists()


def _as_nobody(warm: str, yard: str, errors: str) -> None:
    """Reads `yard` as a user who may not write there; `warm` first, as root, so that all is imported."""
    try:
        import torch
        from click.testing import CliRunner

        from trainyard.cli.main import app

        torch.set_num_threads(1)
        commands = [["runs"], ["show", "last"], ["verify"], ["evaluate", "last", "--split", "val", "--device", "cpu"]]
        for root in (warm, yard):
            if root == yard:
                os.setgid(65534)
                os.setuid(65534)
                assert not os.access(yard, os.W_OK)
            for command in commands:
                done = CliRunner().invoke(app, [*command, "--yard", root])
                assert done.exit_code == 0, (command, done.output, done.exception)
                assert "mlp" in done.output or command == ["verify"], done.output
            assert trainyard.open(root).run("last").history()
    except BaseException:
        Path(errors).write_text(traceback.format_exc())
        os._exit(3)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become nobody")
def test_a_yard_that_may_only_be_read(tmp_path: Path) -> None:
    import tempfile

    train(tmp_path / "yard")
    looked_at(tmp_path / "yard")
    with tempfile.TemporaryDirectory() as open_to_all:
        base = Path(open_to_all)
        base.chmod(0o755)
        shutil.copytree(tmp_path / "yard", base / "yard")
        for path in [base / "yard", *(base / "yard").rglob("*")]:
            path.chmod(0o555 if path.is_dir() else 0o444)
        before = {p: p.stat().st_mtime_ns for p in (base / "yard").rglob("*")}
        errors = base / "errors.txt"
        errors.touch()
        errors.chmod(0o666)
        process = killing.CONTEXT.Process(
            target=_as_nobody, args=(str(tmp_path / "yard"), str(base / "yard"), str(errors))
        )
        process.start()
        process.join(120)
        assert process.exitcode == 0, errors.read_text()
        assert {p: p.stat().st_mtime_ns for p in (base / "yard").rglob("*")} == before


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount")
def test_a_file_system_that_may_only_be_read(tmp_path: Path) -> None:
    yard = tmp_path / "yard"
    train(yard)
    expected = looked_at(yard)
    mounted = tmp_path / "mounted"
    mounted.mkdir()
    for command in (["mount", "--bind", yard, mounted], ["mount", "-o", "remount,ro,bind", mounted]):
        if subprocess.run(command, capture_output=True).returncode:
            subprocess.run(["umount", "--lazy", mounted], capture_output=True)
            pytest.skip("mounting is not possible here")
    try:
        assert looked_at(mounted) == expected
        with pytest.raises(TrainyardError, match="cannot be written"):
            train(mounted)
    finally:
        subprocess.run(["umount", "--lazy", mounted], check=True, capture_output=True)


# -- data that changed


@pytest.fixture
def on_npz(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """A crashed run on an .npz, and the file."""
    data = tiny_npz(tmp_path / "data.npz", per_class=20)
    config = compose(
        "digits",
        [
            "data=npz",
            f"data.path={data}",
            "model=mlp",
            "model.hidden=[8]",
            "training.epochs=3",
            "training.batch_size=4",
            "outputs.plots=false",
            "run.device=cpu",
        ],
    )
    with crashing_at(1, monkeypatch), pytest.raises(Crash):
        training.train(config, tmp_path / "yard")
    return tmp_path / "yard", data


def _rewrite(data: Path, change: Callable[[dict[str, np.ndarray]], None]) -> None:
    with np.load(data) as file:
        arrays = {name: file[name].copy() for name in file.files}
    change(arrays)
    np.savez(data, **arrays)


def _pixel(arrays: dict[str, np.ndarray]) -> None:
    arrays["images"][7, 3, 3] ^= 1


def _label(arrays: dict[str, np.ndarray]) -> None:
    arrays["labels"][:2] = (arrays["labels"][:2] + 1) % 3


def _fewer(arrays: dict[str, np.ndarray]) -> None:
    for name in arrays:
        arrays[name] = arrays[name][:-3]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_pixel, "content of the items changed"),
        (_label, "other labels"),
        (_fewer, "number of items was 60 and is now 57"),
    ],
)
def test_changed_data_is_refused_and_the_change_named(
    on_npz: tuple[Path, Path], change: Callable[..., None], message: str
) -> None:
    yard, data = on_npz
    original = data.read_bytes()
    _rewrite(data, change)
    journal = only_run(yard).home / ".run/journal.jsonl"
    before = journal.read_bytes()
    with pytest.raises(ChangedDataError, match=message) as caught:
        resume(yard)
    assert caught.value.exit_code == 2
    assert journal.read_bytes() == before
    data.write_bytes(original)
    resume(yard)
    assert only_run(yard).snapshot.state == "finished"


def test_the_same_data_in_another_file_is_the_same(on_npz: tuple[Path, Path]) -> None:
    yard, data = on_npz
    _rewrite(data, lambda arrays: None)
    resume(yard)
    assert only_run(yard).snapshot.state == "finished"


# -- every system call failing once


def fails_once(yard: Path, nth: int, error: int, undisturbed: dict[str, Any]) -> bool:
    """Trains with the n-th call failing; whatever came of it, the next attempt ends well. False: no such call."""
    with faults.failing(nth, error=error) as calls:
        failure: BaseException | None = None
        try:
            train(yard)
        except (OSError, TrainyardError) as raised:
            failure = raised
    if not calls.fired:
        assert failure is None
        return False
    note = f"after call {nth} ({calls.made[nth - 1]}) failed: {failure!r}"
    homes = list(find_homes(Yard(yard))) if yard.exists() else []
    if homes:
        states = [run.state for run in trainyard.open(yard).runs()]
        run = only_run(yard)
        assert states == [run.snapshot.state], note
        # finished and failed: all was written, and then the note for the index was not
        expected = ("finished",) if failure is None else ("failed", "crashed", "finished")
        assert run.snapshot.state in expected, note
        assert all(problems(run, c) == [] for c in run.snapshot.checkpoints), note
        if run.snapshot.state != "finished":
            resume(yard)
    else:
        assert failure is not None, note
        train(yard)
    assert outcome(yard) == undisturbed, note
    assert list(verify_yard(Yard(yard), Tally())) == [], note
    assert no_litter(yard), note
    return True


def _calls(tmp_path: Path) -> int:
    return faults.count(lambda: train(tmp_path / "counted"))


@pytest.mark.parametrize("error", [errno.EIO, errno.ENOSPC])
def test_a_failing_call_here_and_there(tmp_path: Path, undisturbed: dict[str, Any], error: int) -> None:
    total = _calls(tmp_path)
    assert total > 100
    offset = 3 if error == errno.EIO else total // 12
    for nth in range(offset, total, total // 6):
        assert fails_once(tmp_path / f"{nth}" / "yard", nth, error, undisturbed)


@pytest.mark.stress
@pytest.mark.parametrize("part", range(20))
def test_every_call_failing(tmp_path: Path, undisturbed: dict[str, Any], part: int) -> None:
    nth = part + 1
    while fails_once(tmp_path / f"{nth}" / "yard", nth, errno.EIO if nth % 2 else errno.ENOSPC, undisturbed):
        shutil.rmtree(tmp_path / f"{nth}")
        nth += 20
    assert nth > 100
