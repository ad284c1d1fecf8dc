from __future__ import annotations

import errno
import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import faults
import pytest

from trainyard import durable
from trainyard.checkpoints import FORMATS, choose, commit, problems, publish, quarantine, verified_path
from trainyard.errors import CheckpointError, CorruptError, DiskFullError, NotResumableError, UnknownCheckpointError
from trainyard.layouts import load_layout
from trainyard.runs import BestStep, CheckpointRecord, RunReader, RunWriter, Yard, create_run, find_homes, resume_run
from trainyard.runs.events import Dropped, Progressed, Stripped

NewRun = Callable[..., RunWriter]
LAYOUTS = ["grouped", "files", "dated", "shared", "trials"]  # formats hf, hf-bin, pth
BEST = ["files", "dated", "shared", "trials"]  # those that publish a best


def contents(step: int, name: str) -> bytes:
    return f"{name} of step {step}\n".encode() * 20


def writers(run: RunWriter, step: int) -> dict[str, Callable[[Path], None]]:
    """Writers of plain bytes, some through durable and some as a library would write."""
    format_ = FORMATS[run.layout.checkpoint_format]
    if not format_.is_directory:
        return {"": lambda path: durable.write_bytes(path, contents(step, ""))}
    return {
        format_.weights: lambda path: durable.write_bytes(path, contents(step, format_.weights)),
        "config.json": lambda path: path.write_bytes(contents(step, "config.json")) and None,
        "optimizer.pt": lambda path: path.write_bytes(contents(step, "optimizer.pt")) and None,
    }


def save(run: RunWriter, step: int, **more: Any) -> CheckpointRecord:
    return commit(run, writers(run, step), step=step, epoch=step / 10, metrics={"val_loss": 1 / step}, **more)


def reread(run: RunWriter) -> RunReader:
    return RunReader(run.yard, run.home)


def is_whole(run: RunReader, checkpoint: CheckpointRecord, path: Path) -> bool:
    """By the bytes that were meant to be there, not by any manifest."""
    for file in checkpoint.files:
        name = file["name"]
        if name != "manifest.json":
            found = (path / name if name else path).read_bytes()
            if found != contents(checkpoint.step, name):
                return False
    return True


def temporaries(yard: Yard) -> list[Path]:
    return [path for path in yard.root.rglob(".tmp-*") if durable.is_temporary(path)]


def part_of(path: Path) -> list[Path]:
    return sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_what_is_committed_is_there_and_chosen(layout: str, new_run: NewRun) -> None:
    run = new_run(layout)
    assert choose(reread(run)) is None
    run.log({"loss": 1.0}, step=5)
    for step in (10, 20):
        save(run, step)
    found = reread(run)
    assert len(found.history()) == 1  # rows up to a checkpoint are on disk when it is
    choice = choose(found, resuming=True)
    assert choice is not None
    assert (choice.checkpoint.step, choice.damaged) == (20, ())
    assert choice.checkpoint.metrics == {"val_loss": 0.05}
    assert choice.path == run.path("checkpoint", step=20, epoch=2)
    for checkpoint in found.snapshot.checkpoints:
        assert problems(found, checkpoint) == []
        path = verified_path(found, checkpoint, resuming=True)
        assert path is not None
        assert is_whole(found, checkpoint, path)
        recorded = checkpoint.paths["checkpoint"]
        assert run.layout.match(recorded)[0].kind == "checkpoint"
        assert recorded.endswith("/") is path.is_dir()
    assert choose(found, step=10) is not None
    assert choose(found, step="last") == choose(found)
    for missing in (15, "newest"):
        with pytest.raises(UnknownCheckpointError) as raised:
            choose(found, step=missing)
        assert (raised.value.value, raised.value.place) == (missing, run.name)
        assert str(found.snapshot.checkpoints[0].step) in raised.value.remedy


