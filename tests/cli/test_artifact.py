"""`trainyard artifact`: what people see of artifacts, and what they may do with them."""

from __future__ import annotations

import json
import os
from pathlib import Path

import faults
import pytest
from command_line import Kept, trainyard, tree
from fresh_process import HEAVY, MAIN, imported

from trainyard.artifacts import Artifacts
from trainyard.errors import UserError
from trainyard.running.artifacts import log_run_artifacts
from trainyard.runs import RunWriter, Yard, resume_run


def reopened(yard: Kept, name: str) -> RunWriter:
    """A run that ended, open to log and use artifacts."""
    return resume_run(Yard(yard.root), yard.run(name).home)


@pytest.fixture
def stocked(yard: Kept, tmp_path: Path) -> Kept:
    """The yard with `p/rows` v0 and v1 (alias clean), v0 used by `done`, whose model and files are logged."""
    store = Artifacts(Yard(yard.root))
    for number, text in enumerate(("a,b\n", "a,b\n1,2\n")):
        path = tmp_path / f"rows-{number}.csv"
        path.write_text(text)
        store.log("rows", {"data/rows.csv": path}, type="dataset", project="p", metadata={"rows": number})
    store.alias(store.find("rows"), add=["clean"])
    run = reopened(yard, "done")
    store.use("rows:v0", run)
    log_run_artifacts(run, run.snapshot.checkpoint(60))
    run.abandon()
    return yard


def test_list(stocked: Kept):
    lines = stocked("artifact", "list").out.splitlines()
    assert lines[0].split() == ["artifact", "type", "versions", "latest", "aliases", "size", "created"]
    rows = {line.split()[0]: line for line in lines[1:]}
    assert list(rows) == ["p/model-done", "p/predictions-done", "p/rows", "p/statistics-done"]
    assert rows["p/rows"].split()[1:6] == ["dataset", "2", "v1", "clean", "v1"]
    of_one = stocked("artifact", "list", "p/rows").out.splitlines()
    assert [line.split()[0] for line in of_one] == ["version", "p/rows:v1", "p/rows:v0"]
    assert len(stocked("artifact", "list", "--type", "model", "--json").json) == 1
    assert stocked("artifact", "list", "rows", "--json").json[0]["files"]["data/rows.csv"]["size"] == 4
    assert stocked("artifact", "list", "--project", "q").out == "No artifact matches.\n"


def test_an_empty_yard(kept: Kept):
    assert kept("artifact", "list", "--json").json == []
    assert kept("artifact", "list", "--json").json == []
    assert "run.log_artifact" in kept("artifact", "list").out
    outcome = kept("artifact", "show", "rows")
    assert outcome.code == 2
    assert "the yard" in outcome.err


def test_show(stocked: Kept):
    out = stocked("artifact", "show", "rows").out
    assert out.startswith("p/rows:v1  dataset  latest, clean\n")
    assert "data/rows.csv" in out
    assert "rows    1" in out
    model = stocked("artifact", "show", "model-done:best", "--json").json
    assert model["made_by"] == stocked.run("done").snapshot.id
    assert model["inputs"] == ["p/rows:v0"]
    assert model["metadata"]["step"] == 60
    assert os.listdir(model["path"])
    assert set(model["files"]) == set(os.listdir(model["path"]))


