"""`trainyard doctor`: looks, says, changes nothing."""

from __future__ import annotations

from command_line import Kept, flip_a_byte, trainyard, tree


def by_subject(yard: Kept) -> dict[str, str]:
    return {check["subject"]: check["status"] for check in yard("doctor", "--json").json}


def test_a_yard_in_order(kept: Kept):
    outcome = kept("doctor")
    assert outcome.code == 0
    assert "1 crashed, 1 failed, 2 finished" in outcome.out
    assert "`trainyard runs state:crashed`" in outcome.out
    found = by_subject(kept)
    assert {found[name] for name in ("python", "packages", "disk", "hard links")} == {"ok"}
    assert found["runs"] == "warn"


def test_it_changes_nothing(yard: Kept):
    before = tree(yard.root)
    yard("doctor")
    assert tree(yard.root) == before


def test_no_yard_yet_is_no_fault(empty: Kept):
    outcome = empty("doctor")
    assert outcome.code == 0
    assert "`trainyard train`" in outcome.out
    assert not empty.root.parent.exists()


def test_a_run_that_cannot_be_read_fails(yard: Kept):
    own = yard.root / "p/digits/done/.run"
    (own / "run.json").unlink()
    flip_a_byte(own / "journal.jsonl", at=40)
    outcome = yard("doctor")
    assert outcome.code == 1
    assert "FAIL" in outcome.out
    assert "p/digits/done" in outcome.out


def test_a_yard_that_is_a_file_fails(tmp_path):
    (tmp_path / "file").write_text("")
    outcome = trainyard("doctor", "--yard", tmp_path / "file")
    assert outcome.code == 1
    assert "is not a directory" in outcome.out
