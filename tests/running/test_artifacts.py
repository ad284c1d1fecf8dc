"""Artifacts as runs and people use them: the library, what a training logs, removing and bringing back."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import trainyard
from trainyard import durable
from trainyard.analysis.classification import predictions
from trainyard.analysis.classification.metrics import per_class
from trainyard.artifacts import Artifacts, Version
from trainyard.checkpoints import commit, publish
from trainyard.errors import UserError
from trainyard.retention import KeepPolicy, empty_trash, undo
from trainyard.retention import apply as carry_out
from trainyard.retention.cleaning import clean_checkpoints, remove_cache, remove_runs, run_facts
from trainyard.retention.run_policy import by_choice
from trainyard.running.artifacts import log_run_artifacts, plan_removal, remove
from trainyard.runs import RunReader, RunWriter, Yard
from trainyard.upkeep.verify import Tally, verify_yard

NewRun = Callable[..., RunWriter]


def write(path: Path, text: str) -> Path:
    """A new file, whatever was there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    path.write_text(text)
    return path


# -- the library


def test_a_loop_of_ones_own(tmp_path: Path) -> None:
    data = write(tmp_path / "rows.csv", "a,b\n1,2\n")
    with trainyard.start_run("cats", yard=tmp_path / "yard") as run:
        version = run.log_artifact(data, "rows", type="dataset", aliases=["clean"], metadata={"rows": 1})
        assert (version.path, version.aliases) == ("cats/rows:v0", ["latest", "clean"])
        assert run.log_artifact({"rows.csv": data}, "rows", type="dataset").version == "v0"
    with trainyard.start_run("dogs", yard=tmp_path / "yard") as run:
        used = run.use_artifact("rows:clean")
        assert (used.path, used.metadata) == ("cats/rows:v0", {"rows": 1})
        assert [file.name for file in used.files()] == ["rows.csv"]
        assert (used.download(tmp_path / "out") / "rows.csv").read_text() == "a,b\n1,2\n"
        made = run.log_artifact(write(tmp_path / "model.bin", "weights"), "model", type="model")
        assert made.inputs == ["cats/rows:v0"]
        assert "cats/rows:v0" in repr(used)


def test_without_a_root_it_goes_beside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "a.txt", "a")
    with trainyard.start_run("p") as run:
        run.log_artifact("a.txt", "notes")
        assert run.use_artifact("notes").download() == Path("artifacts/notes-v0")


def test_a_resumed_run_may_use_artifacts_before_it_says_where_it_goes_on(tmp_path: Path) -> None:
    with trainyard.start_run("p", name="r", yard=tmp_path / "yard") as run:
        run.save_checkpoint({"w": lambda path: path.write_text("1")}, step=3)
        run.log_artifact(write(tmp_path / "a.txt", "a"), "notes")
    with trainyard.start_run(resume="r", yard=tmp_path / "yard") as again:
        again.use_artifact("notes")
        point = again.resume_from()
        assert point is not None
        assert point.step == 3


# -- what a training logs


def train(run: RunWriter) -> Any:
    """A run with two checkpoints, the best published, predictions and statistics; returns the best."""
    for step in (10, 20):
        names = ["model.safetensors", "config.json", "optimizer.pt"]
        if run.layout.checkpoint_format == "hf-bin":
            names[0] = "pytorch_model.bin"
        if run.layout.checkpoint_format == "pth":
            names = [""]
        files = {name: (lambda path, name=name, step=step: path.write_text(f"{name} {step}")) for name in names}
        checkpoint = commit(run, files, step=step, epoch=step / 10, metrics={"val_loss": 1 / step})
    publish(run, checkpoint, "best")
    labels, probabilities = np.array([0, 1]), np.array([[0.9, 0.1], [0.2, 0.8]])
    for split in ("val", "test"):
        text = predictions.predictions_csv([f"{split}1", f"{split}2"], labels, labels, probabilities, ["a", "b"])
        run.write("final_predictions", text, split=split)
    run.write("per_class", predictions.per_class_csv(per_class(labels, labels, ["a", "b"]), "label"), split="test")
    return run.snapshot.checkpoint(20)


