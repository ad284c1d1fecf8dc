from __future__ import annotations

import json
import shutil
from pathlib import Path

import faults
import pytest
from happenings import happenings, steps
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from trainyard import jsonl
from trainyard.errors import CorruptError
from trainyard.layouts import load_layout
from trainyard.runs import BestStep, Event, RunReader, RunWriter, Snapshot, Yard, create_run, resume_run
from trainyard.runs.events import (
    AttemptBegan,
    CheckpointCommitted,
    Created,
    Dropped,
    Ended,
    Progressed,
    Published,
    Stripped,
)
from trainyard.runs.journal import read_journal
from trainyard.runs.snapshot import fold


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

    @rule(event=happenings)
    def happens(self, event: Event) -> None:
        if not self.run.closed:
            self.run.event(event)

    @rule(together=st.lists(happenings, max_size=4), flushed=st.booleans())
    def happen(self, together: list[Event], flushed: bool) -> None:
        if not self.run.closed:
            with self.run.batch():
                for event in together:
                    self.run.event(event)
                    if flushed:
                        self.run.flush()

    @rule(state=st.sampled_from(["finished", "failed", "stopped"]))
    def ends(self, state: str) -> None:
        self.run.finish(state, None if state == "finished" else "why")

    @rule(torn=st.integers(0, 30))
    def is_killed(self, torn: int) -> None:
        self.run.abandon()
        if torn:
            with (self.home / ".run" / "journal.jsonl").open("ab") as file:
                file.write(b'{"crc":"00000000","at":"2026'[:torn])

    @rule()
    def a_later_version_writes_to_it(self) -> None:
        self.run.abandon()
        appender = jsonl.Appender(self.home / ".run" / "journal.jsonl")
        appender.append(jsonl.encode_line({"at": "t", "event": "from a later version", "anything": 1}))
        appender.close()

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


CREATED = Created(
    id="k3v9x0aq",
    project="p",
    dataset="d",
    model="m",
    name="n",
    layout="grouped",
    home="p/d/n/",
    facts={"run": "n"},
    seed=None,
    tags=[],
    note="",
    config={},
    at="2026-01-31T20:43:01.000Z",
)
ATTEMPT = AttemptBegan(1, 1, "h", None, at="2026-01-31T20:43:02.000Z")


@given(st.lists(happenings))
def test_fold_and_dict_are_inverse_for_any_events(happened: list[Event]) -> None:
    snapshot = fold([CREATED, ATTEMPT, *happened])
    assert Snapshot.from_dict(snapshot.to_dict()) == snapshot
    assert Snapshot.from_dict(json.loads(json.dumps(snapshot.to_dict()))).to_dict() == snapshot.to_dict()


def checkpoint(step: int) -> CheckpointCommitted:
    two = [{"name": "a", "size": 3, "sha256": "0"}, {"name": "optimizer.pt", "size": 5, "sha256": "0"}]
    return CheckpointCommitted(step, step / 10, "hf", {}, two, {"checkpoint": f"c-{step}/"})


def test_checkpoints_come_and_go() -> None:
    run = fold([CREATED, ATTEMPT, checkpoint(20), checkpoint(10), Published(10, "best", "best/")])
    assert [(c.step, c.paths) for c in run.checkpoints] == [
        (10, {"checkpoint": "c-10/", "best": "best/"}),
        (20, {"checkpoint": "c-20/"}),
    ]
    assert run.size_bytes == 16
    run.apply(Published(20, "best", "best/"))  # the fixed name moves on
    assert [c.paths for c in run.checkpoints] == [{"checkpoint": "c-10/"}, {"checkpoint": "c-20/", "best": "best/"}]
    run.apply(Stripped(20, ["optimizer.pt"]))
    assert [(c.resumable, c.size) for c in run.checkpoints] == [(True, 8), (False, 3)]
    for place in ("checkpoint", "best"):
        run.apply(Dropped(20, place, "x"))
    assert [c.step for c in run.checkpoints] == [10]


def test_a_resume_goes_back_to_its_step() -> None:
    improved = Progressed(25, 2.5, {"val_loss": 1.0}, BestStep(25, 2, 1.0, "val_loss"))
    run = fold([CREATED, ATTEMPT, checkpoint(20), improved])
    assert (run.step, run.epoch, run.best and run.best.step) == (25, 2.5, 25)
    run.apply(AttemptBegan(2, 1, "h", 20))
    assert (run.step, run.epoch, run.best, run.state) == (20, 2.0, None, "running")
    assert [a.state for a in run.attempts] == ["crashed", "running"]
    run.apply(Ended("finished", None, at="later"))
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
    with pytest.raises(CorruptError) as caught:
        RunReader(yard, run.home)
    assert caught.value.place == str(run.home)
    assert ".run/" in caught.value.remedy


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
    with pytest.raises(CorruptError) as caught:
        RunReader(yard, run.home)
    assert "journal.jsonl" in caught.value.what
    assert "trainyard verify" in caught.value.remedy
