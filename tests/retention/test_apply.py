from __future__ import annotations

import json
import os
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from retention_yards import LOSSES, content, facts, reread, save, train, trained, tree

from trainyard import durable, jsonl
from trainyard.checkpoints import choose, problems
from trainyard.errors import RunBusyError, UserError
from trainyard.layouts import load_layout
from trainyard.retention import KeepPolicy, Plan, apply, combine, empty_trash, list_trash, rotate, undo
from trainyard.retention.apply import CHANGED, GONE
from trainyard.retention.cleaning import (
    clean_checkpoints,
    remove_cache,
    remove_logs,
    remove_runs,
    run_facts,
    strip_optimizer,
)
from trainyard.retention.measure import measure
from trainyard.retention.run_policy import by_choice
from trainyard.runs import RunReader, RunWriter, Yard, amend, create_run, find_homes, resume_run

LAYOUTS = ("grouped", "shared", "dated", "trials", "files")
INTERMEDIATE = KeepPolicy(last=0)


def remove(yard: Yard, *runs: RunReader) -> Plan:
    chosen = by_choice(map(run_facts, runs), {run.snapshot.id for run in runs}, "x")
    return remove_runs(yard, chosen, runs)


def everything(yard: Yard, run: RunReader, other: RunReader) -> Plan:
    """A plan with each kind of item in it."""
    (yard.root / "cache" / "deep").mkdir(parents=True)
    (yard.root / "cache" / "deep" / "file").write_bytes(b"cached")
    return combine(
        yard,
        "Everything",
        [
            clean_checkpoints(yard, [run], KeepPolicy(last=2)),
            strip_optimizer(yard, [run]),
            remove_logs(yard, [run], 1, now=datetime.now(UTC) + timedelta(days=9)),
            remove(yard, other),
            remove_cache(yard),
        ],
    )


def refusal(yard: Yard, run: RunReader | RunWriter) -> str:
    """What is said of a busy run to whoever wants to write to it."""
    with pytest.raises(RunBusyError) as raised, amend(yard, run.home):
        pytest.fail("the run is busy")
    return raised.value.what


@pytest.mark.parametrize("layout", LAYOUTS)
def test_undo_restores_everything(yard: Yard, layout: str) -> None:
    run, other = trained(yard, layout), trained(yard, layout, "other")
    plan = everything(yard, run, other)
    files, known, others = tree(yard), facts(run), facts(other)
    entry = apply(yard, plan)
    assert entry is not None
    assert entry.done
    assert entry.skipped == ()
    gone = set(files) - set(tree(yard))
    assert {path.rstrip("/") for item in plan.items for path in item.paths} <= {path.rstrip("/") for path in gone}
    assert not (other.home / ".run").exists()
    assert problems(reread(run), reread(run).snapshot.checkpoints[-1]) == []
    for checkpoint in reread(run).snapshot.checkpoints:
        assert problems(reread(run), checkpoint) == []

    report = undo(yard)
    assert report.problems == ()
    assert len(report.restored) == len(plan.items)
    assert tree(yard) == files
    assert facts(reread(run)) == known
    assert facts(reread(other)) == others
    assert list_trash(yard) == []


def test_applying_again_finds_nothing_left_to_do(yard: Yard) -> None:
    run, other = trained(yard, "shared"), trained(yard, "shared", "other")
    plan = everything(yard, run, other)
    apply(yard, plan)
    after = tree(yard)
    entry = apply(yard, plan)
    assert entry is not None
    assert {why for _, why in entry.skipped} == {GONE}
    assert len(entry.skipped) == len(plan.items)
    assert tree(yard) == after
    assert apply(yard, Plan("Nothing")) is None