def test_the_best_checkpoint_predictions_and_statistics(new_run: NewRun, layout_name: str, tmp_path: Path) -> None:
    run = new_run(layout_name)
    best = train(run)
    versions = log_run_artifacts(run, best)
    store = Artifacts(run.yard)
    assert [(v.name, v.type) for v in versions] == [
        (f"model-{run.name}", "model"),
        (f"predictions-{run.name}", "predictions"),
        (f"statistics-{run.name}", "statistics"),
    ]
    model, guesses, _ = versions
    assert model.aliases == ("latest", "best")
    assert model.metadata == {"step": 20, "epoch": 2.0, "metrics": {"val_loss": 0.05}}
    assert not any("optimizer" in name for name in model.files)
    directory = run.layout.checkpoint_format != "pth"
    assert len(model.files) == (2 if directory else 1)
    assert len(guesses.files) == 2
    for version in versions:
        assert store.faults(version) == []
        assert version.made_by == run.id
    recorded = {record.path for record in run.snapshot.records if record.kind == "artifact_manifest"}
    assert len(recorded) == (3 if layout_name == "files" else 0)
    files, journal = len(list(run.yard.root.rglob("*"))), run.home / ".run" / "journal.jsonl"
    size = journal.stat().st_size
    again = log_run_artifacts(run, best)
    assert [version.number for version in again] == [0, 0, 0]
    assert len(list(run.yard.root.rglob("*"))) == files
    if layout_name != "files":  # there the manifest is written again
        assert journal.stat().st_size == size


def test_nothing_of_it_is_read_again(new_run: NewRun, monkeypatch: pytest.MonkeyPatch) -> None:
    run = new_run()
    best = train(run)
    monkeypatch.setattr(durable, "sha256_file", lambda path: pytest.fail(f"{path} was read"))
    log_run_artifacts(run, best)


def test_without_a_checkpoint_or_predictions(new_run: NewRun) -> None:
    assert log_run_artifacts(new_run(), None) == []


def test_a_run_of_any_name(new_run: NewRun) -> None:
    run = new_run("files", name="a:b " + "é" * 120)
    (model, *_) = log_run_artifacts(run, train(run))
    assert Artifacts(run.yard).find(f"{model.name}:best").number == 0


# -- cleaning does not break them


def all_whole(yard: Yard) -> bool:
    findings = list(verify_yard(yard, Tally()))
    assert findings == []
    return True


def test_what_is_cleaned_away_stays_in_its_artifact(new_run: NewRun, layout_name: str, tmp_path: Path) -> None:
    run = new_run(layout_name)
    (model, *_) = log_run_artifacts(run, train(run))
    run.finish()
    yard, reader = run.yard, RunReader(run.yard, run.home)
    store = Artifacts(yard)
    before = {path: store.path(model, path).read_bytes() for path in model.files}
    plan = clean_checkpoints(yard, [reader], KeepPolicy(last=0), named=[10, 20])
    assert plan.items
    carry_out(yard, plan)
    carry_out(yard, remove_cache(yard))
    empty_trash(yard)
    decisions = by_choice([run_facts(RunReader(yard, run.home))], {run.id}, "x")
    carry_out(yard, remove_runs(yard, decisions, [RunReader(yard, run.home)]))
    empty_trash(yard)
    assert not run.home.exists()
    assert all_whole(yard)
    found = store.find(model.reference)
    assert {path: store.path(found, path).read_bytes() for path in found.files} == before


def test_verify_reads_every_byte_of_every_version(new_run: NewRun, tmp_path: Path) -> None:
    run = new_run()
    (model, *others) = log_run_artifacts(run, train(run))
    run.finish()
    tally = Tally()
    assert list(verify_yard(run.yard, tally)) == []
    assert tally.artifacts == 3
    store = Artifacts(run.yard)
    stored = store.path(model, "config.json")
    stored.unlink()
    stored.write_text("config.json 21")
    (store.path(others[0]).parent / "manifest.json").write_text("{")
    lines = store.series(others[1]).folder / "lineage.jsonl"
    lines.write_text("torn\n" + lines.read_text())
    found = {finding.home: finding.what for finding in verify_yard(run.yard, Tally()) if not finding.harmless}
    assert found.keys() == {model.reference, others[0].reference, f"demo/{others[1].name}"}
    assert str(stored) in found[model.reference]


def test_a_copied_yard(new_run: NewRun, tmp_path: Path) -> None:
    run = new_run()
    (model, *_) = log_run_artifacts(run, train(run))
    run.finish()
    shutil.copytree(run.yard.root, tmp_path / "copied")
    shutil.rmtree(run.yard.root)
    yard = Yard(tmp_path / "copied")
    assert empty_trash(yard) >= 0  # the copied objects are nobody's
    assert all_whole(yard)
    assert Artifacts(yard).find("model-mlp:best").files == model.files


# -- removing


def two(yard: Yard, folder: Path) -> tuple[Artifacts, Version, Version]:
    store = Artifacts(yard)
    first = store.log("data", write(folder / "a.bin", "a" * 50_000), project="demo")
    second = store.log("data", write(folder / "a.bin", "b" * 50_000), project="demo")
    return store, first, second


