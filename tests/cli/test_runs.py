"""`trainyard runs`: filters, order, pages, JSON."""

from __future__ import annotations

import pytest
from command_line import Kept

from trainyard.runs import Yard

ALL = ["nan", "other", "done", "killed"]  # newest first


def names(outcome) -> list[str]:
    assert outcome.code == 0, outcome.err
    return [row["name"] for row in outcome.json]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], ALL),
        (["state:finished"], ["other", "done"]),
        (["-state:finished"], ["nan", "killed"]),
        (["state:failed,crashed"], ["nan", "killed"]),
        (["state:crashed"], ["killed"]),
        (["layout:dated"], ["other"]),
        (["dataset:digits"], ["other", "done", "killed"]),
        (["tag:paper"], ["done"]),
        (["seed:5"], ["done"]),
        (["config.training.epochs:3"], ["done"]),
        (["config.training.epochs>=3", "state:finished"], ["done"]),
        (["config.training.epochs>=3 state:finished"], ["done"]),
        (["name:*e*"], ["other", "done", "killed"]),
        (["oth"], ["other"]),
        (["error:diverged"], ["nan"]),
        (["created:today", "name:none-such"], []),
        (["sort:name"], ["done", "killed", "nan", "other"]),
        (["sort:-name"], ["other", "nan", "killed", "done"]),
        (["state:finished", "sort:summary.test_loss"], ["done", "other"]),
        (["--limit", "2"], ["nan", "other"]),
        (["--limit", "2", "--offset", "1"], ["other", "done"]),
        (["--offset", "3"], ["killed"]),
        (["--offset", "9"], []),
        (["limit:1", "sort:name"], ["done"]),
    ],
)
def test_filters_order_and_pages(kept, words, expected):
    assert names(kept("runs", "--json", *words)) == expected


def test_a_filter_on_numbers_agrees_with_the_numbers(kept):
    values = {row["name"]: row["summary"]["test_accuracy"] for row in kept("runs", "--json", "state:finished").json}
    low, high = sorted(values.values())
    between = (low + high) / 2
    for bare in ("summary.test_accuracy", "test_accuracy"):
        found = names(kept("runs", "--json", f"{bare}>{between}"))
        assert found == [name for name, value in values.items() if value > between]


def test_a_row_holds_what_the_run_says(kept: Kept):
    (row,) = kept("runs", "--json", "name:done").json
    run = kept.run("done").snapshot
    assert (row["id"], row["step"], row["epoch"], row["state"]) == (run.id, 60, 3, "finished")
    assert row["summary"] == run.summary
    assert row["best"]["value"] == run.best.value


def test_the_table(kept):
    lines = kept("runs").out.splitlines()
    assert lines[0].split() == ["id", "run", "layout", "state", "epoch", "val_loss", "test_acc", "size", "created"]
    assert [line.split()[1].rpartition("/")[2] for line in lines[1:]] == ALL
    done = kept.run("done").snapshot
    cells = lines[3].split()
    assert cells[:5] == [done.id, "p/digits/done", "grouped", "finished", "3"]
    assert cells[5:7] == [f"{done.summary['val_loss']:.4f}", f"{done.summary['test_accuracy']:.4f}"]
    starts = {line.index(line.split()[3]) for line in lines}
    assert len(starts) == 1, "columns must be aligned"


def test_the_table_says_how_to_see_more(kept):
    assert kept("runs", "--limit", "3").out.splitlines()[-1] == "1-3 of 4; more with --offset 3"
    assert kept("runs", "--limit", "2", "--offset", "1").out.splitlines()[-1] == "2-3 of 4; more with --offset 3"
    assert "more with" not in kept("runs", "--limit", "3", "--offset", "3").out
    assert "more with" not in kept("runs").out


def test_nothing_found_is_reported(kept, tmp_path):
    outcome = kept("runs", "name:zzz")
    assert (outcome.code, outcome.out) == (0, "No run matches 'name:zzz'.\n")
    assert kept("runs", "name:zzz", "--json").json == []
    Yard(tmp_path / "bare", create=True)
    assert "`trainyard train`" in Kept(tmp_path / "bare")("runs").out


def test_a_deleted_index_is_made_anew(yard):
    before = yard("runs", "--json").json
    for path in (yard.root / ".yard").glob("index.sqlite*"):
        path.unlink()
    assert yard("runs", "--json").json == before
    assert (yard.root / ".yard/index.sqlite").exists()


def test_a_damaged_index_is_made_anew(yard):
    before = yard("runs", "--json").json
    (yard.root / ".yard/index.sqlite").write_bytes(b"not a database at all" * 100)
    assert yard("runs", "--json").json == before


def test_a_run_that_cannot_be_read_is_named_and_left_out(yard):
    own = yard.root / "p/digits/done/.run"
    for name in ("run.json", "journal.jsonl"):
        (own / name).write_bytes(b"\0" * 50)
    yard("reindex")
    outcome = yard("runs")
    assert outcome.code == 0
    assert "p/digits/done" in outcome.err
    assert "p/digits/done" not in outcome.out
    assert "p/digits/killed" in outcome.out
