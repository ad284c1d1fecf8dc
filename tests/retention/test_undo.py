from __future__ import annotations

from dataclasses import replace

import pytest
from retention_yards import facts, reread, trained, tree

from trainyard.checkpoints import publish
from trainyard.errors import RunNotFoundError, UserError
from trainyard.retention import KeepPolicy, Plan, apply, list_trash, undo
from trainyard.retention.cleaning import clean_checkpoints, strip_optimizer
from trainyard.runs import RunReader, Yard, amend
from trainyard.runs.events import CheckpointCommitted

INTERMEDIATE = KeepPolicy(last=0)


def drop(yard: Yard, run: RunReader, step: int, place: str | None = None) -> str:
    plan = clean_checkpoints(yard, [reread(run)], KeepPolicy(), named=[step])
    items = tuple(item for item in plan.items if place is None or item.data["place"] == place)
    entry = apply(yard, Plan("x", items))
    assert entry is not None
    assert entry.skipped == ()
    return entry.name


def test_an_empty_trash_and_an_unknown_entry(yard: Yard) -> None:
    with pytest.raises(UserError) as raised:
        undo(yard)
    assert (raised.value.value, raised.value.place) == (None, str(yard.trash))
    name = drop(yard, trained(yard, "grouped"), 10)
    with pytest.raises(UserError) as raised:
        undo(yard, "2020")
    assert (raised.value.value, raised.value.place) == ("2020", str(yard.trash))
    assert name in raised.value.remedy


@pytest.mark.parametrize("layout", ["grouped", "trials", "files"])
def test_in_any_order(yard: Yard, layout: str) -> None:
    run = trained(yard, layout)
    files, known = tree(yard), facts(run)
    names = [drop(yard, run, step) for step in (10, 20, 30, 50)]
    for name in (names[1], names[3], names[0], names[2]):
        assert undo(yard, name).problems == ()
    assert tree(yard) == files
    assert facts(reread(run)) == known


@pytest.mark.parametrize("first", ["checkpoint", "best"])
@pytest.mark.parametrize("undone_first", [0, 1])
def test_both_places_of_a_directory_in_any_order(yard: Yard, first: str, undone_first: int) -> None:
    run = trained(yard, "files")
    files, known = tree(yard), facts(run)
    second = {"checkpoint": "best", "best": "checkpoint"}[first]
    names = [drop(yard, run, 30, first), drop(yard, run, 30, second)]
    assert reread(run).snapshot.checkpoint(30) is None
    assert undo(yard, names.pop(undone_first)).problems == ()
    half = reread(run).snapshot.checkpoint(30)
    assert half is not None
    assert half.resumable is ("checkpoint" in half.paths)
    assert undo(yard, names.pop()).problems == ()
    assert tree(yard) == files
    assert facts(reread(run)) == known


def test_what_exists_now_is_never_replaced(yard: Yard) -> None:
    run = trained(yard, "grouped")
    name = drop(yard, run, 10)
    intruder = run.home / "checkpoint-10"
    intruder.mkdir()
    report = undo(yard)
    assert report.restored == ()
    assert "p/d/cnn/checkpoint-10/" in report.problems[0]
    assert f"{name}/0000" in report.problems[0]
    assert name in report.describe()
    assert list(intruder.iterdir()) == []
    intruder.rmdir()
    assert undo(yard).problems == ()
    assert len(reread(run).snapshot.checkpoints) == 5


def test_a_moving_name_that_another_checkpoint_has_now(yard: Yard) -> None:
    run = trained(yard, "shared")
    drop(yard, run, 30, "best")
    with amend(yard, run.home) as writer:
        publish(writer, writer.snapshot.checkpoints[-1], "best")
    before = facts(reread(run))
    report = undo(yard)
    assert report.restored == ()
    assert "checkpoints/cnn_best.pth" in report.problems[0]
    assert f"{report.name}/0000" in report.problems[0]
    assert facts(reread(run)) == before


def test_optimizer_state_of_a_checkpoint_that_was_dropped_later(yard: Yard) -> None:
    run = trained(yard, "grouped")
    files, known = tree(yard), facts(run)
    stripped = apply(yard, strip_optimizer(yard, [run]))
    assert stripped is not None
    dropped = drop(yard, run, 10)
    report = undo(yard, stripped.name)
    assert len(report.restored) == 3
    assert len(report.problems) == 1
    assert report.problems[0].startswith(f"optimizer state of checkpoint 10 of cnn ({run.snapshot.id}): ")
    assert not (run.home / "checkpoint-10").exists()
    assert undo(yard, dropped).problems == ()
    assert undo(yard).problems == ()
    assert list_trash(yard) == []
    assert tree(yard) == files
    assert facts(reread(run)) == known


def test_a_checkpoint_of_the_step_made_since(yard: Yard) -> None:
    run = trained(yard, "files")
    drop(yard, run, 30, "best")
    with amend(yard, run.home) as writer:
        old = next(c for c in writer.snapshot.checkpoints if c.step == 30)
        event = CheckpointCommitted(old.step, old.epoch, old.format, old.metrics, old.files, old.paths)
        writer.event(replace(event, at="2099-01-01T00:00:00.000Z"))
    before = facts(reread(run))
    report = undo(yard)
    assert report.restored == ()
    assert len(report.problems) == 1
    assert facts(reread(run)) == before
    assert [entry.name for entry in list_trash(yard)] == [report.name]


def test_a_run_that_was_removed_later(yard: Yard) -> None:
    from trainyard.retention.cleaning import remove_runs, run_facts
    from trainyard.retention.run_policy import by_state

    run = trained(yard, "grouped")
    files = tree(yard)
    name = drop(yard, run, 10)
    apply(yard, remove_runs(yard, by_state([run_facts(reread(run))], {"finished"}), [reread(run)]))
    report = undo(yard, name)
    assert report.restored == ()
    with pytest.raises(RunNotFoundError) as raised, amend(yard, run.home):
        pytest.fail("the run is gone")
    assert report.problems[0].endswith(raised.value.what)
    assert undo(yard).problems == ()
    assert undo(yard).problems == ()
    assert tree(yard) == files
