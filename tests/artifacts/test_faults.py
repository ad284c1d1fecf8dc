"""Logging under attack: whatever fails or is killed, every version is whole, and the next call completes it."""

from __future__ import annotations

import shutil
from pathlib import Path

import faults
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from trainyard.artifacts import Artifacts, Version
from trainyard.layouts import load_layout
from trainyard.runs import RunReader, Yard, create_run, find_homes, resume_run

EVERY = pytest.mark.parametrize("every", [5, pytest.param(1, marks=pytest.mark.stress)])  # each n-th call
LOG = """
import sys
from pathlib import Path
sys.path.insert(0, {here!r})
from test_faults import log
log(Path({state!r}))
"""


def prepare(state: Path) -> None:
    """A yard with one version of `data`, and a folder of the user's with the next."""
    yard = Yard(state / "yard", create=True)
    (state / "mine").mkdir()
    (state / "mine" / "same.txt").write_text("same")
    (state / "mine" / "new.txt").write_text("old")
    Artifacts(yard).log("data", state / "mine", project="p", aliases=["best"])
    (state / "mine" / "new.txt").unlink()
    (state / "mine" / "new.txt").write_text("new")
    create_run(yard, load_layout("grouped"), project="p", dataset="d", model="m").finish()


def log(state: Path, *, copy: bool = False) -> None:
    """Logs the folder as a run that is resumed does."""
    yard = Yard(state / "yard")
    (home,) = find_homes(yard)
    run = resume_run(yard, home)
    try:
        Artifacts(yard).log("data", state / "mine", run=run, aliases=["best"], copy=copy)
        Artifacts(yard).use("data", run)
    finally:
        run.abandon()


def whole(state: Path) -> None:
    """Every version there is, is whole; the old one is; aliases mean versions that are there."""
    store = Artifacts(Yard(state / "yard"))
    versions = list(store.versions())
    assert [version.number for version in versions] in ([0], [0, 1])
    for version in versions:
        assert store.faults(version) == []
    assert store.find("data:best").number in (0, 1)
    assert store.find("data").number == versions[-1].number, "latest is the version logged last, whole or not at all"
    for path in (state / "mine").iterdir():
        assert path.read_text() in ("same", "new"), "the user's files are as they were"


def complete(state: Path) -> None:
    """After the next call everything is said, and nothing half-made is left."""
    whole(state)
    yard = Yard(state / "yard")
    store = Artifacts(yard)
    found = store.find("data:best")
    assert (found.number, found.aliases, len(store.series(found).numbers())) == (1, ("latest", "best"), 2)
    (home,) = find_homes(yard)
    run = RunReader(yard, home).snapshot
    assert [(told["role"], told["artifact"]) for told in run.artifacts] == [
        ("logged", "p/data:v1"),
        ("used", "p/data:v1"),
    ]
    assert [note["role"] for note in store.series(found).notes(1)] == ["logged", "used"]
    assert list(yard.own.rglob(".tmp-*")) == []


@EVERY
@pytest.mark.parametrize("copy", [False, True])
def test_every_failing_call(tmp_path, copy, every):
    states = faults.States(tmp_path, prepare)
    calls = faults.sweep(lambda state: log(state, copy=copy), whole, fresh=states, succeeded=complete, every=every)
    assert calls > 40


@EVERY
def test_a_kill_at_any_call(tmp_path, every):
    """Each leaves what the next one completes."""
    states = faults.States(tmp_path, prepare)
    nth, killed = 1, 0
    while True:
        state = states()
        done = faults.run_killed(LOG.format(here=str(Path(__file__).parent), state=str(state)), nth_call=nth)
        if done.returncode == 0:
            break
        assert done.returncode == -9, done.stderr
        killed += 1
        whole(state)
        log(state)
        complete(state)
        nth += 2 * every
    assert killed > 5


class Versions(RuleBasedStateMachine):
    """Logging, naming and losing the disposable parts, beside a model that is two dictionaries."""

    @initialize()
    def begin(self) -> None:
        import tempfile

        self.folder = Path(tempfile.mkdtemp(prefix="trainyard-artifacts-"))
        self.store = Artifacts(Yard(self.folder / "yard", create=True))
        self.contents: list[str] = []
        self.aliases: dict[str, int] = {}

    @rule(content=st.sampled_from("abcdef"), aliases=st.sets(st.sampled_from(["best", "mine"])), copy=st.booleans())
    def log(self, content: str, aliases: set[str], copy: bool) -> None:
        path = self.folder / f"{content}.txt"
        path.unlink(missing_ok=True)
        path.write_text(content)
        if content not in self.contents:
            self.contents.append(content)
        number = self.contents.index(content)
        self.aliases |= dict.fromkeys(["latest", *aliases], number)
        version = self.store.log("data", {"file": path}, aliases=sorted(aliases), copy=copy)
        assert version.number == number

    @rule(alias=st.sampled_from(["best", "mine"]), back=st.integers(0, 3))
    def point(self, alias: str, back: int) -> None:
        if back < len(self.contents):
            number = len(self.contents) - 1 - back
            self.store.alias(self.store.find(f"data:v{number}"), add=[alias])
            self.aliases[alias] = number

    @rule()
    def lose_what_is_disposable(self) -> None:
        shutil.rmtree(self.store.yard.own / "cache", ignore_errors=True)
        shutil.rmtree(self.store.yard.own / "objects", ignore_errors=True)

    @rule()
    def move(self) -> None:
        moved = self.folder / f"yard-{len(list(self.folder.iterdir()))}"
        self.store.yard.root.rename(moved)
        self.store = Artifacts(Yard(moved))

    @invariant()
    def as_the_model_says(self) -> None:
        versions = [version for version in self.store.versions() if isinstance(version, Version)]
        assert [self.store.path(version, "file").read_text() for version in versions] == self.contents
        pointed = {alias: version.number for version in versions for alias in version.aliases}
        assert pointed == self.aliases

    def teardown(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)


Versions.TestCase.settings = settings(
    max_examples=8, stateful_step_count=12, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
TestVersions = Versions.TestCase
