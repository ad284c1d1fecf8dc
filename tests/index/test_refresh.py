"""What a refresh takes in, and what it does not read for that."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from trainyard.errors import RunNotFoundError
from trainyard.index import Index
from trainyard.runs import RunReader, RunWriter, Yard, amend, resume_run
from trainyard.runs.events import Progressed

NewRun = Callable[..., RunWriter]
PutRun = Callable[..., Path]


def states(index: Index) -> dict[str, str]:
    return {row["name"]: row["state"] for row in index.query("sort:name").rows}


def _read_homes(opened: list[str]) -> list[str]:
    homes = [path.partition("/.run/")[0].rpartition("/")[2] for path in opened if path.endswith("/run.json")]
    opened.clear()
    return homes


def test_a_run_is_in_the_index_from_beginning_to_end(yard: Yard, new_run: NewRun) -> None:
    index = Index(yard)
    assert states(index) == {}
    run = new_run(name="one", tags=["a"], seed=3, config={"training": {"epochs": 2}}, note="why")
    assert states(index) == {"one": "running"}
    run.event(Progressed(10, 1.0, {"val_loss": 0.5}))
    assert index.query("metrics.val_loss<1").total == 1
    run.summary(test_accuracy=0.9)
    run.finish()
    (row,) = index.query("state:finished test_accuracy:.9 config.training.epochs:2 tag:a").rows
    snapshot = RunReader(yard, run.home).snapshot
    for name in (
        "id",
        "name",
        "project",
        "dataset",
        "model",
        "layout",
        "state",
        "created",
        "started",
        "ended",
        "home",
        "seed",
        "tags",
        "note",
        "summary",
        "metrics",
        "best",
        "size_bytes",
        "step",
        "epoch",
        "parents",
        "error",
    ):
        assert row[name] == getattr(snapshot, name), name


def test_in_every_layout(yard: Yard, new_run: NewRun, layout_name: str) -> None:
    index = Index(yard)
    runs = [new_run(layout_name) for _ in range(3)]
    for run in runs:
        run.finish()
    assert {row["home"] for row in index.query().rows} == {run.snapshot.home for run in runs}
    assert {row["home"] for row in Index(yard).query().rows} == {run.snapshot.home for run in runs}
    assert index.rebuild() == 3
    assert all(index.find(run.id) == run.home for run in runs)


def test_finished_runs_are_never_read_again(yard: Yard, new_run: NewRun, opened: list[str]) -> None:
    for n in range(5):
        new_run(name=f"done-{n}").finish("failed" if n == 2 else "finished")
    index = Index(yard)
    assert index.query().total == 5
    assert sorted(_read_homes(opened)) == [f"done-{n}" for n in range(5)]
    for question in (index.refresh, index.query, lambda: index.find("done-1"), lambda: Index(yard).query("cnn")):
        question()
        assert _read_homes(opened) == []
        assert not any("journal" in path for path in opened)
    run = new_run(name="live")
    opened.clear()
    assert index.refresh() == 1
    assert set(_read_homes(opened)) == {"live"}
    assert index.refresh() == 0  # running, and nothing happened
    assert _read_homes(opened) == []
    run.event(Progressed(1, 0.1, {"loss": 1.0}))
    opened.clear()
    index.refresh()
    assert set(_read_homes(opened)) == {"live"}
    run.finish()
    with amend(yard, yard.root / "demo/digits/done-3") as other:
        other.summary(late=1)
    opened.clear()
    index.refresh()
    assert set(_read_homes(opened)) == {"live", "done-3"}
    assert index.query("late:1").total == 1
    index.refresh()
    assert _read_homes(opened) == []


def test_a_log_that_was_lost_costs_no_reading_of_what_is_known(yard: Yard, new_run: NewRun, opened: list[str]) -> None:
    for n in range(4):
        new_run(name=f"done-{n}").finish()
    index = Index(yard)
    index.refresh()
    new_run(name="unseen").finish()
    yard.changes_path.unlink()
    shutil.rmtree(yard.root / "demo/digits/done-3")
    opened.clear()
    assert set(states(index)) == {"done-0", "done-1", "done-2", "unseen"}
    assert set(_read_homes(opened)) == {"unseen"}
    index.refresh()
    assert _read_homes(opened) == []


@pytest.mark.parametrize("content", ["", "grouped\n", "x" * 5000 + "\n", "no line end", "\0\n/etc\n../..\n\n \n"])
def test_a_log_that_was_replaced(yard: Yard, new_run: NewRun, content: str) -> None:
    index = Index(yard)
    new_run(name="one").finish()
    index.refresh()
    new_run(name="two").finish()
    yard.changes_path.write_text(content)
    assert states(index) == {"one": "finished", "two": "finished"}
    new_run(name="three").finish()
    assert "three" in states(index) or content == "no line end"
    new_run(name="four").finish()
    assert set(states(index)) >= {"one", "two", "four"}


def test_half_a_line_waits_for_the_rest(yard: Yard, put_run: PutRun) -> None:
    index = Index(yard)
    yard.note_change("elsewhere/")
    index.refresh()
    put_run(yard.root, "a/b")
    with yard.changes_path.open("a") as file:
        file.write("a/")
        file.flush()
        assert index.query().total == 0
        file.write("b/\n")
        file.flush()
        assert index.query().total == 1


def test_a_yard_that_never_had_a_log(yard: Yard, put_run: PutRun) -> None:
    put_run(yard.root, "a/b/c")
    index = Index(yard)
    assert index.query().total == 1
    assert index.query().total == 1


def test_homes_that_are_gone_are_in_no_answer(yard: Yard, put_run: PutRun) -> None:
    for n in range(6):
        put_run(yard.root, f"h/run-{n}", parents=[{"run": "idparent", "step": 1, "role": "teacher"}])
    index = Index(yard)
    assert index.query().total == 6
    shutil.rmtree(yard.root / "h/run-1")
    shutil.rmtree(yard.root / "h/run-4/.run")
    page = index.query("sort:name limit:4")
    assert [row["name"] for row in page.rows] == ["run-0", "run-2", "run-3", "run-5"]
    assert page.total == 4
    assert len(index.children("idparent")) == 4
    assert index.children("idother") == []
    with pytest.raises(RunNotFoundError) as caught:
        index.find("run-1")
    assert caught.value.value == "run-1"


def test_a_home_that_was_moved_away_and_back(yard: Yard, put_run: PutRun) -> None:
    home = put_run(yard.root, "h/run")
    index = Index(yard)
    assert index.query().total == 1
    (yard.own / "trash").mkdir(parents=True)
    home.rename(yard.own / "trash" / "run")
    yard.note_change("h/run/")
    assert index.query().total == 0
    (yard.own / "trash" / "run").rename(home)
    yard.note_change("h/run/")
    assert index.query().total == 1


def test_homes_copied_here_are_found_by_a_rebuild(tmp_path: Path, yard: Yard, put_run: PutRun) -> None:
    other = put_run(tmp_path / "other", "p/d/far", id="farfar01", metrics={"val_f1": 0.5})
    put_run(yard.root, "p/d/near")
    index = Index(yard)
    assert index.query().total == 1
    shutil.copytree(other, yard.root / "from elsewhere" / "copy")
    shutil.copytree(other, yard.root / os.fsdecode(b"not-utf8-\xff") / "copy")
    assert index.query().total == 1
    assert index.rebuild() == 3
    rows = index.query("name:far val_f1:.5 sort:home").rows
    assert {row["home"] for row in rows} == {"from elsewhere/copy/", os.fsdecode(b"not-utf8-\xff/copy/")}
    assert index.find("from elsewhere/copy") == yard.root / "from elsewhere" / "copy"
    yard.note_change("from elsewhere/copy/")
    assert index.query().total == 3


def test_a_yard_that_is_itself_a_home(tmp_path: Path, put_run: PutRun) -> None:
    put_run(tmp_path / "yard", "p/alone")
    index = Index(Yard(tmp_path / "yard" / "p" / "alone"))
    (row,) = index.query().rows
    assert (row["name"], row["home"]) == ("alone", "./")
    assert index.find("alone") == tmp_path / "yard" / "p" / "alone"


@pytest.mark.parametrize("damage", [b"", b"{", b"[1]", b'{"journal_bytes": 48}', b"\xff\xfe", b"null"])
def test_a_damaged_run_hides_no_other(yard: Yard, put_run: PutRun, damage: bytes, opened: list[str]) -> None:
    put_run(yard.root, "good")
    bad = put_run(yard.root, "bad")
    (bad / ".run" / "run.json").write_bytes(damage)
    index = Index(yard)
    assert states(index) == {"good": "finished"}
    ((home, reason),) = index.problems()
    assert home == "bad/"
    assert str(bad) in reason
    opened.clear()
    assert index.refresh() == 0
    assert _read_homes(opened) == []
    put_run(yard.root, "bad")
    assert states(index) == {"bad": "finished", "good": "finished"}
    assert index.problems() == []


def test_a_broken_snapshot_is_read_from_the_journal(yard: Yard, new_run: NewRun) -> None:
    run = new_run(name="one")
    run.summary(test_accuracy=0.75)
    run.finish()
    for damage in (b"", b"{}", json.dumps({**run.snapshot.to_dict(), "journal_bytes": 1, "summary": {}}).encode()):
        (run.home / ".run" / "run.json").write_bytes(damage)
        index = Index(yard)
        index.rebuild()
        assert index.query("test_accuracy:.75 state:finished").total == 1


def test_odd_values_are_kept(yard: Yard, put_run: PutRun) -> None:
    put_run(
        yard.root,
        "a",
        name="\ud800",
        note="line\nbreak",
        seed=2**80,
        tags=["a", "A", "\ud800"],
        config={"": {"": 1}, "a.b": {"c": [[1], {"d": None}]}, "empty": {}, "list": [], "big": -(2**70)},
        metrics={"x": float("nan")},
        best={"step": 1, "epoch": 1, "metric": "x", "value": float("inf")},
    )
    index = Index(yard)
    (row,) = index.query('seed>1 best.value:inf config..:1 config.a.b.c.0:"[1]" config.a.b.c.1.d:null').rows
    assert row["name"] == "\ud800"
    assert index.query("config.big<-1000 config.list:[] metrics.x:null").total == 1
    assert index.query("metrics.x>0").total == 0


# -- processes that die

_WORKER = """
import sys, time
from trainyard.layouts import load_layout
from trainyard.runs import Yard, create_run, resume_run
from trainyard.runs.events import Progressed
yard = Yard(sys.argv[1])
if sys.argv[2] == "create":
    run = create_run(yard, load_layout("grouped"), project="p", dataset="d", model="m", name="victim")