def test_removed_and_brought_back(yard: Yard, tmp_path: Path) -> None:
    store, first, second = two(yard, tmp_path)
    (tmp_path / "a.bin").unlink()
    plan = plan_removal(yard, ["data:v1"])
    assert [item.what for item in plan.items] == ["artifact demo/data:v1"]
    assert store.find("data").number == 1, "a plan changes nothing"
    assert remove(yard, ["data:v1"]) is not None
    assert [v.reference for v in store.versions() if isinstance(v, Version)] == [first.reference]
    assert store.find("data").number == 0, "latest is the newest that is there"
    third = store.log("data", write(tmp_path / "c.bin", "c"), project="demo")
    assert third.number == 2, "a number is never given again"
    assert undo(yard).problems == ()
    assert store.find("demo/data:v1").files == second.files
    assert store.find("data").number == 2
    assert all_whole(yard)


def test_the_bytes_come_free(yard: Yard, tmp_path: Path) -> None:
    def used() -> int:
        inodes = {s.st_ino: s.st_blocks * 512 for p in tmp_path.rglob("*") if (s := p.lstat())}
        return sum(inodes.values())

    two(yard, tmp_path)
    (tmp_path / "a.bin").unlink()
    promised = plan_removal(yard, ["data:v0", "data:v1"]).bytes_freed  # makes the index, too
    before = used()
    remove(yard, ["data:v0", "data:v1"])
    empty_trash(yard)
    assert promised >= 100_000
    assert abs(before - used() - promised) < 20_000
    assert Artifacts(yard).log("data", write(tmp_path / "d.bin", "d"), project="demo").number == 2


def test_a_version_in_use_stays_unless_forced(yard: Yard, new_run: NewRun, tmp_path: Path) -> None:
    store, _, _ = two(yard, tmp_path)
    user = new_run(name="user")
    store.use("data:v0", user)
    store.alias(store.find("data:v1"), add=["paper"])
    for reference, said in [("data:v0", f"demo/digits/user ({user.id}) used it"), ("data:v1", "its alias is paper")]:
        for act in (plan_removal, remove):
            with pytest.raises(UserError) as caught:
                act(yard, [reference])
            assert said in caught.value.what
            assert "--force" in caught.value.remedy
    assert all_whole(yard)
    remove(yard, ["data:paper"], force=True)
    with pytest.raises(UserError):
        store.find("data:paper")
    undo(yard)
    assert store.find("data:paper").number == 1, "an alias comes back with its version"
    user.finish()
    reader = RunReader(yard, user.home)
    carry_out(yard, remove_runs(yard, by_choice([run_facts(reader)], {user.id}, "x"), [reader]))
    remove(yard, ["data:v0"])
    assert [v.number for v in store.versions() if isinstance(v, Version)] == [1]


@pytest.mark.parametrize("reference", ["data", "demo/data", "data:v7", "dta:v0", "data:nope"])
def test_what_cannot_be_removed(yard: Yard, tmp_path: Path, reference: str) -> None:
    two(yard, tmp_path)
    for act in (plan_removal, remove):
        with pytest.raises(UserError):
            act(yard, [reference])
    assert not yard.trash.exists() or not list(yard.trash.iterdir())


def test_a_number_is_kept_although_the_logging_process_was_killed_before_it_said_so(yard: Yard, tmp_path: Path) -> None:
    store, _, second = two(yard, tmp_path)
    durable.write_json(store.series(second).folder / "aliases.json", {"numbered": 0, "aliases": {"latest": 0}})
    assert store.find("data").number == 1
    remove(yard, ["data:v1"])
    empty_trash(yard)
    assert store.log("data", write(tmp_path / "c.bin", "c"), project="demo").number == 2


def test_emptying_the_trash_at_the_same_moment(yard: Yard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An object that nobody links yet may go between the look and the link: it is put there again."""
    store = Artifacts(yard)
    version = store.log("one", write(tmp_path / "a.bin", "a"))
    blob = yard.objects.path(version.files["a.bin"].sha256)
    real, calls = type(yard.objects).link, []

    def link(self: Any, digest: str, target: Path) -> None:
        if not calls:
            blob.unlink()
        calls.append(digest)
        real(self, digest, target)

    monkeypatch.setattr(type(yard.objects), "link", link)
    other = store.log("two", tmp_path / "a.bin")
    assert len(calls) == 2
    assert store.faults(other) == []
    assert os.path.samefile(blob, store.path(other, "a.bin"))


def test_a_version_that_goes_while_it_is_fetched_is_no_half_download(yard: Yard, tmp_path: Path) -> None:
    two(yard, tmp_path)
    files = trainyard.open(yard.root).artifact("data:v0").files()
    remove(yard, ["data:v0"])
    for file in files:
        with pytest.raises(UserError):
            file.download(tmp_path / "out")
    assert list((tmp_path / "out").rglob("*")) == []