def test_the_manifest_names_every_file(new_run: NewRun) -> None:
    run = new_run("grouped")
    checkpoint = save(run, 10)
    path = reread(run).locate(checkpoint)
    assert path is not None
    manifest = json.loads((path / "manifest.json").read_text())
    assert (manifest["run"], manifest["step"], manifest["epoch"]) == (run.id, 10, 1.0)
    assert {f["name"] for f in manifest["files"]} == {p.name for p in path.iterdir()} - {"manifest.json"}
    for file in manifest["files"]:
        assert durable.sha256_file(path / file["name"]) == file["sha256"]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_no_checkpoint_takes_anothers_place(layout: str, new_run: NewRun) -> None:
    run = new_run(layout)
    save(run, 10)
    before = {path: path.read_bytes() for path in part_of(run.path("checkpoint", step=10, epoch=1))}
    with pytest.raises(CheckpointError) as raised:
        save(run, 10)
    assert (raised.value.value, raised.value.place) == (10, run.name)
    assert raised.value.remedy
    if "{epoch}" in run.layout.kinds["checkpoint"]:
        with pytest.raises(CheckpointError) as raised:
            commit(run, writers(run, 12), step=12, epoch=1.2)
        assert (raised.value.value, raised.value.place) == (12, run.relative(run.path("checkpoint", step=10, epoch=1)))
        assert "epoch" in raised.value.remedy
        inside = commit(run, writers(run, 12), step=12, epoch=1.2, inside_epoch=True)
        assert "step" in inside.paths["checkpoint"]
    assert {path: path.read_bytes() for path in before} == before
    assert temporaries(run.yard) == []


@pytest.mark.parametrize(
    ("layout", "files", "linked"),
    [
        ("grouped", {""}, {}),
        ("grouped", {"a", ""}, {}),
        ("grouped", {"manifest.json"}, {}),
        ("grouped", {"../a"}, {}),
        ("grouped", {"a/b"}, {}),
        ("grouped", {"a"}, {"a": "0"}),
        ("dated", {"a"}, {}),
        ("dated", {"", "a"}, {}),
        ("dated", set(), {}),
        ("dated", {""}, {"a": "0"}),
    ],
)
def test_files_that_do_not_fit_the_format_are_refused(
    layout: str, files: set[str], linked: dict[str, str], new_run: NewRun
) -> None:
    run = new_run(layout)
    with pytest.raises(CheckpointError) as raised:
        commit(run, dict.fromkeys(files, Path.touch), step=1, epoch=1, linked=linked)  # type: ignore[misc]
    assert (raised.value.value, raised.value.place) == (sorted([*files, *linked]), layout)
    assert reread(run).snapshot.checkpoints == []


@pytest.mark.parametrize("layout", ["grouped", "files", "dated"])
@pytest.mark.parametrize("error", [errno.EIO, errno.ENOSPC])
def test_every_fault_leaves_the_old_checkpoint_or_the_new(layout: str, error: int, new_run: NewRun) -> None:
    def fresh() -> RunWriter:
        run = new_run(layout)
        save(run, 10)
        if run.keeps("best"):
            publish(run, run.snapshot.checkpoints[0], "best")
        return run

    def step_on(run: RunWriter) -> None:
        done = run.snapshot.checkpoint(20)
        checkpoint = done if done is not None else save(run, 20)
        publish(run, checkpoint, "best")

    def check(run: RunWriter) -> None:
        found = reread(run)
        choice = choose(found, resuming=True)
        assert choice is not None
        assert choice.checkpoint.step in (10, 20)
        assert choice.damaged == ()
        for checkpoint in found.snapshot.checkpoints:
            path = verified_path(found, checkpoint, resuming=True)
            assert path is not None
            assert is_whole(found, checkpoint, path)
        if run.keeps("best"):  # a whole one of either step is there, whatever the journal came to say
            path = run.path("best")
            steps = {int(part.read_text().split()[-1]) for part in part_of(path)}
            assert steps in ({10}, {20})
            for part in part_of(path):
                assert part.read_bytes() == contents(min(steps), part.name if path.is_dir() else "")
        assert temporaries(run.yard) == []

    def succeeded(run: RunWriter) -> None:
        check(run)
        [ten, twenty] = reread(run).snapshot.checkpoints
        assert problems(reread(run), ten) == problems(reread(run), twenty) == []
        if run.keeps("best"):
            assert "best" not in ten.paths
            assert "best" in twenty.paths
        run.abandon()

    assert faults.sweep(step_on, check, fresh=fresh, succeeded=succeeded, error=error) > 10


