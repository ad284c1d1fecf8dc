from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import signal
import threading
from pathlib import Path
from typing import Any

import faults
import pytest

from trainyard import durable
from trainyard.errors import BadNameError, DiskFullError, Interrupted, NameTakenError, YardError
from trainyard.layouts import load_layout
from trainyard.runs import BestStep, RunReader, RunWriter, Yard, amend, create_run, find_homes, resume_run
from trainyard.runs.events import AttemptBegan, Created, Ended, Progressed, Summarised, Warned
from trainyard.runs.journal import read_journal

WHO: dict[str, Any] = {"project": "demo", "dataset": "digits", "model": "mlp"}


def reread(run: RunWriter) -> RunReader:
    return RunReader(run.yard, run.home)


@pytest.mark.parametrize(
    ("error", "state", "reason"),
    [
        (None, "finished", None),
        (KeyboardInterrupt(), "stopped", "interrupted"),
        (Interrupted("SIGTERM"), "stopped", "interrupted"),
        (ValueError("bad\nvalue"), "failed", "ValueError: bad\nvalue"),
    ],
)
def test_leaving_the_block_ends_the_run(
    error: BaseException | None, state: str, reason: str | None, yard: Yard
) -> None:
    run = create_run(yard, load_layout("grouped"), **WHO)
    with pytest.raises(type(error)) if error is not None else contextlib.nullcontext(), run:
        run.log({"loss": 1.0}, step=1)
        if error is not None:
            raise error
    found = reread(run)
    assert (found.snapshot.state, found.snapshot.error, found.is_alive()) == (state, reason, False)
    assert (found.snapshot.attempts[-1].state, found.snapshot.attempts[-1].reason) == (state, reason)
    assert len(found.history()) == 1
    run.finish("failed", "too late")
    run.abandon()
    assert reread(run).snapshot.state == state
    with pytest.raises(ValueError, match="closed"):
        run.event(Warned("too late"))
    with pytest.raises(ValueError, match="ended"):
        run.log({"loss": 1.0}, step=2)


def test_events_do_not_share_what_the_caller_changes_later(yard: Yard) -> None:
    with create_run(yard, load_layout("grouped"), **WHO) as run:
        metrics = {"val_loss": 1.0}
        run.event(Progressed(1, 1.0, metrics, BestStep(1, 1, 1.0, "val_loss")))
        metrics["val_loss"] = 2.0
        assert run.snapshot.metrics == {"val_loss": 1.0}
        assert run.snapshot.best == BestStep(1, 1, 1.0, "val_loss")
        assert reread(run).snapshot == run.snapshot


