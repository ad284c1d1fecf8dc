from __future__ import annotations

import os
import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from retention_yards import LOSSES, reread, save, train, trained

from trainyard.retention import KeepPolicy, apply, combine, empty_trash
from trainyard.retention.cleaning import (
    clean_checkpoints,
    remove_cache,
    remove_logs,
    remove_runs,
    run_facts,
    strip_optimizer,
)
from trainyard.retention.measure import measure
from trainyard.retention.run_policy import by_choice, find_uses
from trainyard.runs import BestStep, RunReader, Yard, amend
from trainyard.runs.events import ParentUsed, Progressed
from trainyard.units import human_size

LAYOUTS = ("grouped", "shared", "dated", "trials", "files")
INTERMEDIATE = KeepPolicy(last=0)


def du(yard: Yard) -> int:
    """Bytes on disk by coreutils, which counts an inode once; without what applying a plan writes."""
    command = [
        "du",
        "-s",
        "-B1",
        "--exclude=.run",
        "--exclude=trash",
        "--exclude=*.log",
        "--exclude=*.lock",
        str(yard.root),
    ]
    return int(subprocess.run(command, capture_output=True, check=True, text=True).stdout.split()[0])


def paths(plan: object) -> list[str]:
    return sorted(path for item in plan.items for path in item.paths)  # type: ignore[attr-defined]


# -- bytes


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("policy", [INTERMEDIATE, KeepPolicy(last=2, best=2), KeepPolicy(last=1, every=2)])
def test_bytes_freed_are_what_du_says(yard: Yard, layout: str, policy: KeepPolicy) -> None:
    run = trained(yard, layout)
    plan = clean_checkpoints(yard, [run], policy)
    before = du(yard)
    apply(yard, plan)
    freed = empty_trash(yard)
    assert plan.bytes_freed == before - du(yard) > 0
    assert freed >= plan.bytes_freed  # and the entry itself


def test_an_object_is_freed_with_its_last_user(yard: Yard) -> None:
    one, two = trained(yard, "grouped", "one"), trained(yard, "grouped", "two")
    frozen = (one.home / "checkpoint-10" / "frozen.safetensors").stat()
    size = frozen.st_blocks * 512

    def freed(*runs: RunReader) -> int:
        groups = [[run.home / f"checkpoint-{step}" for step in LOSSES] for run in runs]
        return sum(found.freed for found in measure(yard, groups))

    assert frozen.st_nlink == 11  # five checkpoints a run, and the object
    assert freed(one, two) == freed(one) + freed(two) + size


def test_a_link_in_the_trash_does_not_keep_bytes_from_being_freed(yard: Yard) -> None:
    run = trained(yard, "trials")
    first = clean_checkpoints(yard, [run], KeepPolicy(last=0, best=5))  # drops 30's own name, not its published one
    assert "experiment_p/cnn/checkpoints/epoch_3.pt" in paths(first)
    apply(yard, first)
    left = clean_checkpoints(yard, [reread(run)], INTERMEDIATE, named=[30])
    published = next(item for item in left.items if item.data["step"] == 30)
    assert published.bytes_freed == (run.yard.root / published.paths[0]).stat().st_blocks * 512


def test_a_copied_yard_without_links_counts_every_copy(yard: Yard, tmp_path: Path) -> None:
    run = trained(yard, "grouped")
    target = tmp_path / "copy"
    shutil.copytree(yard.root, target)  # makes files of links
    copied = Yard(target)
    plan = clean_checkpoints(copied, [RunReader(copied, target / yard.relative(run.home))], INTERMEDIATE)
    linked = clean_checkpoints(yard, [run], INTERMEDIATE)
    frozen = (run.home / "checkpoint-10" / "frozen.safetensors").stat().st_blocks * 512
    assert plan.bytes_freed == linked.bytes_freed + 3 * frozen
    before = du(copied)
    apply(copied, plan)
    shutil.rmtree(copied.trash)
    assert before - du(copied) == plan.bytes_freed


def test_a_name_whose_file_has_another_name_frees_nothing(yard: Yard) -> None:
    run = trained(yard, "trials")
    plan = clean_checkpoints(yard, [run], KeepPolicy(last=0, best=5))
    shared = {item.data["step"]: item for item in plan.items}
    assert [shared[step].bytes_freed for step in (10, 20, 30)] == [0, 0, 0]
    assert shared[40].bytes_freed >= shared[40].bytes_apparent == 6000
    assert plan.bytes_freed == shared[40].bytes_freed


def test_human_sizes() -> None:
    assert [human_size(n) for n in (0, 1023, 1536, 5 * 2**20, 2**40)] == ["0 B", "1.0 kB", "1.5 kB", "5.2 MB", "1.1 TB"]


# -- what is printed


