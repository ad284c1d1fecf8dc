"""`trainyard reindex`: finds what was copied in by hand."""

from __future__ import annotations

import shutil

import pytest
from command_line import Kept

from trainyard.runs import Yard


def test_a_home_copied_from_another_yard_is_found(kept: Kept, tmp_path):
    other = Kept(Yard(tmp_path / "other", create=True).root)
    assert other("runs", "--json").json == []
    shutil.copytree(kept.root / "p/digits/done", other.root / "from a friend/done")
    outcome = other("reindex")
    assert outcome.code == 0
    assert outcome.out.startswith("1 run indexed in ")
    assert [row["name"] for row in other("runs", "--json").json] == ["done"]
    shown = other("show", "done", "--json").json
    assert shown["path"] == str(other.root / "from a friend/done")
    lines = other("show", "done", "--files").out.splitlines()
    assert lines
    assert all(line.startswith(str(other.root / "from a friend/done/")) for line in lines)
    assert other("verify").code == 0
    assert other("evaluate", "done", "--json").json["metrics"] == kept("evaluate", "done", "--json").json["metrics"]


def test_copying_next_to_the_original_makes_two_that_must_be_told_apart(yard: Kept):
    shutil.copytree(yard.root / "p/digits/done", yard.root / "p/digits/done-copy")
    assert yard("reindex").out.startswith("5 runs indexed")
    outcome = yard("show", "done")
    assert outcome.code == 2
    assert "copies" in outcome.err
    assert yard("show", "p/digits/done-copy", "--json").json["path"].endswith("done-copy")


def test_the_count(kept: Kept):
    assert kept("reindex").out.startswith("4 runs indexed in ")


@pytest.mark.parametrize("lost", ["index.sqlite", "changes.log", ""])
def test_losing_the_yards_own_files_costs_nothing(yard: Kept, lost):
    before = yard("runs", "--json").json
    if lost:
        (yard.root / ".yard" / lost).unlink()
    else:
        shutil.rmtree(yard.root / ".yard")
    assert yard("runs", "--json").json == before
    assert yard("reindex").out.startswith("4 runs indexed")
    assert yard("runs", "--json").json == before
