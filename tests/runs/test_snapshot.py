from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from trainyard.errors import CorruptError
from trainyard.layouts import load_layout
from trainyard.runs import RunReader, RunWriter, Snapshot, Yard, create_run, resume_run
from trainyard.runs.journal import read_journal
from trainyard.runs.snapshot import fold
from trainyard.testing import faults

PLACES = ("checkpoint", "best", "final")
numbers = st.floats(allow_nan=False) | st.integers(-5, 5)
steps = st.integers(0, 8)
metrics = st.dictionaries(st.sampled_from(["val_loss", "val_accuracy", "half\ud800"]), numbers, max_size=2)
names = st.sampled_from(["a", "b", "optimizer.pt"])
files = st.lists(st.fixed_dictionaries({"name": names, "size": st.integers(0, 99), "sha256": st.just("0")}), max_size=3)
paths = st.sampled_from(["p/1", "p/2", "best", "final"])
best = st.none() | st.fixed_dictionaries(
    {"step": steps, "epoch": st.integers(0, 3), "metric": st.just("val_loss"), "value": numbers}
)
checkpoints = st.fixed_dictionaries(
    {
        "step": steps,
        "epoch": numbers,
        "format": st.sampled_from(["hf", "pth"]),
        "metrics": metrics,
        "files": files,
        "paths": st.fixed_dictionaries({"checkpoint": paths}),
    }
)

EVENTS: dict[str, st.SearchStrategy[dict[str, Any]]] = {
    "progress": st.fixed_dictionaries({"step": steps, "epoch": numbers, "metrics": metrics}, optional={"best": best}),
    "checkpoint": checkpoints,
    "published": st.fixed_dictionaries({"step": steps, "place": st.sampled_from(PLACES), "path": paths}),
    "dropped": st.fixed_dictionaries({"step": steps, "place": st.sampled_from(PLACES), "path": paths}),
    "quarantined": st.fixed_dictionaries(
        {"step": steps, "place": st.sampled_from(PLACES), "path": paths, "why": st.text()}
    ),
    "stripped": st.fixed_dictionaries({"step": steps, "files": st.just(["optimizer.pt"])}),
    "restored": st.fixed_dictionaries({"checkpoint": checkpoints}),
    "record": st.fixed_dictionaries(
        {
            "kind": st.just("log"),
            "path": paths,
            "size": st.integers(0, 9),
            "sha256": st.none() | st.just("0"),
            "facts": st.just({"split": "val"}),
        }
    ),
    "removed": st.fixed_dictionaries({"path": paths}),
    "warning": st.fixed_dictionaries({"text": st.sampled_from(["a", "b\n", "é"])}),
    "data": st.fixed_dictionaries({"data": st.just({"fingerprint": "0"})}),
    "summary": st.fixed_dictionaries({"values": metrics}),
    "parent": st.fixed_dictionaries({"run": st.just("k3v9x0aq"), "step": steps, "role": st.just("teacher")}),
    "from a later version": st.fixed_dictionaries({"anything": st.integers()}),
}
events = st.sampled_from(sorted(EVENTS)).flatmap(lambda name: st.tuples(st.just(name), EVENTS[name]))


