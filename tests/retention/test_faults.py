"""Every system call of a clean-up fails once, or is the last one before SIGKILL: nothing is ever lost."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import warnings
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from retention_yards import facts, save, train, trained, tree

from trainyard import durable
from trainyard.checkpoints import problems
from trainyard.errors import TrainyardError, UserError
from trainyard.retention import KeepPolicy, Plan, apply, combine, empty_trash, list_trash, rotate, undo
from trainyard.retention.cleaning import (
    clean_checkpoints,
    remove_cache,
    remove_logs,
    remove_runs,
    run_facts,
    strip_optimizer,
)
from trainyard.retention.run_policy import by_choice
from trainyard.runs import RunReader, Yard, find_homes, resume_run

EVERY = pytest.mark.parametrize("every", [6, pytest.param(1, marks=pytest.mark.stress)])  # each n-th call
LAYOUTS = ("shared", "files")  # single files outside the home; directories with a published one
Strike = Callable[[], None]


class Faulty(durable.SystemCalls):
    """Counts the calls that change the disk and strikes at the n-th. Does not wait for the disk."""

    def __init__(self, n: int, strike: Strike) -> None:
        self.count = 0
        self.n = n
        self.strike = strike

    def _count(self) -> None:
        self.count += 1
        if self.count == self.n:
            self.strike()

    def write(self, fd: int, data: memoryview) -> int:
        self._count()
        return super().write(fd, data)

    def fsync(self, fd: int) -> None:
        self._count()

    def rename(self, source: Path, target: Path) -> None:
        self._count()
        super().rename(source, target)

    def link(self, source: Path, target: Path) -> None:
        self._count()
        super().link(source, target)

    def mkdir(self, path: Path) -> None:
        self._count()
        super().mkdir(path)

    def unlink(self, path: Path) -> None:
        self._count()
        super().unlink(path)

    def truncate(self, fd: int, size: int) -> None:
        self._count()
        super().truncate(fd, size)


def fail() -> None:
    raise OSError(errno.EIO, "struck")


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.fixture(scope="module", autouse=True)
def _unsynced() -> Iterator[None]:
    """Waits for no disk in what is not struck, either."""
    calls, durable.calls = durable.calls, Faulty(-1, fail)
    yield
    durable.calls = calls


def strike(action: Callable[[], Any], n: int, how: Strike) -> bool:
    """Does `action` with the n-th call struck; False when it ended before that."""
    if how is die:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of forking beside threads, in Python 3.12
            child = os.fork()
        if child == 0:
            durable.calls = Faulty(n, die)
            try:
                action()
            finally:
                os._exit(0)
        return os.waitpid(child, 0)[1] != 0
    calls, durable.calls = durable.calls, Faulty(n, how)
    try:
        action()
    except (OSError, TrainyardError):
        return True
    finally:
        struck, durable.calls = durable.calls.count >= n, calls  # type: ignore[attr-defined]
    return struck


class Scene:
    """A yard with a plan of each kind of item, copied afresh for each strike."""

    def __init__(self, folder: Path, layout: str) -> None:
        self._folder = folder
        self._copies = 0
        yard = Yard(folder / "original", create=True)
        trained(yard, layout)
        trained(yard, layout, "other", losses={10: 0.5, 20: 0.6})
        (yard.root / "cache" / "deep").mkdir(parents=True)
        (yard.root / "cache" / "deep" / "file").write_bytes(b"cached")
        self.plan = self._plan(yard)
        assert {item.action for item in self.plan.items} >= {"drop", "remove", "delete", "file"}
        self.files, self.known = self.state(yard)
        done = self.copy()
        apply(done, self.plan)
        self.after = self.state(done)

    def _plan(self, yard: Yard) -> Plan:
        readers = sorted((RunReader(yard, home) for home in find_homes(yard)), key=lambda run: run.snapshot.name)
        run = next(r for r in readers if r.snapshot.name == "cnn")
        other = next(r for r in readers if r.snapshot.name == "other")
        return combine(
            yard,
            "Everything",
            [
                clean_checkpoints(yard, [run], KeepPolicy(last=2), named=[30]),
                strip_optimizer(yard, [run]),
                remove_logs(yard, [run], 1, now=datetime.now(UTC) + timedelta(days=9)),
                remove_runs(yard, by_choice(map(run_facts, readers), {other.snapshot.id}, "x"), readers),
                remove_cache(yard),
            ],
        )

    def copy(self) -> Yard:
        """Another yard like the first, links and all."""
        self._copies += 1
        target = self._folder / f"copy-{self._copies}"
        subprocess.run(["cp", "-a", str(self._folder / "original"), str(target)], check=True)
        return Yard(target)

    @staticmethod
    def state(yard: Yard) -> tuple[Any, Any]:
        """Every file with its digest, and what each run says."""
        runs = [RunReader(yard, home) for home in find_homes(yard)]
        return tree(yard), {run.snapshot.id: facts(run) for run in runs}

    @property
    def before(self) -> tuple[Any, Any]:
        return self.files, self.known


@pytest.fixture(scope="module", params=LAYOUTS)
def scene(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Scene:
    return Scene(tmp_path_factory.mktemp("yards"), request.param)


def strikes(make: Callable[[], Yard], action: Callable[[Yard], Any], how: Strike, *, every: int = 1) -> Iterator[Yard]:
    """Yards in which `action` was struck at its 1st, 2nd … call, until it is through."""
    n = 1
    while True:
        yard = make()
        if not strike(lambda yard=yard: action(yard), n, how):  # type: ignore[misc]
            assert n > 10  # it did strike
            return
        yield yard
        n += every


def undo_all(yard: Yard) -> None:
    for _ in range(5):
        try:
            report = undo(yard)
        except UserError:
            return
        assert report.problems == ()
    raise AssertionError("the trash does not get empty")


def without_links(state: tuple[Any, Any]) -> tuple[Any, Any]:
    """The state without how many links each file has: emptying the trash takes some."""
    files, known = state
    return {path: file and file[0] for path, file in files.items()}, known


def assert_readable(yard: Yard) -> None:
    """Whatever a run says it has is there, whole."""
    for home in find_homes(yard):
        run = RunReader(yard, home)
        for checkpoint in run.snapshot.checkpoints:
            assert problems(run, checkpoint, deep=False) == []
        for record in run.snapshot.records:
            assert run.resolve(record.path).exists()


@EVERY
@pytest.mark.parametrize("how", [fail, die])
def test_apply_struck_anywhere_then_undone_then_applied(scene: Scene, how: Strike, every: int) -> None:
    for yard in strikes(scene.copy, lambda yard: apply(yard, scene.plan), how, every=every):
        assert_readable(yard)
        undo_all(yard)
        assert scene.state(yard) == scene.before
        entry = apply(yard, scene.plan)
        assert entry is not None
        assert entry.skipped == ()
        assert scene.state(yard) == scene.after


@EVERY
def test_apply_struck_anywhere_then_applied_again(scene: Scene, every: int) -> None:
    for yard in strikes(scene.copy, lambda yard: apply(yard, scene.plan), die, every=every):
        apply(yard, scene.plan)
        assert scene.state(yard) == scene.after
        assert all(entry.done for entry in list_trash(yard))
        undo_all(yard)
        assert scene.state(yard) == scene.before


@EVERY
def test_what_a_killed_apply_began_is_finished_without_the_plan(scene: Scene, every: int) -> None:
    for yard in strikes(scene.copy, lambda yard: apply(yard, scene.plan), die, every=every):
        empty_trash(yard, older_than_days=1)
        assert_readable(yard)
        recorded = tuple(
            path
            for home in find_homes(yard)
            for run in [RunReader(yard, home)]
            for path in [
                *(record.path for record in run.snapshot.records),
                *(path for checkpoint in run.snapshot.checkpoints for path in checkpoint.paths.values()),
            ]
        )  # no file is left that no run knows, nor of which its run has let go
        files = [path for path in tree(yard) if not path.endswith("/") and not path.startswith("cache/")]
        assert [path for path in files if not path.startswith(recorded)] == []
        undo_all(yard)
        assert scene.state(yard) == scene.before


@EVERY
@pytest.mark.parametrize("how", [fail, die])
def test_undo_struck_anywhere(scene: Scene, how: Strike, every: int) -> None:
    def applied() -> Yard:
        yard = scene.copy()
        apply(yard, scene.plan)
        return yard

    for yard in strikes(applied, undo, how, every=every):
        assert_readable(yard)
        undo_all(yard)
        assert scene.state(yard) == scene.before


@EVERY
def test_emptying_struck_anywhere(scene: Scene, every: int) -> None:
    def applied() -> Yard:
        yard = scene.copy()
        apply(yard, scene.plan)
        return yard

    for yard in strikes(applied, empty_trash, die, every=every):
        assert_readable(yard)
        entries = list_trash(yard)  # whole, or not there
        empty_trash(yard)
        assert list(yard.trash.iterdir()) == []
        assert len(entries) <= 1
        assert without_links(scene.state(yard)) == without_links(scene.after)


@EVERY
@pytest.mark.parametrize("layout", ["grouped", "trials"])
def test_rotation_killed_anywhere(tmp_path: Path, layout: str, every: int) -> None:
    """The run resumes, and later rotations leave exactly what the policy keeps."""
    original = Yard(tmp_path / "original", create=True)
    policy = KeepPolicy(last=2, best=1, optimizer="last")
    run = train(original, layout, losses={})
    for step, loss in {10: 0.9, 20: 0.5, 30: 0.6, 40: 0.7}.items():
        save(run, step, loss, best=step <= 20)
        if step < 40:
            rotate(run, policy)
    run.finish("failed", "to be resumed")
    home = original.relative(run.home)
    copies = iter(range(1000))

    def copy() -> Yard:
        target = tmp_path / f"copy-{next(copies)}"
        subprocess.run(["cp", "-a", str(original.root), str(target)], check=True)
        return Yard(target)

    def resume_and_rotate(yard: Yard) -> None:
        with resume_run(yard, yard.root / home) as resumed:
            resumed.begin_attempt(40)
            rotate(resumed, policy)

    def finish(yard: Yard) -> Any:
        with resume_run(yard, yard.root / home) as resumed:
            resumed.begin_attempt(40)
            save(resumed, 50, 0.8)
            rotate(resumed, policy)
        assert_readable(yard)
        assert len(list_trash(yard)) == 1
        return tree(yard), RunReader(yard, yard.root / home).snapshot.checkpoints

    clean = copy()
    resume_and_rotate(clean)
    expected = finish(clean)

    def without_times(state: Any) -> Any:
        files, checkpoints = state
        return set(files) - {path for path in files if "manifest" in path}, [
            (c.step, c.paths, c.resumable, c.files) for c in checkpoints
        ]

    for yard in strikes(copy, resume_and_rotate, die, every=every):
        assert_readable(yard)
        assert without_times(finish(yard)) == without_times(expected)