def test_events_from_many_threads_are_all_kept(yard: Yard) -> None:
    with create_run(yard, load_layout("grouped"), **WHO) as run:
        threads = [threading.Thread(target=lambda n=n: [run.warn(f"{n}-{i}") for i in range(10)]) for n in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(set(run.snapshot.warnings)) == 60
        assert reread(run).snapshot == run.snapshot


def test_records_are_written_and_kept(yard: Yard, layout_name: str) -> None:
    layout = load_layout(layout_name)
    with create_run(yard, layout, **WHO) as run:
        path = run.write("log", "épochs\ud800\n")
        assert path == run.path("log")
        assert run.write("log", b"again") == path
        assert run.write("predictions", "a,b\n", split="val", epoch=3) == run.path("predictions", split="val", epoch=3)
        missing = "metrics_table" if layout_name != "grouped" else "results"
        assert run.write(missing, b"") is None
        (run.path("tensorboard")).mkdir(parents=True, exist_ok=True)
        (run.path("tensorboard") / "events").write_bytes(b"12345")
        run.note_record("tensorboard", run.path("tensorboard"))
    found = reread(run)
    kept = {record.path: record for record in found.snapshot.records}
    assert set(kept) == {
        layout.path(kind, {**run.snapshot.facts, "split": "val", "epoch": 3})
        for kind in ("log", "predictions", "tensorboard")
    }
    record = kept[run.relative(path)]
    assert (record.size, record.sha256) == (5, durable.sha256_file(path))
    assert found.files()[record.path] == path
    assert next(r for r in kept.values() if r.kind == "predictions").facts == {"split": "val", "epoch": 3}
    path.unlink()
    assert record.path not in reread(run).files()


def test_users_files_are_copied_in(yard: Yard, layout_name: str, tmp_path: Path) -> None:
    (tmp_path / "mine").write_bytes(b"mine")
    with create_run(yard, load_layout(layout_name), **WHO) as run:
        one = run.save_file(tmp_path / "mine", "notes/ä 1.txt")
        run.save_file(b"bytes", "b.bin")
        assert one.read_bytes() == b"mine"
        assert one.is_relative_to(run.home)
        for name in ("b.bin", "notes", "notes/ä 1.txt"):
            with pytest.raises(NameTakenError):
                run.save_file(b"other", name)
        with pytest.raises((YardError, NameTakenError)):
            run.save_file(b"x", "b.bin/below")
        with pytest.raises(FileNotFoundError):
            run.save_file(tmp_path / "missing", "c")
    assert {path.name: path.read_bytes() for path in reread(run).files().values()} == {
        "ä 1.txt": b"mine",
        "b.bin": b"bytes",
    }


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "../x",
        "a/../../x",
        "/etc/x",
        ".run/run.json",
        "a/.run/x",
        ".yard/x",
        "a\0b",
        "a\nb",
        "x" * 256,
        "a/" + "é" * 128,
        "half\ud800",
        "a/ /b",
        "./..",
    ],
)
def test_bad_names_for_users_files_are_refused(name: str, yard: Yard) -> None:
    with create_run(yard, load_layout("grouped"), **WHO) as run:
        before = sorted(run.home.rglob("*"))
        with pytest.raises(BadNameError) as caught:
            run.save_file(b"x", name)
        assert caught.value.value == name
        assert caught.value.remedy
        assert sorted(run.home.rglob("*")) == before


def test_a_path_outside_the_yard_is_refused(yard: Yard, tmp_path: Path) -> None:
    with create_run(yard, load_layout("grouped"), **WHO) as run:
        (tmp_path / "outside").touch()
        with pytest.raises(YardError) as caught:
            run.note_record("log", tmp_path / "outside")
    assert caught.value.value == tmp_path / "outside"
    assert caught.value.place == str(yard.root)


# -- attempts


def test_amending_changes_neither_state_nor_attempts(yard: Yard) -> None:
    with create_run(yard, load_layout("grouped"), **WHO) as run:
        pass
    before = reread(run).snapshot
    with amend(yard, run.home) as amended:
        amended.write("evaluation_log", "test 0.97", moment="20260101-000000")
        amended.summary(test_accuracy=0.97)
        with pytest.raises(ValueError, match="mine"), amend_failing(yard, run.home):
            pytest.fail("locked")
    after = reread(run).snapshot
    assert (after.state, after.attempts, after.ended) == (before.state, before.attempts, before.ended)
    assert after.summary == {"test_accuracy": 0.97}
    assert not reread(run).is_alive()
    with pytest.raises(ValueError, match="mine"), amend(yard, run.home):
        raise ValueError("mine")
    assert (reread(run).snapshot.state, reread(run).is_alive()) == ("finished", False)
    crashed = create_run(yard, load_layout("grouped"), **WHO)
    crashed.abandon()
    with amend(yard, crashed.home):
        pass
    assert reread(crashed).snapshot.state == "crashed"
    lines = yard.changes_path.read_text().splitlines()
    assert lines.count(run.snapshot.home) >= 4


def amend_failing(yard: Yard, home: Path) -> Any:
    from trainyard.errors import RunBusyError

    try:
        return amend(yard, home).__enter__()
    except RunBusyError:
        raise ValueError("mine") from None