def test_the_journal_says_what_went_and_why(yard: Yard) -> None:
    run = trained(yard, "grouped")
    apply(yard, clean_checkpoints(yard, [run], INTERMEDIATE))
    events = jsonl.read_lines(run.home / ".run" / "journal.jsonl")[0]
    dropped = [event for event in events if event["event"] == "dropped"]
    assert [(e["step"], e["place"], e["path"]) for e in dropped] == [
        (step, "checkpoint", f"p/d/cnn/checkpoint-{step}/") for step in (10, 20, 40)
    ]
    assert {e["why"] for e in dropped} == {"superseded: not the best"}
    assert [c.step for c in reread(run).snapshot.checkpoints] == [30, 50]


def test_the_trash_holds_the_plan(yard: Yard) -> None:
    run = trained(yard, "grouped")
    plan = clean_checkpoints(yard, [run], INTERMEDIATE)
    entry = apply(yard, plan)
    assert entry is not None
    (listed,) = list_trash(yard)
    assert listed == entry
    assert listed.items == plan.items
    assert json.loads((entry.path / "plan.json").read_text())["items"][0]["kept_as"] == ["0000"]
    assert (entry.path / "0000" / "model.safetensors").read_bytes() == content(
        f"{run.snapshot.id} 10 model.safetensors"
    )


def test_a_best_directory_without_its_own_place_is_not_resumable(yard: Yard) -> None:
    run = trained(yard, "files")
    known = facts(run)
    apply(yard, clean_checkpoints(yard, [run], KeepPolicy(), named=[10]))
    plan = clean_checkpoints(yard, [reread(run)], KeepPolicy(), named=[30])
    own = [item for item in plan.items if item.data["place"] == "checkpoint"]
    apply(yard, Plan("Its own place only", tuple(own)))
    left = reread(run)
    checkpoint = left.snapshot.checkpoint(30)
    assert checkpoint is not None
    assert not checkpoint.resumable
    assert list(checkpoint.paths) == ["best"]
    assert {file["name"] for file in checkpoint.files} == {"pytorch_model.bin", "config.json", "frozen.safetensors"}
    assert problems(left, checkpoint) == []
    chosen = choose(left, step="best")
    assert chosen is not None
    assert chosen.path == left.resolve(checkpoint.paths["best"])
    undo(yard)
    undo(yard)
    assert facts(reread(run)) == known


def test_what_changed_since_the_plan_was_made_is_left_alone(yard: Yard) -> None:
    run, renamed = trained(yard, "grouped"), trained(yard, "grouped", "renamed")
    plan = combine(yard, "Both", [clean_checkpoints(yard, [run], INTERMEDIATE), remove(yard, renamed)])
    with resume_run(yard, run.home) as writer:
        writer.begin_attempt(10)
    renamed.home.rename(yard.root / "p" / "d" / "elsewhere")
    with create_run(yard, load_layout("grouped"), project="p", dataset="d", model="m", name="renamed"):
        pass
    files = tree(yard)
    entry = apply(yard, plan)
    assert entry is not None
    assert {why for _, why in entry.skipped} == {CHANGED}
    assert tree(yard) == files


def test_a_busy_run_is_skipped_and_others_are_not(yard: Yard) -> None:
    run, other = trained(yard, "grouped"), trained(yard, "grouped", "other")
    plan = combine(yard, "Both", [clean_checkpoints(yard, [run, other], INTERMEDIATE)])
    with amend(yard, run.home):
        entry = apply(yard, plan)
        why_busy = refusal(yard, run)
    assert entry is not None
    assert [why for _, why in entry.skipped] == [why_busy] * 3
    assert len(reread(run).snapshot.checkpoints) == 5
    assert len(reread(other).snapshot.checkpoints) == 2
    with amend(yard, other.home):
        assert all(problem.endswith(refusal(yard, other)) for problem in undo(yard).problems)
    assert undo(yard).problems == ()
    assert len(reread(other).snapshot.checkpoints) == 5


