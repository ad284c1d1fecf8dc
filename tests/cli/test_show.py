"""`trainyard show`: everything about one run, by any of its names."""

from __future__ import annotations

from pathlib import Path

import pytest
from command_line import Kept

from trainyard import start_run


def test_last_is_the_newest(kept):
    assert kept("show", "last", "--json").json["name"] == "nan"


@pytest.mark.parametrize("reference", ["done", "p/done", "p/digits/done", "{id}", "{id:.5}", "{home}", "digits/done"])
def test_a_run_by_any_of_its_names(kept: Kept, reference):
    run = kept.run("done")
    text = reference.format(id=run.snapshot.id, home=run.home)
    assert kept("show", text, "--json").json["id"] == run.snapshot.id


def test_json_holds_everything(kept: Kept):
    shown = kept("show", "done", "--json").json
    run = kept.run("done")
    assert shown["path"] == str(run.home)
    assert shown["summary"] == run.snapshot.summary
    assert [c["step"] for c in shown["checkpoints"]] == [20, 40, 60]
    assert shown["config"]["training"]["epochs"] == 3
    assert shown["state"] == "finished"


def test_for_people(kept: Kept):
    out = kept("show", "done").out
    run = kept.run("done").snapshot
    assert out.splitlines()[0] == f"p/digits/done  {run.id}  finished"
    for words in (
        "3 epochs, 60 steps, 1 attempt, seed 5",
        "1797 items (1258 train, 180 val, 359 test), 10 classes",
        "tags      paper",
        f"test_accuracy            {run.summary['test_accuracy']:.6g}",
        "p/digits/done/checkpoint-60/  best",
        "p/digits/done/predictions/test.csv",
    ):
        assert words in out


def test_a_failed_run_shows_why(kept):
    out = kept("show", "nan").out
    assert "DivergedError: The loss became nan at step" in out
    assert "train_images[7]" in out


def test_a_crashed_run_is_shown_as_such(kept):
    out = kept("show", "killed").out
    assert "crashed" in out.splitlines()[0]
    assert "Latest metrics" in out


@pytest.mark.parametrize("name", ["done", "other", "killed", "nan"])
def test_files_are_paths_that_are_there(kept: Kept, name):
    lines = kept("show", name, "--files").out.splitlines()
    assert lines
    assert all(Path(line).exists() for line in lines)
    assert kept("show", name, "--files", "--json").json == lines
    run = kept.run(name)
    home = {str(path) for path in run.home.rglob("*") if path.is_file() and "/.run/" not in str(path)}
    listed = {Path(line) for line in lines}
    unlisted = [path for path in home if not listed & {Path(path), *Path(path).parents}]
    assert [
        path for path in unlisted if ".tmp-" not in path and "tfevents" not in path and not path.endswith("train.log")
    ] == []


def test_a_yard_that_was_renamed_and_made_read_only_shows_the_same(yard: Kept, tmp_path):
    before = yard("show", "done", "--json").json
    yard.root.rename(tmp_path / "renamed")
    moved = Kept(tmp_path / "renamed")
    after = moved("show", "done", "--json").json
    assert after.pop("path") == str(tmp_path / "renamed/p/digits/done")
    del before["path"]
    assert after == before


def test_a_warning_of_several_lines_hangs_below_its_first(empty: Kept):
    with start_run(name="warned", yard=empty.root) as run:
        run.warn("Skipped 2 recordings:\n  - a.wav\n  - b.wav")
    lines = empty("show", "warned").out.splitlines()
    at = lines.index("  warning   Skipped 2 recordings:")
    assert lines[at + 1 : at + 3] == [" " * 14 + "- a.wav", " " * 14 + "- b.wav"]