def test_a_resume_sweeps_what_the_kill_left_wherever_the_layout_puts_things(yard: Yard, layout_name: str) -> None:
    run = create_run(yard, load_layout(layout_name), **WHO)
    run.abandon()
    name = durable.temporary(yard.root).name.replace(f"-{os.getpid()}-", "-4194304-")
    kinds = ("checkpoint", "step_checkpoint", "best", "predictions", "log", "history", "summary", "confusion_matrix")
    left = {run.path(kind, step=0, epoch=0, split="val").parent / name for kind in kinds if run.keeps(kind)} | {
        run.home / ".run" / name
    }
    for path in left:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    resume_run(yard, run.home).abandon()
    assert [path for path in left if path.exists()] == []


def test_a_resume_takes_back_later_rows(yard: Yard) -> None:
    run = create_run(yard, load_layout("grouped"), **WHO)
    for step in (1, 2, 3):
        run.log({"loss": step}, step=step)
    run.sync_history()
    run.abandon()
    with resume_run(yard, run.home) as second:
        second.begin_attempt(2)
        second.log({"loss": 30}, step=3)
    assert [(row["step"], row["loss"]) for row in reread(run).history()] == [(1, 1), (2, 2), (3, 30)]
    attempts = reread(run).snapshot.attempts
    assert [(a.n, a.resumed_from, a.state) for a in attempts] == [(1, None, "crashed"), (2, 2, "finished")]
    with resume_run(yard, run.home) as third:
        third.begin_attempt(None)
    assert reread(run).history() == []


@pytest.mark.parametrize("error", [errno.EIO, pytest.param(errno.ENOSPC, marks=pytest.mark.stress)])
def test_every_fault_while_resuming_leaves_a_run_that_resumes(error: int, yard: Yard) -> None:
    def fresh() -> RunWriter:
        run = create_run(yard, load_layout("grouped"), **WHO)
        run.log({"loss": 1.0}, step=1)
        run.log({"loss": 1.0}, step=2)
        run.sync_history()
        run.abandon()
        faults.truncate(run.home / ".run" / "journal.jsonl", -5)  # the attempt's own event is torn
        return run

    def resume(run: RunWriter) -> None:
        again = resume_run(yard, run.home)
        try:
            again.begin_attempt(1)
            again.write("summary", "{}")
            again.log({"loss": 2.0}, step=2)
            again.finish()
        finally:
            again.abandon()

    def check(run: RunWriter) -> None:
        found = reread(run)
        assert not found.is_alive()
        assert found.snapshot.state in ("created", "crashed", "finished", "failed")
        assert [row["step"] for row in found.history()] in ([1, 2], [1])
        if found.snapshot.state == "finished":
            assert [row["loss"] for row in found.history()] == [1.0, 2.0]
        assert list(run.home.rglob(".tmp-*")) == []

    def succeeded(run: RunWriter) -> None:
        check(run)
        assert reread(run).snapshot.state == "finished"

    before = len(os.listdir("/proc/self/fd"))
    assert faults.sweep(resume, check, fresh=fresh, succeeded=succeeded, error=error) > 30
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_run_whose_last_rows_are_lost_has_failed(yard: Yard) -> None:
    run = create_run(yard, load_layout("grouped"), **WHO)
    run.log({"loss": 1.0}, step=1)
    with faults.failing(1, kinds={"fsync"}, error=errno.ENOSPC), pytest.raises(DiskFullError):
        run.finish()
    found = reread(run)
    assert (found.snapshot.state, found.is_alive()) == ("failed", False)
    assert "disk is full" in str(found.snapshot.error)