class Runs(RuleBasedStateMachine):
    """Any events, resumes, kills, torn tails and readers: run.json and the fold of the journal are one."""

    def __init__(self) -> None:
        super().__init__()
        import tempfile

        self.root = Path(tempfile.mkdtemp(prefix="trainyard-"))
        self.yard = Yard(self.root / "yard", create=True)

    @initialize()
    def create(self) -> None:
        self.run: RunWriter = create_run(
            self.yard, load_layout("grouped"), project="p", dataset="d", model="m", config={"nan": float("nan")}
        )
        self.home = self.run.home
        self.steps: set[int] = set()

    def teardown(self) -> None:
        if hasattr(self, "run"):
            self.run.abandon()
        shutil.rmtree(self.root)

    @rule(event=events)
    def happens(self, event: tuple[str, dict[str, Any]]) -> None:
        name, data = event
        if not self.run.closed:
            self.run.event(name, **data)

    @rule(state=st.sampled_from(["finished", "failed", "stopped"]))
    def ends(self, state: str) -> None:
        self.run.finish(state, None if state == "finished" else "why")

    @rule(torn=st.integers(0, 30))
    def is_killed(self, torn: int) -> None:
        self.run.abandon()
        if torn:
            with (self.home / ".run" / "journal.jsonl").open("ab") as file:
                file.write(b'{"crc":"00000000","at":"2026'[:torn])

    @rule(step=st.none() | steps)
    def resumes(self, step: int | None) -> None:
        if self.run.closed:
            self.run = resume_run(self.yard, self.home)
            self.run.begin_attempt(step)

    @rule()
    def loses_run_json(self) -> None:
        (self.home / ".run" / "run.json").unlink(missing_ok=True)

    @rule(at=st.floats(0, 1))
    def has_run_json_cut(self, at: float) -> None:
        path = self.home / ".run" / "run.json"
        if path.exists():
            faults.truncate(path, int(path.stat().st_size * at))

    @invariant()
    def run_json_is_the_fold_of_the_journal(self) -> None:
        if not hasattr(self, "home"):
            return
        folded = fold(read_journal(self.home / ".run" / "journal.jsonl")[0])
        found = RunReader(self.yard, self.home).snapshot
        expected = folded.to_dict()
        if expected["state"] == "running" and self.run.closed:
            expected["state"] = "crashed"
        assert repr(found.to_dict() | {"journal_bytes": 0}) == repr(expected | {"journal_bytes": 0})
        assert repr(Snapshot.from_dict(json.loads(json.dumps(found.to_dict()))).to_dict()) == repr(found.to_dict())
        if not self.run.closed:
            assert repr(self.run.snapshot.to_dict() | {"journal_bytes": 0}) == repr(
                folded.to_dict() | {"journal_bytes": 0}
            )
        assert all(c.paths for c in found.checkpoints)
        assert [c.step for c in found.checkpoints] == sorted({c.step for c in found.checkpoints})


TestRuns = Runs.TestCase
TestRuns.settings = settings(max_examples=12, stateful_step_count=15, deadline=None)


@pytest.mark.stress
class TestManyRuns(Runs.TestCase):  # type: ignore[misc, valid-type]
    settings = settings(max_examples=300, stateful_step_count=40, deadline=None)


CREATED = {
    "at": "2026-01-31T20:43:01.000Z",
    "event": "created",
    "id": "k3v9x0aq",
    "name": "n",
    "project": "p",
    "dataset": "d",
    "model": "m",
    "layout": "grouped",
    "home": "p/d/n/",
    "facts": {"run": "n"},
    "seed": None,
    "tags": [],
    "note": "",
    "config": {},
}
ATTEMPT = {"at": "2026-01-31T20:43:02.000Z", "event": "attempt", "n": 1, "pid": 1, "host": "h", "resumed_from": None}


@given(st.lists(events))
def test_fold_and_dict_are_inverse_for_any_events(events: list[tuple[str, dict[str, Any]]]) -> None:
    line = [CREATED, ATTEMPT, *({"at": "t", "event": name, **data} for name, data in events)]
    snapshot = fold(line)
    assert Snapshot.from_dict(snapshot.to_dict()) == snapshot
    assert Snapshot.from_dict(json.loads(json.dumps(snapshot.to_dict()))).to_dict() == snapshot.to_dict()


def checkpoint(step: int, **more: Any) -> dict[str, Any]:
    return {
        "at": "t",
        "event": "checkpoint",
        "step": step,
        "epoch": step / 10,
        "format": "hf",
        "metrics": {},
        "files": [{"name": "a", "size": 3, "sha256": "0"}, {"name": "optimizer.pt", "size": 5, "sha256": "0"}],
        "paths": {"checkpoint": f"c-{step}/"},
        **more,
    }


