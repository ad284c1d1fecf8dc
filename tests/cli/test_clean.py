"""`trainyard clean` and `trainyard undo`: what goes, why, how many bytes; and all of it back."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from command_line import Kept, tree

COMMITTED = "p/digits/{}/checkpoint-{}"


def steps(yard: Kept, name: str) -> list[int]:
    """The checkpoints that the run says it has, which must be those on disk."""
    run = yard.run(name)
    for checkpoint in run.snapshot.checkpoints:
        assert run.locate(checkpoint) is not None
    return [checkpoint.step for checkpoint in run.snapshot.checkpoints]


def content(found: dict[str, str]) -> dict[str, str]:
    """Without what the run notes of having been cleaned, and what the kill had left, which goes at the first chance."""
    own = ("journal.jsonl", "run.json", "lock")
    return {path: digest for path, digest in found.items() if Path(path).name not in own and ".tmp-" not in path}


def test_a_dry_run_says_all_and_changes_nothing(yard: Kept):
    before = tree(yard.root)
    out = yard("clean", "--dry-run").out
    assert tree(yard.root) == before
    assert yard("undo", "--list").out == ""
    for step in (20, 40):
        assert f"checkpoint {step}: " in out
    assert "checkpoint 60" not in out.partition("  killed (")[0], "it is the best of `done`"
    assert "checkpoint 100" not in out
    assert re.search(r"free \d+\.\d [kM]?B", out.splitlines()[-1])


def test_without_options_it_drops_intermediate_checkpoints_and_undo_brings_them_back(yard: Kept):
    before, runs = tree(yard.root), yard("runs", "--json").json
    outcome = yard("clean", "--yes")
    assert outcome.code == 0
    assert steps(yard, "done") == [60]
    assert len(steps(yard, "other")) == 1
    assert not (yard.root / COMMITTED.format("done", 20)).exists()
    assert "`trainyard undo`" in outcome.out.splitlines()[-1]
    assert yard("verify").code == 0
    back = yard("undo")
    assert back.code == 0
    assert steps(yard, "done") == [20, 40, 60]
    after = tree(yard.root)
    assert content(after) == content(before)
    same = ("id", "summary", "metrics", "state", "best")
    assert [[row[key] for key in same] for row in yard("runs", "--json").json] == [
        [row[key] for key in same] for row in runs
    ]
    assert yard("verify").code == 0


def test_the_bytes_it_promises_come_free(yard: Kept):
    def used() -> int:
        """Bytes of disk, hard links counted once."""
        inodes = {info.st_ino: info.st_blocks * 512 for path in yard.root.rglob("*") if (info := path.lstat())}
        return sum(inodes.values())

    plan = yard("clean", "--json", "--dry-run", "name:done").json
    assert plan["bytes_freed"] == sum(item["bytes_freed"] for item in plan["items"]) > 0
    inside = [yard.root / COMMITTED.format("done", step) for step in (20, 40)]
    assert plan["bytes_apparent"] == sum(p.stat().st_size for folder in inside for p in folder.rglob("*"))
    yard("clean", "name:done", "--yes")
    before = used()
    outcome = yard("clean", "--trash", "--yes")
    assert outcome.code == 0
    freed = before - used()
    assert abs(freed - plan["bytes_freed"]) < 20_000, "but for the plan, which lay in the trash too"
    assert yard("undo").code == 2


def test_keeping_more(yard: Kept):
    yard("clean", "name:killed", "--keep-last", "2", "--yes")
    assert steps(yard, "killed") == [80, 100]
    yard("undo")
    yard("clean", "name:killed", "--checkpoints", "--keep-every", "2", "--yes")
    assert steps(yard, "killed") == [40, 80, 100]
    yard("undo")
    yard("clean", "name:killed", "--checkpoints", "--keep-best", "3", "--keep-last", "1", "--yes")
    assert steps(yard, "killed") == [60, 80, 100]


def test_a_filter_narrows_it(yard: Kept):
    yard("clean", "tag:paper", "--yes")
    assert steps(yard, "done") == [60]
    assert len(steps(yard, "killed")) == 5
    yard("undo")
    yard("clean", "-state:crashed", "--yes")
    assert (steps(yard, "done"), len(steps(yard, "killed"))) == ([60], 5)


def test_step_drops_even_the_best_because_it_was_named(yard: Kept):
    outcome = yard("clean", "name:done", "--step", "60", "--yes")
    assert outcome.code == 0
    assert steps(yard, "done") == [20, 40]
    assert yard("evaluate", "done").code == 2
    yard("undo")
    assert steps(yard, "done") == [20, 40, 60]
    assert yard("evaluate", "done").code == 0


def test_optimizer_state_of_superseded_checkpoints(yard: Kept):
    yard("clean", "name:killed", "--optimizer", "--yes")
    folder = yard.root / COMMITTED.format("killed", 20)
    assert (folder / "model.safetensors").exists()
    assert not (folder / "optimizer.pt").exists()
    assert yard.run("killed").snapshot.checkpoint(20).resumable is False
    assert "not resumable" in yard("show", "killed").out
    assert yard("verify").code == 0
    assert yard("evaluate", "killed", "--checkpoint", "20", "--split", "val").code == 0
    yard("undo")
    assert (folder / "optimizer.pt").exists()
    assert yard.run("killed").snapshot.checkpoint(20).resumable is True


@pytest.mark.parametrize("words", [["state:failed"], ["--state", "failed"], ["name:nan"]])
def test_whole_runs_go_and_come_back(yard: Kept, words):
    before = tree(yard.root)
    outcome = yard("clean", "--runs", *words, "--yes")
    assert outcome.code == 0
    assert not (yard.root / "p/nan/nan").exists()
    assert [row["name"] for row in yard("runs", "--json").json] == ["other", "done", "killed"]
    assert yard("show", "nan").code == 2
    assert yard("undo").code == 0
    assert yard("show", "nan").code == 0
    assert set(tree(yard.root)) == set(before)
    assert yard("verify").code == 0


def test_runs_by_age(yard: Kept):
    assert yard("clean", "--runs", "--older-than", "1h", "--dry-run", "--json").json["items"] == []
    ended = datetime.fromisoformat(yard.run("killed").snapshot.attempts[-1].started)
    assert ended < datetime.now(UTC) + timedelta(seconds=1)
    out = yard("clean", "--runs", "--older-than", "0d", "state:failed,finished", "--dry-run").out
    assert all(f"  {name} (" in out for name in ("done", "other", "nan"))
    assert "  killed (" not in out


def test_until_the_yard_is_small_enough(yard: Kept):
    out = yard("clean", "--until-below", "1B", "--dry-run").out
    assert all(f"  {name} (" in out for name in ("done", "other", "nan", "killed"))
    assert yard("clean", "--until-below", "1GB", "--dry-run", "--json").json["items"] == []


def test_logs(yard: Kept):
    log = yard.root / "p/digits/done/train.log"
    assert yard("clean", "--logs", "1d", "--dry-run", "--json").json["items"] == []
    out = yard("clean", "--logs", "0d", "name:done", "--yes").out
    assert "p/digits/done/train.log" in out
    assert not log.exists()
    assert (yard.root / "p/nan/nan/train.log").exists()
    assert (yard.root / COMMITTED.format("done", 20)).exists(), "only what was asked for"
    yard("undo")
    assert log.exists()


def test_nothing_to_do(yard: Kept):
    yard("clean", "--yes")
    outcome = yard("clean", "--yes")
    assert (outcome.code, outcome.err) == (0, "")
    assert "Nothing to do" in outcome.out
    assert "moved to the trash" not in outcome.out


def test_json_is_the_plan(yard: Kept):
    dry = yard("clean", "--json", "--dry-run").json
    assert {item["action"] for item in dry["items"]} == {"drop_checkpoint"} or dry["items"]
    done = yard("clean", "--json", "--yes").json
    assert [item["what"] for item in done["items"]] == [item["what"] for item in dry["items"]]
    assert steps(yard, "done") == [60]


def test_the_trash_is_emptied_by_age_and_only_when_asked(yard: Kept):
    yard("clean", "name:done", "--yes")
    refused = yard("clean", "--trash")
    assert refused.code == 2
    assert "--yes" in refused.err
    listed = yard("clean", "--trash", "--dry-run").out
    assert listed.endswith("1 entry in the trash\n")
    assert yard("undo", "--list").out.split()[0] in listed
    yard("clean", "--trash", "30d", "--yes")
    assert yard("undo", "--list").out != "", "it is not that old"
    yard("clean", "--trash", "--yes")
    assert yard("undo", "--list").out == ""
    assert steps(yard, "done") == [60]
    assert yard("verify").code == 0


def test_undo_of_an_entry_by_name(yard: Kept):
    yard("clean", "name:done", "--yes")
    yard("clean", "name:killed", "--yes")
    newest, oldest = (line.split()[0] for line in yard("undo", "--list").out.splitlines())
    if newest < oldest:
        newest, oldest = oldest, newest
    assert yard("undo", oldest).code == 0
    assert steps(yard, "done") == [20, 40, 60]
    assert steps(yard, "killed") == [100]
    assert yard("undo").code == 0
    assert len(steps(yard, "killed")) == 5


def test_undo_names_what_it_cannot_bring_back(yard: Kept):
    yard("clean", "--runs", "name:nan", "--yes")
    (yard.root / "p/nan/nan").mkdir(parents=True)
    (yard.root / "p/nan/nan/mine.txt").write_text("mine")
    outcome = yard("undo")
    assert "Not restored: 1" in outcome.out
    assert "p/nan/nan" in outcome.out
    assert (yard.root / "p/nan/nan/mine.txt").read_text() == "mine"
    (yard.root / "p/nan/nan/mine.txt").unlink()
    (yard.root / "p/nan/nan").rmdir()
    assert yard("undo").code == 0
    assert yard("show", "nan").code == 0


def test_what_others_were_made_from_is_spared(yard: Kept):
    checkpoint = yard.root / COMMITTED.format("done", 20)
    made = yard(
        "train",
        "model=mlp",
        "model.hidden=[16]",
        f"run.checkpoint_path={checkpoint}",
        "run.train=false",
        "run.name=child",
        "outputs.plots=false",
        "--quiet",
    )
    assert made.code == 0
    out = yard("clean", "name:done", "--yes").out
    assert steps(yard, "done") == [20, 60]
    assert "child" in out
    refused = yard("clean", "--runs", "name:done", "--yes").out
    assert yard("show", "done").code == 0
    assert "child" in refused
    assert yard("clean", "--runs", "name:done", "--yes", "--force").code == 0
    assert yard("show", "done").code == 2
    assert yard("undo").code == 0
    assert yard("show", "done").code == 0