def test_a_removed_run_is_noted_for_indexes_and_its_name_is_free(yard: Yard) -> None:
    run = trained(yard, "shared")
    yard.changes_path.unlink()
    apply(yard, remove(yard, run))
    assert yard.changes_path.read_text().splitlines()[-1] == "artifacts/cnn/"
    assert list(find_homes(yard)) == []
    assert not list((yard.root / "checkpoints").iterdir())
    again = trained(yard, "shared")
    assert again.home == run.home
    assert again.snapshot.id != run.snapshot.id
    report = undo(yard)
    assert report.restored == ()
    assert f"{report.name}/0000" in report.problems[0]
    assert [e.name for e in list_trash(yard)] == [report.name]  # still there
    apply(yard, remove(yard, again))
    assert undo(yard, report.name).problems == ()
    assert reread(run).snapshot.id == run.snapshot.id


# -- rotation


def test_rotation_keeps_the_policy_and_one_step_back(yard: Yard) -> None:
    policy = KeepPolicy(last=2)
    with train(yard, "grouped", losses={}) as run:
        for step, loss in LOSSES.items():
            save(run, step, loss, best=step <= 30)
            entry = rotate(run, policy)
            assert len(list_trash(yard)) <= 1
            if entry is not None:
                assert entry.kind == "rotation"
                assert entry.run_id == run.id
        assert [c.step for c in run.snapshot.checkpoints] == [30, 40, 50]
        assert rotate(run, policy) is None
    reader = RunReader(yard, run.home)
    (last,) = list_trash(yard, run.id)
    assert [item.data["step"] for item in last.items] == [20]
    assert undo(yard, last.name).problems == ()
    assert [c.step for c in reread(reader).snapshot.checkpoints] == [20, 30, 40, 50]
    for checkpoint in reread(reader).snapshot.checkpoints:
        assert problems(reread(reader), checkpoint) == []


def test_rotation_counts_recent_and_best_names_apart(yard: Yard) -> None:
    with train(yard, "trials", losses={}) as run:
        for step, loss in {10: 0.9, 20: 0.8, 30: 0.7, 40: 0.6, 50: 0.65, 60: 0.66}.items():
            save(run, step, loss, best=step <= 40)
            rotate(run, KeepPolicy(last=2, best=3))
    home = run.home
    assert sorted(path.name for path in (home / "checkpoints").iterdir()) == ["epoch_5.pt", "epoch_6.pt"]
    assert sorted(path.name for path in (home / "best_checkpoints").iterdir()) == [f"epoch_{n}.pt" for n in (2, 3, 4)]


def test_rotation_takes_optimizer_state_of_superseded_checkpoints(yard: Yard) -> None:
    with train(yard, "grouped", losses={}) as run:
        for step, loss in LOSSES.items():
            save(run, step, loss, best=step <= 30)
            rotate(run, KeepPolicy(last=2, optimizer="last"))
        assert [(c.step, c.resumable) for c in run.snapshot.checkpoints] == [(30, False), (40, False), (50, True)]
    for checkpoint in run.snapshot.checkpoints:
        assert problems(RunReader(yard, run.home), checkpoint) == []


def test_rotation_spares_protected_steps(yard: Yard) -> None:
    with train(yard, "grouped") as run:
        rotate(run, KeepPolicy(last=1), protected_steps={10: "x learns from it"})
        assert [c.step for c in run.snapshot.checkpoints] == [10, 30, 50]