else:
    run = resume_run(yard, yard.root / "p/d/victim")
    run.begin_attempt(None)
run.event(Progressed(1, 0.5, {"loss": 1.0}))
print("ready", flush=True)
time.sleep(60)
"""


def _start(yard: Yard, how: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", _WORKER, str(yard.root), how], stdout=subprocess.PIPE, text=True, env=_environment()
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.stdout.close()
    return process


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}


def _kill(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGKILL)
    process.wait()


def test_a_killed_run_is_crashed_and_runs_again_when_resumed(yard: Yard, opened: list[str]) -> None:
    index = Index(yard)
    process = _start(yard, "create")
    try:
        assert states(index) == {"victim": "running"}
        _kill(process)
        assert states(index) == {"victim": "crashed"}
        assert index.query("state:running").total == 0
        assert index.query("state:crashed").rows[0]["state"] == "crashed"
        assert Index(yard).rebuild() == 1
        assert states(index) == {"victim": "crashed"}
        opened.clear()
        assert index.refresh() == 0
        assert _read_homes(opened) == []
        yard.changes_path.unlink()  # even if nobody says so
        index.refresh()
        process = _start(yard, "resume")
        size = yard.changes_path.stat().st_size
        assert size
        assert states(index) == {"victim": "running"}
        _kill(process)
        assert states(index) == {"victim": "crashed"}
        with resume_run(yard, yard.root / "p/d/victim") as run:
            run.begin_attempt(None)
        assert states(index) == {"victim": "finished"}
    finally:
        _kill(process)


def test_a_resume_is_seen_without_the_log(yard: Yard, new_run: NewRun) -> None:
    run = new_run(name="one")
    index = Index(yard)
    run.abandon()
    assert states(index) == {"one": "crashed"}
    log = yard.changes_path.read_bytes()
    again = resume_run(yard, run.home)
    again.event(Progressed(5, 1.0, {}))
    yard.changes_path.write_bytes(log)
    assert index.query().rows[0]["state"] == "running"
    assert index.query().rows[0]["step"] == 5
    again.abandon()
    assert states(index) == {"one": "crashed"}


_STARTER = """
import sys
from trainyard.index import Index
from trainyard.layouts import load_layout
from trainyard.runs import Yard, create_run
from trainyard.runs.events import Progressed
yard = Yard(sys.argv[1], create=True)
index = Index(yard)
for n in range(int(sys.argv[2])):
    with create_run(yard, load_layout("grouped"), project="p", dataset="d", model="m") as run:
        run.event(Progressed(n, 1.0, {"loss": n}))
        assert index.query(f"id:{run.id}").rows[0]["state"] == "running"
        run.summary(number=n)
    assert index.query(f"id:{run.id} state:finished number:{n}").total == 1, index.query().rows
"""


def test_processes_that_refresh_and_write_at_once_lose_nothing(yard: Yard) -> None:
    index = Index(yard)
    workers = [
        subprocess.Popen([sys.executable, "-c", _STARTER, str(yard.root), "6"], env=_environment()) for _ in range(4)
    ]
    while any(worker.poll() is None for worker in workers):
        for row in index.query().rows:
            assert row["state"] in ("running", "finished")
        time.sleep(0.01)
    assert [worker.returncode for worker in workers] == [0] * 4
    assert index.query("state:finished").total == 24
    before = index.query("sort:home").rows
    assert index.rebuild() == 24
    assert index.query("sort:home").rows == before


def test_runs_and_rebuilds_at_once(yard: Yard) -> None:
    index = Index(yard)
    worker = subprocess.Popen([sys.executable, "-c", _STARTER, str(yard.root), "10"], env=_environment())
    while worker.poll() is None:
        index.rebuild()
        yard.index_path.unlink(missing_ok=True)
    assert worker.returncode == 0
    assert index.query("state:finished").total == 10