def test_a_full_disk_ends_the_run_and_a_resume_goes_on(yard: Yard) -> None:
    run = create_run(yard, load_layout("grouped"), **WHO)
    run.summary(before=1)
    with faults.disk_full(10) as disk:
        with pytest.raises(DiskFullError), run:
            run.summary(after=1)
        found = reread(run)
        assert (found.snapshot.state, found.is_alive(), found.snapshot.summary) == ("crashed", False, {"before": 1})
        disk.left += 100_000
        with resume_run(yard, run.home) as again:
            again.begin_attempt(None)
            again.summary(after=1)
    assert reread(run).snapshot.summary == {"before": 1, "after": 1}


def test_a_snapshot_that_cannot_be_saved_costs_nothing(yard: Yard) -> None:
    with create_run(yard, load_layout("grouped"), **WHO) as run:
        with faults.failing(1, kinds={"rename"}):
            run.summary(accuracy=0.5)
        assert json.loads((run.home / ".run" / "run.json").read_text())["summary"] == {}
        assert reread(run).snapshot.summary == {"accuracy": 0.5}


_WORK = """
from pathlib import Path
from trainyard.layouts import load_layout
from trainyard.runs import Yard, resume_run
yard = Yard({root!r})
run = resume_run(yard, Path({home!r}))
run.begin_attempt(None)
run.write("summary", "{{}}")
run.summary(accuracy=0.5)
run.save_file(b"x" * 100, "note")
run.log({{"loss": 1.0}}, step=1)
run.finish()
"""


@pytest.mark.parametrize("part", [0.2, 0.5, 0.8])
def test_a_kill_at_work_leaves_a_run_that_resumes(part: float, yard: Yard) -> None:
    _kill_at_work(yard, lambda total: [round(total * part)])


@pytest.mark.stress
def test_every_kill_at_work_leaves_a_run_that_resumes(yard: Yard) -> None:
    _kill_at_work(yard, lambda total: range(1, total))


def _kill_at_work(yard: Yard, chosen: Any) -> None:
    def fresh() -> RunWriter:
        run = create_run(yard, load_layout("grouped"), **WHO)
        run.abandon()
        return run

    counted = fresh()
    code = _WORK.format(root=str(yard.root), home=str(counted.home))
    total = faults.count(lambda: exec(code, {}))
    for nth in chosen(total):
        run = fresh()
        done = faults.run_killed(_WORK.format(root=str(yard.root), home=str(run.home)), nth_call=nth)
        assert done.returncode == -signal.SIGKILL or nth >= total - 4, done.stderr
        found = reread(run)
        assert found.snapshot.state in ("crashed", "finished")
        for record, path in found.files().items():
            assert durable.sha256_file(path) == next(r.sha256 for r in found.snapshot.records if r.path == record)
        with resume_run(yard, run.home) as again:
            again.begin_attempt(None)
            again.summary(accuracy=1.0)
        assert reread(run).snapshot.state == "finished"
        assert list(run.home.rglob(".tmp-*")) == []


# -- other places


def fill(yard: Yard, layout: str) -> RunWriter:
    with create_run(yard, load_layout(layout), **WHO) as run:
        run.log({"loss": 1.0}, step=1)
        run.write("log", "hello")
        run.write("predictions", "a\n", split="val", epoch=1)
        run.save_file(b"x", "mine")
    return run


def contents(reader: RunReader) -> dict[str, bytes]:
    return {name: path.read_bytes() for name, path in reader.files().items()}


@pytest.mark.parametrize("how", ["renamed", "copied", "linked to"])
def test_a_yard_elsewhere_reads_the_same(how: str, yard: Yard, layout_name: str, tmp_path: Path) -> None:
    run = fill(yard, layout_name)
    before = contents(reread(run))
    other = tmp_path / "other place" / "yard"
    other.parent.mkdir()
    match how:
        case "renamed":
            yard.root.rename(other)
        case "copied":
            shutil.copytree(yard.root, other)
        case _:
            other.symlink_to(yard.root, target_is_directory=True)
    elsewhere = Yard(other)
    [home] = find_homes(elsewhere)
    found = RunReader(elsewhere, home)
    assert contents(found) == before
    assert len(before) == 3
    assert len(found.history()) == 1
    assert found.snapshot == run.snapshot
    assert all(path.is_relative_to(other) for path in found.files().values())
    with amend(elsewhere, home) as amended:
        amended.write("learning_curves", b"PNG")
    assert len(contents(RunReader(elsewhere, home))) == 4