def test_get(stocked: Kept, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    outcome = stocked("artifact", "get", "rows:clean")
    assert outcome.out == "p/rows:v1: 1 file, 8 B in artifacts/rows-v1\n"
    assert Path("artifacts/rows-v1/data/rows.csv").read_text() == "a,b\n1,2\n"
    Path("artifacts/rows-v1/data/rows.csv").write_text("mine")
    refused = stocked("artifact", "get", "rows:clean")
    assert refused.code == 2
    assert "artifacts/rows-v1/data/rows.csv" in refused.err
    assert "--replace" in refused.err
    assert Path("artifacts/rows-v1/data/rows.csv").read_text() == "mine"
    assert stocked("artifact", "get", "rows:clean", "--replace").code == 0
    got = stocked("artifact", "get", "model-done", "--to", tmp_path / "out", "--json").json
    assert got["path"] == str(tmp_path / "out")
    assert sorted(os.listdir(tmp_path / "out")) == sorted(got["files"])


def test_get_what_is_damaged_or_does_not_fit(stocked: Kept, tmp_path: Path):
    store = Artifacts(Yard(stocked.root))
    faults.flip_byte(store.path(store.find("rows"), "data/rows.csv"), 1)
    outcome = stocked("artifact", "get", "rows", "--to", tmp_path / "out")
    assert outcome.code == 1
    assert "data/rows.csv of artifact p/rows:v1" in outcome.err
    assert not (tmp_path / "out/data/rows.csv").exists()
    found = stocked("verify", "--json")
    assert found.code == 1
    assert [finding["home"] for finding in found.json["findings"] if not finding["harmless"]] == ["p/rows:v1"]
    with faults.disk_full(10):
        outcome = stocked("artifact", "get", "model-done", "--to", tmp_path / "full")
    assert outcome.code == 1
    assert "The disk is full" in outcome.err
    assert not (tmp_path / "full").exists()


def test_alias(stocked: Kept):
    assert stocked("artifact", "alias", "rows:v0", "paper", "clean").out == "p/rows:v0: clean, paper\n"
    assert stocked("artifact", "show", "rows:clean", "--json").json["number"] == 0
    assert stocked("artifact", "alias", "rows:v0", "paper", "--remove", "--json").json["aliases"] == ["clean"]
    for words in (("rows:v0", "latest"), ("rows:v0", "v7"), ("rows:v0", "a/b"), ("rows:v0", "gone", "--remove")):
        outcome = stocked("artifact", "alias", *words)
        assert outcome.code == 2
        assert "→" in outcome.err


def test_lineage(stocked: Kept):
    run = stocked.run("done").snapshot
    out = stocked("artifact", "lineage", "model-done").out
    assert out.splitlines() == [
        "p/model-done:v0  model",
        f"  made by p/digits/done ({run.id})",
        "  from",
        "    p/rows:v0  dataset",
    ]
    below = stocked("artifact", "lineage", "rows:v0").out.splitlines()
    assert below[:2] == ["p/rows:v0  dataset", f"  used by p/digits/done ({run.id}), which made"]
    assert below[2:] == [
        "    p/model-done:v0  model",
        "    p/predictions-done:v0  predictions",
        "    p/statistics-done:v0  statistics",
    ]
    found = stocked("artifact", "lineage", "rows:v0", "--json").json
    assert {one["artifact"] for one in found["used_by"][0]["made"]} == {
        "p/model-done:v0",
        "p/predictions-done:v0",
        "p/statistics-done:v0",
    }


def test_rm_and_undo(stocked: Kept):
    before = stocked("artifact", "list", "--json").json
    dry = stocked("artifact", "rm", "statistics-done:v0", "--dry-run")
    assert "artifact p/statistics-done:v0: requested, and not in use" in dry.out
    assert stocked("artifact", "list", "--json").json == before
    plan = stocked("artifact", "rm", "statistics-done:v0", "--dry-run", "--json").json
    assert [item["what"] for item in plan["items"]] == ["artifact p/statistics-done:v0"]
    done = stocked("artifact", "rm", "statistics-done:v0", "--yes")
    assert "`trainyard undo`" in done.out.splitlines()[-1]
    assert len(stocked("artifact", "list", "--json").json) == len(before) - 1
    assert stocked("verify").code == 0
    assert stocked("undo").code == 0
    assert stocked("artifact", "list", "--json").json == before


def test_rm_of_what_is_in_use(stocked: Kept):
    run = stocked.run("done").snapshot
    for reference, why in [
        ("rows:v0", f"p/digits/done ({run.id}) used it"),
        ("rows:v1", "its alias is clean"),
        ("model-done:best", "its alias is best"),
        ("rows", "rows:v0"),
        ("rows:v9", "no version or alias 'v9'"),
    ]:
        for options in ((), ("--dry-run",)):
            outcome = stocked("artifact", "rm", reference, "--yes", *options)
            assert outcome.code == 2
            assert why in outcome.err
    assert "although in use" in stocked("artifact", "rm", "rows:v0", "--force", "--yes").out
    assert [one["version"] for one in stocked("artifact", "list", "rows", "--json").json] == ["v1"]


@pytest.mark.parametrize("reference", ["../x", "a/b/c", "", "rows:", "rows:v01", "x" * 300, "nul\0", "rows:a:b"])
@pytest.mark.parametrize("what", ["show", "get", "lineage"])
def test_references_that_cannot_be(kept: Kept, what: str, reference: str):
    before = tree(kept.root)
    outcome = kept("artifact", what, reference)
    assert outcome.code == 2
    assert "cannot be a" in outcome.err
    assert "→" in outcome.err
    assert tree(kept.root) == before


def test_near_names_are_offered(stocked: Kept):
    outcome = stocked("artifact", "show", "model-don")
    assert outcome.code == 2
    assert "Did you mean 'model-done'?" in outcome.err


def test_help():
    out = trainyard("artifact", "--help").out
    for name in ("list", "show", "get", "alias", "lineage", "rm"):
        assert f"  {name} " in out
        each = trainyard("artifact", name, "-h")
        assert each.code == 0
        assert "--yard" in each.out
        assert "--json" in each.out
        assert max(map(len, each.out.splitlines())) <= 100
    assert trainyard("artifact").code == 2
    assert "No such command" in trainyard("artifact", "lst").err


def test_what_a_run_did_is_in_its_snapshot(stocked: Kept):
    told = stocked("show", "done", "--json").json["artifacts"]
    assert told[0] == {"role": "used", "artifact": "p/rows:v0", "type": "dataset"}
    assert {one["artifact"] for one in told[1:]} == {"p/model-done:v0", "p/predictions-done:v0", "p/statistics-done:v0"}
    assert json.dumps(told)


def test_a_broken_version_does_not_hide_the_others(stocked: Kept):
    (stocked.root / ".yard/artifacts/p/rows/v0/manifest.json").write_text("{")
    outcome = stocked("artifact", "list")
    assert outcome.code == 0
    assert "p/rows:v0" in outcome.err
    assert "p/model-done" in outcome.out
    with pytest.raises(UserError):
        Artifacts(Yard(stocked.root)).find("gone")


@pytest.mark.parametrize("words", ["list", "show rows", "lineage rows", "get rows", "rm rows:v0 --force --dry-run"])
def test_looking_needs_no_heavy_library(stocked: Kept, words: str):
    assert not imported(MAIN, "artifact", *words.split(), "--yard", str(stocked.root)) & {*HEAVY, "hydra", "rich"}