def test_checkpoints_come_and_go() -> None:
    published = [{"at": "t", "event": "published", "step": step, "place": "best", "path": "best/"} for step in (10, 20)]
    run = fold([CREATED, ATTEMPT, checkpoint(20), checkpoint(10), published[0]])
    assert [(c.step, c.paths) for c in run.checkpoints] == [
        (10, {"checkpoint": "c-10/", "best": "best/"}),
        (20, {"checkpoint": "c-20/"}),
    ]
    assert run.size_bytes == 16
    run.apply(published[1])  # the fixed name moves on
    assert [c.paths for c in run.checkpoints] == [{"checkpoint": "c-10/"}, {"checkpoint": "c-20/", "best": "best/"}]
    run.apply({"at": "t", "event": "stripped", "step": 20, "files": ["optimizer.pt"]})
    assert [(c.resumable, c.size) for c in run.checkpoints] == [(True, 8), (False, 3)]
    for place in ("checkpoint", "best"):
        run.apply({"at": "t", "event": "dropped", "step": 20, "place": place, "path": "x"})
    assert [c.step for c in run.checkpoints] == [10]


def test_a_resume_goes_back_to_its_step() -> None:
    progress = {"at": "t", "event": "progress", "step": 25, "epoch": 2.5, "metrics": {"val_loss": 1.0}}
    improved = {**progress, "best": {"step": 25, "epoch": 2, "metric": "val_loss", "value": 1.0}}
    run = fold([CREATED, ATTEMPT, checkpoint(20), improved])
    assert (run.step, run.epoch, run.best and run.best["step"]) == (25, 2.5, 25)
    run.apply({**ATTEMPT, "n": 2, "resumed_from": 20})
    assert (run.step, run.epoch, run.best, run.state) == (20, 2.0, None, "running")
    assert [a.state for a in run.attempts] == ["crashed", "running"]
    run.apply({"at": "later", "event": "ended", "state": "finished", "error": None})
    assert (run.state, run.ended, run.attempts[-1].state) == ("finished", "later", "finished")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "[]",
        "3",
        '"x"',
        "{}",
        '{"id": 1}',
        "{",
        "\x00" * 100,
        '{"attempts": 3, "records": [], "checkpoints": []}',
    ],
)
def test_an_unreadable_run_json_is_folded_anew(text: str, yard: Yard) -> None:
    with create_run(yard, load_layout("grouped"), project="p", dataset="d", model="m") as run:
        run.summary(accuracy=1.0)
    (run.home / ".run" / "run.json").write_text(text)
    assert RunReader(yard, run.home).snapshot.summary == {"accuracy": 1.0}
    (run.home / ".run" / "journal.jsonl").unlink()
    with pytest.raises(CorruptError, match=r"neither a readable run\.json nor a journal"):
        RunReader(yard, run.home)


def test_a_stale_run_json_is_folded_anew(yard: Yard) -> None:
    run = create_run(yard, load_layout("grouped"), project="p", dataset="d", model="m")
    stale = (run.home / ".run" / "run.json").read_bytes()
    run.summary(accuracy=1.0)
    run.finish()
    (run.home / ".run" / "run.json").write_bytes(stale)
    found = RunReader(yard, run.home).snapshot
    assert (found.summary, found.state) == ({"accuracy": 1.0}, "finished")
    (run.home / ".run" / "journal.jsonl").unlink()  # all that is left is old, but something
    assert RunReader(yard, run.home).snapshot.state == "crashed"


def test_a_damaged_journal_is_an_error_that_names_it(yard: Yard) -> None:
    with create_run(yard, load_layout("grouped"), project="p", dataset="d", model="m") as run:
        run.summary(accuracy=1.0)
    faults.flip_byte(run.home / ".run" / "journal.jsonl", 30)
    assert RunReader(yard, run.home).snapshot.state == "finished"  # run.json is whole and current
    (run.home / ".run" / "run.json").unlink()
    with pytest.raises(CorruptError, match=r"journal\.jsonl is damaged"):
        RunReader(yard, run.home)