@pytest.mark.parametrize("layout_name", ["grouped", "dated", "trials", "files"])
def test_a_home_copied_into_another_yard_is_a_run_there(layout_name: str, yard: Yard, tmp_path: Path) -> None:
    run = fill(yard, layout_name)
    other = Yard(tmp_path / "other", create=True)
    home = other.root / "from a friend" / "theirs"
    shutil.copytree(run.home, home)
    assert list(find_homes(other)) == [home]
    found = RunReader(other, home)
    assert contents(found) == contents(reread(run))
    assert len(found.snapshot.records) == 3
    with amend(other, home) as amended:  # writes below the home where it is, not where it was
        path = amended.write("learning_curves", b"PNG")
        assert path is not None
        assert path.is_relative_to(home)
        assert amended.save_file(b"more", "more").is_relative_to(home)
    assert list(find_homes(other)) == [home]
    assert len(contents(RunReader(other, home))) == 5
    assert other.changes_path.read_text() == "from a friend/theirs/\n"
    assert {path.name for path in other.root.iterdir()} == {".yard", "from a friend"}


def test_a_yard_that_cannot_be_written_can_be_read(yard: Yard) -> None:
    run = fill(yard, "grouped")
    calls = faults.FaultyCalls()
    with faults.installed(calls):
        found = reread(run)
        contents(found)
        found.history()
        assert found.layout
        found.is_alive()
        list(find_homes(yard))
    assert calls.made == []  # readers make no call that writes
    with faults.failing(1, kinds={"open"}, error=errno.EROFS), pytest.raises(YardError) as caught:
        resume_run(yard, run.home)
    assert caught.value.__cause__.errno == errno.EROFS


def test_a_read_only_mount_is_read_and_refused(tmp_path: Path) -> None:
    import subprocess

    (tmp_path / "m").mkdir()
    try:
        with faults.tmpfs(tmp_path / "m", 4):
            run = fill(Yard(tmp_path / "m"), "grouped")
            subprocess.run(["mount", "-o", "remount,ro", str(tmp_path / "m")], check=True)
            yard = Yard(tmp_path / "m")
            assert not yard.writable
            assert len(contents(RunReader(yard, run.home))) == 3
            assert not RunReader(yard, run.home).is_alive()
            for action in (lambda: resume_run(yard, run.home), lambda: create_run(yard, run.layout, **WHO)):
                with pytest.raises(YardError):
                    action()
    except faults.NotPermittedError as error:
        pytest.skip(str(error))


def test_homes_are_found_whatever_they_are_called(yard: Yard) -> None:
    homes = {create_run(yard, load_layout("grouped"), **{**WHO, "model": m}).home for m in (".hidden", "a", "~")}
    (yard.root / ".yard" / "trash" / "x" / ".run").mkdir(parents=True)
    (durable.temporary(yard.root) / ".run").mkdir(parents=True)
    (yard.root / "loop").symlink_to(yard.root)
    assert set(find_homes(yard)) == homes
    for home in homes:
        resume = RunReader(yard, home)
        assert resume.snapshot.state == "running"


def test_the_journal_says_it_all_in_order(yard: Yard) -> None:
    with create_run(yard, load_layout("grouped"), **WHO) as run:
        run.warn("a")
        run.warn("a")
        run.summary(accuracy=1.0)
    events, size = read_journal(run.home / ".run" / "journal.jsonl")
    assert [type(event) for event in events] == [Created, AttemptBegan, Warned, Summarised, Ended]
    assert size == (run.home / ".run" / "journal.jsonl").stat().st_size
    assert [event.at for event in events] == sorted(event.at for event in events)