_WORK = """
import sys
sys.path.insert(0, {tests!r})
from pathlib import Path
from test_checkpoints import save
from trainyard.checkpoints import publish
from trainyard.runs import Yard, resume_run
yard = Yard({root!r})
run = resume_run(yard, Path({home!r}))
run.begin_attempt(10)
for step in (20, 30):
    publish(run, save(run, step), "best")
run.finish()
"""


def _kill(layout: str, new_run: NewRun, chosen: Callable[[int], list[int]]) -> None:
    def fresh() -> tuple[RunWriter, str]:
        run = new_run(layout)
        publish(run, save(run, 10), "best")
        run.abandon()
        here = str(Path(__file__).parent)
        return run, _WORK.format(tests=here, root=str(run.yard.root), home=str(run.home))

    _, code = fresh()
    total = faults.count(lambda: exec(code, {}))
    for nth in chosen(total):
        run, code = fresh()
        done = faults.run_killed(code, nth_call=nth)
        assert done.returncode == -signal.SIGKILL, (nth, done.stderr)
        found = reread(run)
        assert found.snapshot.state in ("crashed", "finished")
        choice = choose(found, resuming=True)
        assert choice is not None
        assert choice.damaged == (), nth
        assert is_whole(found, choice.checkpoint, choice.path)
        best = choose(found, step="best")
        assert best is not None
        with resume_run(run.yard, run.home) as again:
            again.begin_attempt(choice.checkpoint.step)
            for step in (20, 30):
                if again.snapshot.checkpoint(step) is None:
                    save(again, step)
            publish(again, again.snapshot.checkpoints[-1], "best")
        found = reread(run)
        assert [c.step for c in found.snapshot.checkpoints] == [10, 20, 30]
        assert [fault for c in found.snapshot.checkpoints for fault in problems(found, c)] == []
        mine = [path for path in temporaries(run.yard) if path.is_relative_to(run.home)]
        assert mine == []
    assert temporaries(run.yard) == []


@pytest.mark.parametrize(
    ("layout", "part"), [("grouped", 0.3), ("files", 0.5), ("files", 0.75), ("dated", 0.4), ("shared", 0.7)]
)
def test_a_kill_leaves_the_old_checkpoint_or_the_new(layout: str, part: float, new_run: NewRun) -> None:
    _kill(layout, new_run, lambda total: [round(total * part)])


