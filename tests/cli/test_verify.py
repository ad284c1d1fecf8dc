"""`trainyard verify`: names the file whose bytes are not those that were written."""

from __future__ import annotations

import shutil

import pytest
from command_line import Kept, flip_a_byte


def test_a_whole_yard(kept: Kept):
    outcome = kept("verify")
    assert outcome.code == 0
    last = outcome.out.splitlines()[-1]
    assert last.startswith("4 runs, 9 checkpoints, ")
    assert kept("verify", "done", "other", "nan", "--json").json["findings"] == []


def test_leftovers_of_a_kill_are_named(kept: Kept, yard: Kept):
    """`killed` was killed while it wrote its sixth checkpoint; no harm is done."""
    (left,) = (kept.root / "p/digits/killed").glob(".tmp-*")
    outcome = kept("verify", "killed")
    assert outcome.code == 0
    assert left.name in outcome.out
    [finding] = kept("verify", "killed", "--json").json["findings"]
    assert finding["harmless"]
    assert left.name in finding["what"]
    assert yard("resume", "killed").code == 0
    assert ".tmp-" not in yard("verify", "killed").out


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("done", "checkpoint-40/model.safetensors"),
        ("done", "checkpoint-20/optimizer.pt"),
        ("done", "checkpoint-60/manifest.json"),
        ("done", "predictions/test.csv"),
        ("done", "config.yaml"),
        ("other", "checkpoints/mlp_epoch_1.pth"),
        ("done", ".run/journal.jsonl"),
        ("done", ".run/history.jsonl"),
    ],
)
def test_one_flipped_byte_is_found_and_its_file_named(yard: Kept, name, file):
    path = yard.run(name).home / file
    flip_a_byte(path)
    outcome = yard("verify")
    assert outcome.code == 1
    assert any(str(path) in line for line in outcome.out.splitlines()), outcome.out
    assert "→ " in outcome.out, "each finding has a remedy"
    assert outcome.out.splitlines()[-1].endswith(("1 problem", "2 problems"))
    as_json = yard("verify", "--json")
    assert as_json.code == 1
    assert any(str(path) in finding["what"] for finding in as_json.json["findings"])


def test_one_run_only(yard: Kept):
    flip_a_byte(yard.root / "p/digits/done/config.yaml")
    assert yard("verify", "other").code == 0
    assert yard("verify", "other", "nan").out.startswith("2 runs, ")
    outcome = yard("verify", "done", "--json")
    assert outcome.code == 1
    assert [finding["home"] for finding in outcome.json["findings"]] == ["p/digits/done"]


def test_what_is_missing_is_named(yard: Kept):
    (yard.root / "p/digits/done/predictions/val.csv").unlink()
    shutil.rmtree(yard.root / "p/digits/done/checkpoint-40")
    out = yard("verify", "done").out
    assert "predictions/val.csv" in out
    assert "checkpoint-40" in out
    assert "(steps 20, 60)" in out


def test_it_changes_nothing(yard: Kept):
    from command_line import tree

    flip_a_byte(yard.root / "p/digits/done/checkpoint-40/model.safetensors", at=2000)
    before = tree(yard.root)
    yard("verify")
    assert tree(yard.root) == before
