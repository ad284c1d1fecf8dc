"""Several processes in one yard at the same moment: nothing is lost, shared or torn."""

from __future__ import annotations

import csv
import threading
from collections.abc import Callable
from pathlib import Path

import killing
import pytest

import trainyard
from trainyard.layouts import LAYOUTS
from trainyard.layouts.kinds import SHAREABLE
from trainyard.runs import RunReader, Yard, find_homes
from trainyard.upkeep.verify import Tally, verify_yard


def at_once(*actions: Callable[[], object]) -> None:
    """Runs all of them together; the first failure is raised."""
    failures: list[BaseException] = []

    def run(action: Callable[[], object]) -> None:
        try:
            action()
        except BaseException as failure:
            failures.append(failure)

    threads = [threading.Thread(target=run, args=(action,)) for action in actions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


def process(yard: Path, number: int, overrides: list[str], home: Path | None = None) -> Callable[[], object]:
    """Trains in a process of its own, whose errors have a place of their own."""
    (yard.parent / str(number)).mkdir(exist_ok=True)

    def action() -> None:
        assert killing.run(yard.parent / str(number) / ".." / yard.name, overrides, home=home) == 0

    return action


@pytest.mark.parametrize("layout", LAYOUTS)
def test_two_trainings_at_the_same_moment_never_collide(tmp_path: Path, small: list[str], layout: str) -> None:
    yard = tmp_path / "yard"
    overrides = [*small, "training.epochs=1", "outputs.plots=false", f"layout={layout}"]
    overrides.remove("training.epochs=2")
    at_once(*(process(yard, seed, [*overrides, f"run.seed={seed}"]) for seed in (0, 1)))
    runs = [RunReader(Yard(yard), home) for home in sorted(find_homes(Yard(yard)))]
    assert [run.snapshot.state for run in runs] == ["finished", "finished"]
    assert {run.snapshot.seed for run in runs} == {0, 1}
    assert runs[0].snapshot.id != runs[1].snapshot.id
    paths = []
    for run in runs:
        own = {record.path for record in run.snapshot.records if record.kind not in SHAREABLE}
        paths.append(own | {path for c in run.snapshot.checkpoints for path in c.paths.values()})
    assert paths[0].isdisjoint(paths[1])
    assert len(paths[0]) == len(paths[1]) > 5
    assert list(verify_yard(Yard(yard), Tally())) == []
    if layout == "grouped":
        rows = list(csv.DictReader((yard / "demo/metrics.csv").read_text().splitlines()))
        assert sorted((row["id"], row["split"]) for row in rows) == sorted(
            (run.snapshot.id, split) for run in runs for split in ("val", "test")
        )


def test_a_yard_is_read_while_it_is_written(tmp_path: Path, small: list[str]) -> None:
    """Whatever a reader sees is whole: a snapshot, a history that only grows, checkpoints that verify."""
    yard = tmp_path / "yard"
    over = threading.Event()
    seen: list[int] = []

    def write() -> None:
        try:
            overrides = [*small, "training.epochs=12", "training.log_every=1", "outputs.plots=false"]
            overrides.remove("training.epochs=2")
            process(yard, 0, overrides)()
        finally:
            over.set()

    def read() -> None:
        while not over.is_set():
            if not yard.exists():
                continue
            for run in trainyard.open(yard).runs():
                rows = run.history()
                seen.append(len(rows))
                assert [row["step"] for row in rows] == sorted(row["step"] for row in rows)
                assert run.state in ("running", "finished")
            for finding in verify_yard(Yard(yard), Tally()):
                # what retention moves away between being listed and being read
                assert "missing" in finding.what or "other bytes" in finding.what, finding

    at_once(write, read)
    assert len(seen) > 3
    assert seen == sorted(seen)
    assert list(verify_yard(Yard(yard), Tally())) == []
    assert trainyard.open(yard).run("last").state == "finished"


def test_only_one_of_two_resumes_gets_the_run(tmp_path: Path, small: list[str]) -> None:
    yard = tmp_path / "yard"
    overrides = [*small, "training.epochs=6", "outputs.plots=false"]
    overrides.remove("training.epochs=2")
    assert killing.run(yard, overrides, kill_at_call=150) != 0
    (home,) = find_homes(Yard(yard))
    refused: list[str] = []

    def resume(number: int) -> None:
        try:
            process(yard, number, overrides, home)()
        except AssertionError as error:
            refused.append(str(error))

    at_once(lambda: resume(0), lambda: resume(1))
    (why,) = refused
    assert "RunBusyError" in why or "is finished" in why
    run = RunReader(Yard(yard), home)
    assert run.snapshot.state == "finished"
    assert len(run.snapshot.attempts) == 2
    steps = [row["step"] for row in run.history() if row["split"] == "val"]
    assert steps == [20, 40, 60, 80, 100, 120]