@pytest.mark.stress
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_kill_leaves_the_old_checkpoint_or_the_new(layout: str, new_run: NewRun) -> None:
    _kill(layout, new_run, lambda total: list(range(1, total + 1)))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_flipped_byte_is_named_and_the_one_before_is_used(layout: str, new_run: NewRun) -> None:
    run = new_run(layout)
    for step in (10, 20):
        save(run, step)
    twenty = reread(run).snapshot.checkpoints[1]
    path = reread(run).resolve(twenty.paths["checkpoint"])
    for part in part_of(path):
        for offset in (0, -1):
            faults.flip_byte(part, offset)
            found = reread(run)
            assert problems(found, twenty, deep=False) == []
            [fault] = problems(found, twenty)
            assert str(part) in fault
            choice = choose(found, resuming=True)
            assert choice is not None
            assert (choice.checkpoint.step, [(c.step, why) for c, why in choice.damaged]) == (10, [(20, fault)])
            with pytest.raises(CheckpointError) as raised:
                choose(found, step=20)
            assert (raised.value.value, raised.value.place) == (20, run.name)
            assert fault in raised.value.what
            faults.flip_byte(part, offset)
    assert problems(reread(run), twenty) == []


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_missing_or_cut_file_is_named(layout: str, new_run: NewRun) -> None:
    run = new_run(layout)
    checkpoint = save(run, 10)
    path = reread(run).resolve(checkpoint.paths["checkpoint"])
    part = part_of(path)[0]
    size = part.stat().st_size
    faults.truncate(part, -1)
    [fault] = problems(reread(run), checkpoint, deep=False)
    assert all(text in fault for text in (str(part), f"{size - 1:,}", f"{size:,}"))
    part.unlink()
    [missing] = problems(reread(run), checkpoint, deep=False)
    assert str(part) in missing
    assert f"{size:,}" not in missing
    with pytest.raises(CheckpointError) as raised:
        choose(reread(run))
    assert (raised.value.value, raised.value.place) == ([10], run.name)
    assert f"trainyard train --like {run.id}" in raised.value.remedy


@pytest.mark.parametrize("layout", LAYOUTS)
def test_what_is_damaged_is_set_aside_and_made_again(layout: str, new_run: NewRun) -> None:
    run = new_run(layout)
    for step in (10, 20):
        checkpoint = save(run, step)
    if run.keeps("best"):
        publish(run, checkpoint, "best")
    weights = FORMATS[run.layout.checkpoint_format].weights
    path = run.path("checkpoint", step=20, epoch=2)
    damaged = path / weights if weights else path
    faults.flip_byte(damaged, 3)
    choice = choose(reread(run), resuming=True)
    assert choice is not None
    for checkpoint, why in choice.damaged:
        aside = quarantine(run, checkpoint, why)
        assert all(".corrupt" in place.name and place.exists() for place in aside)
        assert len(aside) == (2 if run.keeps("best") else 1)
    assert [c.step for c in reread(run).snapshot.checkpoints] == [10]
    assert "set aside" in reread(run).snapshot.warnings[0]
    assert not path.exists()
    publish(run, save(run, 20), "best")
    faults.flip_byte(damaged, 3)
    quarantine(run, run.snapshot.checkpoints[1], "again")
    assert path.with_name(path.name + ".corrupt-2").exists()
    assert len(list(path.parent.glob(path.name + ".corrupt*"))) == 2


@pytest.mark.parametrize("layout", ["grouped", "files", "dated"])
def test_a_fault_while_setting_aside_never_leaves_a_recorded_checkpoint_without_its_files(
    layout: str, new_run: NewRun
) -> None:
    def fresh() -> tuple[RunWriter, CheckpointRecord]:
        run = new_run(layout)
        save(run, 10)
        publish(run, save(run, 20), "best")
        faults.flip_byte(part_of(run.path("checkpoint", step=20, epoch=2))[-1], 3)
        return run, reread(run).snapshot.checkpoints[1]

    def set_aside(state: tuple[RunWriter, CheckpointRecord]) -> None:
        quarantine(*state, "a flipped byte")

    def check(state: tuple[RunWriter, CheckpointRecord]) -> None:
        found = reread(state[0])
        for checkpoint in found.snapshot.checkpoints:
            assert all(found.resolve(path).exists() for path in checkpoint.paths.values())

    def succeeded(state: tuple[RunWriter, CheckpointRecord]) -> None:
        run, _ = state
        check(state)
        assert all(c.step == 10 or "checkpoint" not in c.paths for c in reread(run).snapshot.checkpoints)
        assert list(run.yard.root.rglob("*.corrupt"))
        publish(run, save(run, 20), "best")
        assert problems(reread(run), reread(run).snapshot.checkpoints[1]) == []
        run.abandon()

    assert faults.sweep(set_aside, check, fresh=fresh, succeeded=succeeded) > 3