def test_rotation_syncs_a_handful_of_times(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []

    class Counting(durable.SystemCalls):
        def fsync(self, fd: int) -> None:
            synced.append(fd)

    with train(yard, "grouped", losses={}) as run:
        for step, loss in LOSSES.items():
            save(run, step, loss)
            if step == 50:
                monkeypatch.setattr(durable, "calls", Counting())
            rotate(run, KeepPolicy(last=2, best=1))
    assert 0 < len(synced) <= 10 + 6  # those of `finish`, too


def test_undo_takes_the_newest_clean_not_a_rotation(yard: Yard) -> None:
    run = trained(yard, "grouped")
    cleaned = apply(yard, clean_checkpoints(yard, [run], KeepPolicy(last=4)))
    with train(yard, "grouped", "later") as later:
        rotation = rotate(later, KeepPolicy(last=1))
        assert rotation is not None
        assert cleaned is not None
        assert undo(yard).name == cleaned.name
        with pytest.raises(UserError) as raised:
            undo(yard)
        assert raised.value.value == [rotation.name]
        assert "trainyard undo --list" in raised.value.remedy
        assert undo(yard, rotation.name).problems[0].endswith(refusal(yard, later))  # a live run's rotation stays


# -- permanently


def test_emptying_gives_the_bytes_back(yard: Yard) -> None:
    run = trained(yard, "grouped")
    plan = clean_checkpoints(yard, [run], INTERMEDIATE)
    entry = apply(yard, plan)
    assert entry is not None
    assert empty_trash(yard, older_than_days=1) == 0
    assert len(list_trash(yard)) == 1
    [on_disk] = measure(yard, [[entry.path]], alone=True)
    assert empty_trash(yard) == on_disk.freed >= plan.bytes_freed
    assert list(yard.trash.iterdir()) == []
    assert empty_trash(yard) == 0


def test_emptying_by_age(yard: Yard) -> None:
    run = trained(yard, "grouped")
    old = apply(yard, clean_checkpoints(yard, [run], KeepPolicy(), named=[10]))
    new = apply(yard, clean_checkpoints(yard, [reread(run)], KeepPolicy(), named=[20]))
    assert old is not None
    assert new is not None
    plan = old.path / "plan.json"
    content = json.loads(plan.read_text())
    plan.write_text(json.dumps(content | {"created": "2020-01-01T00:00:00.000Z"}))
    assert empty_trash(yard, older_than_days=7) > 0
    assert [entry.name for entry in list_trash(yard)] == [new.name]


def test_leftovers_of_writers_and_of_emptying_go_too(yard: Yard) -> None:
    (yard.trash / "unfinished" / "checkpoint-10-x").mkdir(parents=True)
    (yard.trash / ".emptying-20260101-000000-0000" / "0000").mkdir(parents=True)
    (yard.trash / "20990101-000000-0000-rotation-abcdefgh").mkdir()  # a rotation that another process is beginning
    dead = yard.trash / "20200101-000000-0000"
    dead.mkdir()
    os.utime(dead, (0, 0))
    empty_trash(yard)
    assert [path.name for path in yard.trash.iterdir()] == ["20990101-000000-0000-rotation-abcdefgh"]


def test_objects_go_with_their_last_user_but_never_under_a_live_run(yard: Yard) -> None:
    run = trained(yard, "grouped")
    digest = durable.sha256_file(run.home / "checkpoint-10" / "frozen.safetensors")
    apply(yard, remove(yard, run))
    empty_trash(yard, older_than_days=1)
    assert yard.objects.has(digest)  # the trash uses it

    old = time.time() - 7 * 86400
    os.utime(yard.objects.path(digest), (old, old))
    with train(yard, "grouped", "live", losses={}) as live:
        empty_trash(yard)
        assert yard.objects.has(digest)  # it has saved nothing yet, so it may be about to link it
        save(live, 10, 0.5)
        assert (live.home / "checkpoint-10" / "frozen.safetensors").stat().st_nlink == 2
    apply(yard, remove(yard, RunReader(yard, live.home)))
    assert empty_trash(yard) > yard_block(20_000)
    assert not yard.objects.has(digest)


def test_an_object_that_a_live_run_does_not_know_goes(yard: Yard) -> None:
    (yard.root / "x").write_bytes(b"nobody's")
    digest = yard.objects.put(yard.root / "x")
    (yard.root / "x").unlink()
    with train(yard, "grouped"):
        empty_trash(yard)
        assert yard.objects.has(digest)  # too young to tell
        os.utime(yard.objects.path(digest), (0, 0))
        empty_trash(yard)
        assert not yard.objects.has(digest)


def yard_block(size: int) -> int:
    """At least what a file of that size takes."""
    return size // 4096 * 4096


def test_emptying_a_yard_that_has_no_trash(tmp_path: Path) -> None:
    yard = Yard(tmp_path)
    assert empty_trash(yard) == 0
    assert list(tmp_path.iterdir()) == []