def test_description_and_json(yard: Yard) -> None:
    run = trained(yard, "grouped")
    plan = clean_checkpoints(yard, [run], KeepPolicy(last=2))
    text = plan.describe()
    assert f"cnn ({run.snapshot.id})" in text
    for item in plan.items:
        assert f"{item.what}: {item.why} " in text
        assert human_size(item.bytes_freed) in text
    assert human_size(plan.bytes_freed) in text.splitlines()[-1]
    data = plan.to_dict()
    assert data["bytes_freed"] == plan.bytes_freed
    assert [(i["event"], i["data"]["step"], i["paths"]) for i in data["items"]] == [
        ("dropped", 10, ("p/d/cnn/checkpoint-10/",)),
        ("dropped", 20, ("p/d/cnn/checkpoint-20/",)),
    ]
    nothing = clean_checkpoints(yard, [run], KeepPolicy())
    assert nothing.items == ()
    assert nothing.describe().startswith(f"{nothing.title}\n")


def test_a_plan_changes_nothing(yard: Yard) -> None:
    run = trained(yard, "grouped")
    before = subprocess.run(["find", str(yard.root), "-printf", "%p %T@ %s\n"], capture_output=True, check=True).stdout
    clean_checkpoints(yard, [run], INTERMEDIATE)
    remove_runs(yard, by_choice([run_facts(run)], {run.snapshot.id}, "x"), [run])
    after = subprocess.run(["find", str(yard.root), "-printf", "%p %T@ %s\n"], capture_output=True, check=True).stdout
    assert before == after


# -- what is spared


def test_live_runs_are_spared(yard: Yard) -> None:
    with train(yard, "grouped") as run:
        reader = RunReader(yard, run.home)
        (yard.root / "cache").mkdir()
        plans = [
            clean_checkpoints(yard, [reader], INTERMEDIATE),
            strip_optimizer(yard, [reader]),
            remove_runs(yard, by_choice([run_facts(reader)], {run.id}, "x"), [reader], forced={run.id}),
            remove_logs(yard, [reader], 0, now=datetime.now(UTC) + timedelta(days=9)),
            remove_cache(yard, live=[run.name]),
        ]
    for plan in plans:
        assert plan.items == ()
        assert plan.spared
    assert [spared.run_id for plan in plans[:4] for spared in plan.spared] == [run.id] * 4
    assert plans[4].spared[0].what == "cache"
    assert plans[4].spared[0].why.startswith(run.name)


def test_what_a_child_was_made_from_is_spared(yard: Yard) -> None:
    parent, child = trained(yard, "grouped", "parent"), trained(yard, "grouped", "child")
    with amend(yard, child.home) as run:
        run.event(ParentUsed(parent.snapshot.id, 20, "teacher"))
    readers = [parent, reread(child)]
    everyone = [run_facts(reader) for reader in readers]
    uses = find_uses(everyone)
    plan = clean_checkpoints(yard, readers, INTERMEDIATE, uses=uses, named=[20])
    assert "p/d/parent/checkpoint-20/" not in paths(plan)
    assert "p/d/child/checkpoint-20/" in paths(plan)
    use = str(uses[parent.snapshot.id][0])
    assert f"child ({child.snapshot.id})" in use
    assert "teacher" in use
    assert [(spared.run_id, spared.why) for spared in plan.spared] == [(parent.snapshot.id, use)]
    assert 20 not in {i.data["step"] for i in strip_optimizer(yard, [parent], uses=uses).items}

    only_parent = by_choice(everyone, {parent.snapshot.id}, "x")
    assert remove_runs(yard, only_parent, readers).items == ()
    kept = remove_runs(yard, only_parent, [parent], everyone=everyone)
    assert kept.items == ()
    assert [(spared.run_id, spared.why) for spared in kept.spared] == [(parent.snapshot.id, use)]
    assert paths(remove_runs(yard, only_parent, readers, forced={parent.snapshot.id})) == ["p/d/parent/"]


def test_a_copy_of_a_home_does_not_take_the_files_of_the_original(yard: Yard) -> None:
    run = trained(yard, "shared")
    copied = yard.root / "artifacts" / "copied"
    shutil.copytree(run.home, copied)
    reader = RunReader(yard, copied)
    assert paths(clean_checkpoints(yard, [reader], INTERMEDIATE)) == []
    assert paths(remove_logs(yard, [reader], 0, now=datetime.now(UTC) + timedelta(days=9))) == []
    facts = [run_facts(reader)]
    assert paths(remove_runs(yard, by_choice(facts, {reader.snapshot.id}, "x"), [reader])) == ["artifacts/copied/"]
    both = remove_runs(yard, by_choice(facts, {reader.snapshot.id}, "x"), [run, reader])
    assert both.items == ()
    assert [spared.run_id for spared in both.spared] == [reader.snapshot.id]


def test_a_whole_run_takes_its_own_files_elsewhere_but_not_shared_ones(yard: Yard) -> None:
    run, other = train(yard, "shared", "one"), trained(yard, "shared", "two")
    run.write("evaluation_log", "x", moment="20260101-000000")
    run.finish()
    reader = RunReader(yard, run.home)
    lost = yard.root / run.layout.path("error_log", reader.snapshot.facts)
    lost.write_text("left by a kill, in no journal")
    plan = remove_runs(yard, by_choice([run_facts(reader)], {run.id}, "x"), [reader, other])
    outside = {path for path in paths(plan) if not path.startswith("artifacts/one/")}
    assert plan.items[0].paths[0] == "artifacts/one/"
    assert {f"checkpoints/one_epoch_{n}.pth" for n in range(1, 6)} | {"checkpoints/one_best.pth"} < outside
    assert yard.relative(lost) in outside
    assert not [path for path in outside if "two" in path or "evaluation" in path]