def test_a_whole_published_copy_survives_the_quarantine_of_the_rest(new_run: NewRun) -> None:
    run = new_run("files")
    save(run, 10)
    publish(run, save(run, 20), "best")
    faults.flip_byte(run.path("checkpoint", step=20) / "optimizer.pt", 0)
    choice = choose(reread(run), resuming=True)
    assert choice is not None
    assert choice.checkpoint.step == 10
    quarantine(run, *choice.damaged[0])
    found = reread(run)
    assert found.snapshot.checkpoints[1].paths.keys() == {"best"}
    weights = choose(found)
    assert weights is not None
    assert weights.path == run.path("best")
    again = choose(found, resuming=True)
    assert again is not None
    assert (again.checkpoint.step, again.damaged) == (10, ())
    publish(run, save(run, 20), "best")  # the resumed training comes by once more
    assert problems(reread(run), run.snapshot.checkpoints[1]) == []


@pytest.mark.parametrize("layout", BEST)
def test_publishing_links_and_moves_on(layout: str, new_run: NewRun) -> None:
    run = new_run(layout)
    fixed = "{epoch}" not in run.layout.kinds["best"]
    for step in (10, 20, 20):
        checkpoint = run.snapshot.checkpoint(step) or save(run, step)
        target = publish(run, checkpoint, "best")
        assert target == run.path("best", step=step, epoch=step // 10)
        source = run.path("checkpoint", step=step, epoch=step // 10)
        for part in part_of(target):
            assert part.samefile(source / part.name if target.is_dir() else source)
        if target.is_dir():
            assert {part.name for part in part_of(target)} == {"pytorch_model.bin", "config.json"}
        assert [place for c in run.snapshot.checkpoints for place in c.paths].count("best") == (
            1 if fixed else step // 10
        )
        assert temporaries(run.yard) == []
    assert run.snapshot == reread(run).snapshot
    assert [problems(reread(run), c) for c in run.snapshot.checkpoints] == [[], []]
    linked = [os.stat(part).st_nlink for part in part_of(run.path("checkpoint", step=10, epoch=1))]
    assert set(linked) == ({1} if fixed else {2})  # no old best holds on to bytes
    assert not run.yard.trash.exists()


def test_a_layout_without_the_place_publishes_nothing(new_run: NewRun) -> None:
    run = new_run("grouped")
    checkpoint = save(run, 10)
    assert publish(run, checkpoint, "best") is None
    assert run.snapshot.checkpoints[0].paths.keys() == {"checkpoint"}


def test_what_is_only_published_can_be_published_again(new_run: NewRun) -> None:
    run = new_run("shared")
    publish(run, save(run, 10), "best")
    run.path("checkpoint", epoch=1).unlink()
    run.event(Dropped(10, "checkpoint", run.snapshot.checkpoints[0].paths["checkpoint"]))
    publish(run, run.snapshot.checkpoints[0], "final")
    publish(run, run.snapshot.checkpoints[0], "best")
    assert run.path("final").samefile(run.path("best"))
    found = reread(run)
    assert problems(found, found.snapshot.checkpoints[0]) == []
    assert choose(found, resuming=True) is not None  # a single file has it all


def test_which_checkpoint_is_best(new_run: NewRun) -> None:
    run = new_run("grouped")
    for step in (10, 20, 30):
        save(run, step)
    newest = choose(reread(run), step="best")
    assert newest is not None
    assert newest.checkpoint.step == 30  # nothing was monitored
    run.event(Progressed(30, 3, {}, BestStep(20, 2, 1.0, "m")))
    best = choose(reread(run), step="best")
    assert best is not None
    assert best.checkpoint.step == 20


def test_dropped_optimizer_state_cannot_be_resumed_from(new_run: NewRun) -> None:
    run = new_run("grouped")
    for step in (10, 20):
        save(run, step)
    (run.path("checkpoint", step=20) / "optimizer.pt").unlink()
    run.event(Stripped(20, ["optimizer.pt"]))
    found = reread(run)
    assert problems(found, found.snapshot.checkpoints[1]) == []
    choice = choose(found, resuming=True)
    assert choice is not None
    assert (choice.checkpoint.step, choice.damaged) == (10, ())
    with pytest.raises(NotResumableError) as raised:
        choose(found, step=20, resuming=True)
    assert (raised.value.value, raised.value.place) == (20, run.name)
    assert "(steps 10)" in raised.value.remedy
    run.event(Stripped(10, ["optimizer.pt"]))
    with pytest.raises(NotResumableError) as raised:
        choose(reread(run), resuming=True)
    assert (raised.value.value, raised.value.place) == ([10, 20], run.name)
    with pytest.raises(NotResumableError) as raised:
        choose(reread(run), step=20, resuming=True)
    assert raised.value.value == 20
    assert "copy" not in raised.value.remedy
    assert "run.checkpoint_path" in raised.value.remedy
    faults.flip_byte(run.path("checkpoint", step=20) / "model.safetensors", 3)
    with pytest.raises(CheckpointError) as damaged:  # stripped, and damaged besides
        choose(reread(run), step=20, resuming=True)
    assert (damaged.value.value, damaged.value.place) == (20, run.name)
    assert "copy" in damaged.value.remedy
    assert "steps" not in damaged.value.remedy


def test_of_a_damaged_checkpoint_the_others_are_named_without_reading_them(
    new_run: NewRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = new_run("grouped")
    for step in (10, 20, 30, 40):
        save(run, step)
    (run.path("checkpoint", step=10) / "optimizer.pt").unlink()
    run.event(Stripped(10, ["optimizer.pt"]))
    (run.path("checkpoint", step=20) / "config.json").unlink()
    faults.flip_byte(run.path("checkpoint", step=40) / "model.safetensors", 3)
    read: list[Path] = []
    digest = durable.sha256_file
    monkeypatch.setattr(durable, "sha256_file", lambda path: read.append(path) or digest(path))
    for resuming, others in ((False, "(steps 10, 30)"), (True, "(steps 30)")):
        with pytest.raises(CheckpointError) as raised:
            choose(reread(run), step=40, resuming=resuming)
        assert raised.value.value == 40
        assert others in raised.value.remedy
        assert str(run.path("checkpoint", step=40) / "model.safetensors") in raised.value.what
    assert {path.parent.name for path in read} == {run.path("checkpoint", step=40).name}


FROZEN, HEAD = os.urandom(900_000), 1000


def bytes_on_disk(directory: Path) -> int:
    return sum({(s := p.stat()).st_ino: s.st_size for p in directory.rglob("*") if p.is_file()}.values())


def test_ten_checkpoints_share_what_is_frozen(new_run: NewRun, tmp_path: Path) -> None:
    run = new_run("grouped")
    digest = run.yard.objects.create(lambda path: path.write_bytes(FROZEN) and None)
    for step in range(1, 11):
        commit(
            run,
            {"model-00001.safetensors": lambda path, n=step: path.write_bytes(bytes([n]) * HEAD) and None},
            step=step,
            epoch=step,
            linked={"model-00002.safetensors": digest},
        )
    assert bytes_on_disk(run.yard.root) <= 1.2 * (len(FROZEN) + HEAD)
    for step in range(1, 10):
        durable.remove(run.path("checkpoint", step=step))
        run.event(Dropped(step, "checkpoint", ""))
    found = reread(run)
    [tenth] = found.snapshot.checkpoints
    assert problems(found, tenth) == []
    assert (run.path("checkpoint", step=10) / "model-00002.safetensors").read_bytes() == FROZEN
    assert run.yard.objects.unreferenced() == []
    shutil.copytree(run.yard.root, tmp_path / "copy")  # without hard links
    copied = Yard(tmp_path / "copy")
    [home] = find_homes(copied)
    assert problems(RunReader(copied, home), tenth) == []
    durable.remove(run.path("checkpoint", step=10))
    assert [size for _, size in run.yard.objects.unreferenced()] == [len(FROZEN)]


def test_a_commit_whose_object_is_gone_leaves_nothing(new_run: NewRun) -> None:
    run = new_run("grouped")
    with pytest.raises(CorruptError) as raised:
        commit(run, writers(run, 1), step=1, epoch=1, linked={"frozen": "0" * 64})
    assert raised.value.value == "0" * 64
    assert reread(run).snapshot.checkpoints == []
    assert not run.path("checkpoint", step=1).exists()
    assert temporaries(run.yard) == []


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_disk_known_to_be_too_full_is_not_begun_on(layout: str, new_run: NewRun) -> None:
    run = new_run(layout)
    save(run, 10)
    with faults.disk_full(50_000) as disk:
        with pytest.raises(DiskFullError) as raised:
            save(run, 20, expected_bytes=60_000)
        assert raised.value.value == 60_000
        assert disk.left == 50_000
        save(run, 20, expected_bytes=10_000)
    assert [c.step for c in reread(run).snapshot.checkpoints] == [10, 20]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_disk_that_fills_leaves_the_last_checkpoint(layout: str, yard: Yard) -> None:
    run = create_run(yard, load_layout(layout), project="demo", dataset="digits", model="mlp")
    save(run, 10)
    with faults.disk_full(300) as disk:
        with pytest.raises(DiskFullError), run:
            save(run, 20)
        choice = choose(reread(run), resuming=True)
        assert choice is not None
        assert (choice.checkpoint.step, choice.damaged) == (10, ())
        assert temporaries(yard) == []
        disk.left += 1_000_000
        with resume_run(yard, run.home) as again:
            again.begin_attempt(10)
            save(again, 20)
    assert [c.step for c in reread(run).snapshot.checkpoints] == [10, 20]


@pytest.mark.parametrize("layout", ["grouped", "dated"])
def test_a_really_full_disk_leaves_the_last_checkpoint(layout: str, tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    try:
        with faults.tmpfs(tmp_path / "m", 3):
            yard = Yard(tmp_path / "m")
            run = create_run(yard, load_layout(layout), project="demo", dataset="digits", model="mlp")
            names = [""] if layout == "dated" else ["model.safetensors"]
            big = {name: lambda path: path.write_bytes(bytes(2_000_000)) and None for name in names}
            commit(run, big, step=10, epoch=1)  # type: ignore[arg-type]
            with pytest.raises(DiskFullError) as raised, run:
                commit(run, big, step=20, epoch=2)  # type: ignore[arg-type]
            assert raised.value.value is None, "found by writing, not predicted"
            found = reread(run)
            assert found.snapshot.state == "failed"
            choice = choose(found)
            assert choice is not None
            assert choice.checkpoint.step == 10
            subprocess_remount(tmp_path / "m", 9)
            with resume_run(yard, run.home) as again:
                again.begin_attempt(10)
                commit(again, big, step=20, epoch=2)  # type: ignore[arg-type]
            assert problems(reread(run), reread(run).snapshot.checkpoints[1]) == []
    except faults.NotPermittedError as error:
        pytest.skip(str(error))


def subprocess_remount(directory: Path, size_mb: int) -> None:
    import subprocess

    subprocess.run(["mount", "-o", f"remount,size={size_mb}m", str(directory)], check=True)


def test_an_unfinished_leftover_is_replaced(new_run: NewRun) -> None:
    for layout in LAYOUTS:
        run = new_run(layout)
        path = run.path("checkpoint", step=10, epoch=1)
        path.parent.mkdir(parents=True, exist_ok=True)
        if FORMATS[run.layout.checkpoint_format].is_directory:
            path.mkdir()
            (path / "old").write_bytes(b"old")
        else:
            path.write_bytes(b"old")
        checkpoint = save(run, 10)
        assert problems(reread(run), checkpoint) == []
        assert {part.read_bytes() for part in part_of(path)}.isdisjoint({b"old"})