def test_the_table_of_a_project_stays(yard: Yard) -> None:
    with train(yard, "grouped") as run:
        run.write("metrics_table", "run,loss\n")
    reader = RunReader(yard, run.home)
    plan = remove_runs(yard, by_choice([run_facts(reader)], {run.id}, "x"), [reader])
    assert paths(plan) == ["p/d/cnn/"]


def test_old_logs(yard: Yard) -> None:
    run = train(yard, "shared")
    run.write("error_log", "e")
    run.finish()
    reader = RunReader(yard, run.home)
    unrecorded = yard.root / run.layout.path("performance_log", reader.snapshot.facts)
    unrecorded.write_text("p")
    os.utime(unrecorded, (0, 0))
    now = datetime.now(UTC)
    assert paths(remove_logs(yard, [reader], 7, now=now)) == [yard.relative(unrecorded)]
    plan = remove_logs(yard, [reader], 7, now=now + timedelta(days=8))
    assert paths(plan) == sorted(yard.relative(path) for path in (yard.root / "logs").iterdir())
    assert {item.action for item in plan.items} == {"remove", "file"}
    assert plan.items[0].why == "8 days old"


def test_the_cache_goes_unless_runs_are_in_it(yard: Yard) -> None:
    (yard.root / "cache" / "hub").mkdir(parents=True)
    (yard.root / "cache" / "hub" / "x").write_bytes(bytes(5000))
    plan = remove_cache(yard)
    assert paths(plan) == ["cache"]
    assert plan.bytes_apparent == 5000
    with amend(yard, trained(yard, "grouped").home):
        pass
    shutil.move(yard.root / "p", yard.root / "cache" / "p")
    assert remove_cache(yard).items == ()


# -- optimizer state


@pytest.mark.parametrize("layout", ["grouped", "files"])
def test_stripping_takes_what_only_resuming_needs(yard: Yard, layout: str) -> None:
    run = trained(yard, layout)
    plan = strip_optimizer(yard, [run])
    assert [item.data["step"] for item in plan.items] == [10, 20, 30, 40]
    assert {Path(path).name for path in paths(plan)} == {"optimizer.pt", "rng_state.pth"}
    before = du(yard)
    apply(yard, plan)
    empty_trash(yard)
    assert before - du(yard) == plan.bytes_freed
    assert [c.resumable for c in reread(run).snapshot.checkpoints] == [False] * 4 + [True]
    assert strip_optimizer(yard, [reread(run)]).items == ()


def test_single_files_cannot_be_stripped_and_the_plan_says_so(yard: Yard) -> None:
    run = trained(yard, "shared")
    plan = strip_optimizer(yard, [run])
    assert plan.items == ()
    assert [(spared.run_id, spared.what) for spared in plan.spared] == [(run.snapshot.id, "optimizer state")]


# -- several at once


def test_what_several_plans_name_goes_once(yard: Yard) -> None:
    run, other = trained(yard, "grouped"), trained(yard, "grouped", "other")
    facts = [run_facts(run), run_facts(other)]
    checkpoints = clean_checkpoints(yard, [run, other], INTERMEDIATE)
    stripped = strip_optimizer(yard, [run, other])
    whole = remove_runs(yard, by_choice(facts, {other.snapshot.id}, "x"), [run, other])
    plan = combine(yard, "All", [checkpoints, stripped, whole, checkpoints])
    called = [(item.run_name, item.action, item.data.get("step")) for item in plan.items]
    assert called == [
        ("cnn", "drop", 10),
        ("cnn", "drop", 20),
        ("cnn", "drop", 40),
        ("cnn", "strip", 30),
        ("other", "delete", None),
    ]
    before = du(yard) + du_of_run(other)
    apply(yard, plan)
    empty_trash(yard)
    assert before - du(yard) == plan.bytes_freed


def du_of_run(run: RunReader) -> int:
    """What `du` leaves out of a whole run that goes: its own part."""
    extra = ["du", "-c", "-s", "-B1", str(run.home / ".run"), *map(str, run.home.glob("*.log"))]
    return int(subprocess.run(extra, capture_output=True, check=True, text=True).stdout.split()[-2])


def test_clean_checkpoints_leaves_a_damaged_best_mark_alone(yard: Yard) -> None:
    run = train(yard, "grouped", losses={10: 0.5, 20: 0.6})
    run.event(Progressed(30, 3, {}, BestStep(30, 3, 0, "val_loss")))
    save(run, 40, 0.7)  # step 30 was never saved
    run.finish()
    assert [i.data["step"] for i in clean_checkpoints(yard, [RunReader(yard, run.home)], INTERMEDIATE).items] == [20]
