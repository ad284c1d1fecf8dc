"""What a run left, as the API lists and downloads it: against the bytes on the disk and their SHA-256."""

from __future__ import annotations

import hashlib
import inspect
import json
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import faults
import numpy as np
import pytest

import trainyard
from trainyard.api import Api, Run
from trainyard.errors import (
    BadNameError,
    CheckpointError,
    CorruptError,
    NameTakenError,
    UnknownCheckpointError,
    UserError,
    YardError,
)
from trainyard.layouts import LAYOUTS
from trainyard.runs import Yard, amend, find_homes
from trainyard.runs.events import Dropped, RecordRemoved

Connect = Callable[[Path], Api]
Parts = Callable[[bytes], Any]


def small_run(yard: Path, parts: Parts, layout: str = "files", **arguments: Any) -> str:
    """A run with two checkpoints, predictions, a file of the user's and a directory; its id."""
    with trainyard.start_run("GoEmotions", model="distilbert", yard=yard, layout=layout, **arguments) as run:
        for step in (1, 2):
            run.log({"loss": 1 / step}, step=step)
            given = parts(b"%d" % step)
            if layout not in ("files", "grouped"):
                given = {"step": step}
            run.save_checkpoint(given, step=step, epoch=step, metrics={"val_f1": step / 10}, best=step == 1)
        probabilities = np.array([[0.9, 0.1], [0.2, 0.8]])
        run.save_predictions(["a", "b"], [0, 1], probabilities, ["x", "y"])
        run.save_file(b"anything", "notes/about.txt")
    return run.id


def unrecorded(path: Path) -> bool:
    return bool({".run", ".yard"} & set(path.parts))


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def yard(tmp_path_factory: pytest.TempPathFactory, checkpoint_parts: Parts) -> Path:
    """A yard with one run in the layout `files`."""
    root = tmp_path_factory.mktemp("files") / "yard"
    small_run(root, checkpoint_parts)
    return root


@pytest.fixture
def run(yard: Path, connect: Connect) -> Run:
    return connect(yard).run("last")


# -- what there is


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_file_of_a_run_is_there_once_and_downloads_to_its_bytes(
    tmp_path: Path, connect: Connect, checkpoint_parts: Parts, layout: str
) -> None:
    small_run(tmp_path / "yard", checkpoint_parts, layout)
    run = connect(tmp_path / "yard").run("last")
    (home,) = find_homes(Yard(tmp_path / "yard"))
    on_disk = {path for path in (tmp_path / "yard").rglob("*") if path.is_file() and not unrecorded(path)}
    files = run.files()
    assert [file.name for file in files] == sorted({file.name for file in files})
    assert all(file.digest for file in files)
    found = set()
    for file in files:
        (source,) = [
            base / file.name for base in (home / "files", home, tmp_path / "yard") if (base / file.name).is_file()
        ]
        assert (file.size, file.digest) == (source.stat().st_size, sha256(source))
        assert file.read() == source.read_bytes()
        target = file.download(root=tmp_path / "out")
        assert target == tmp_path / "out" / file.name
        assert target.read_bytes() == source.read_bytes()
        found.add(source)
    assert found == on_disk
    assert {path for path in (tmp_path / "out").rglob("*") if path.is_file()} == {
        tmp_path / "out" / file.name for file in files
    }


def test_the_loop_of_the_documentation(
    yard: Path, connect: Connect, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (path,) = yard.glob("GoEmotions/*/files/checkpoint/distilbert-*/pytorch_model.bin")
    wandb: Any = trainyard
    monkeypatch.setattr(trainyard, "Api", lambda: connect(yard), raising=False)

    api = wandb.Api()
    run = api.run(f"username/GoEmotions/{path.parents[3].name[-8:]}")
    for file in run.files():
        if "distilbert" in file.name and "pytorch_model.bin" in file.name:
            file.download(root="./checkpoint")

    (written,) = [path for path in Path("checkpoint").rglob("*") if path.is_file()]
    assert written == Path("checkpoint/checkpoint", path.parent.name, "pytorch_model.bin")
    assert written.read_bytes() == path.read_bytes()


def test_names_and_kinds_of_the_files_layout(run: Run) -> None:
    kinds = {file.name: file.kind for file in run.files()}
    folder = next(name for name in kinds if name.startswith("checkpoint/distilbert-")).rpartition("/")[0]
    stamp = folder.rpartition("distilbert-")[2]
    assert kinds == {
        f"{folder}/pytorch_model.bin": "best",
        f"{folder}/config.json": "best",
        f"{folder}/metrics.json": "best",
        **{
            f"checkpoints/step-{step}/{name}": "checkpoint"
            for step in (1, 2)
            for name in ("pytorch_model.bin", "config.json", "metrics.json", "optimizer.pt", "manifest.json")
        },
        f"predictions/test_predictions_distilbert_{stamp}.csv": "final_predictions",
        f"stats/per_class_metrics_distilbert_{stamp}.csv": "per_class",
        "config.yaml": "wandb_config",
        "requirements.txt": "requirements",
        "wandb-metadata.json": "wandb_metadata",
        "extra/notes/about.txt": "extra",
    }
    assert {file.step for file in run.files(kinds="checkpoint")} == {1, 2}
    assert {file.step for file in run.files(kinds=["best"])} == {1}
    assert {file.step for file in run.files(kinds=["per_class", "extra"])} == {None}


def test_choosing_files(run: Run) -> None:
    assert [file.name for file in run.files(["config.yaml", "requirements.txt"])] == ["config.yaml", "requirements.txt"]
    assert [file.name for file in run.files("config.yaml")] == ["config.yaml"]
    assert [file.kind for file in run.files(pattern="*/test_*.csv")] == ["final_predictions"]
    assert run.files(kinds="no such kind") == []
    assert run.files([]) == []
    assert run.file("config.yaml").kind == "wandb_config"
    assert "config.yaml of run GoEmotions/" in repr(run.file("config.yaml"))


@pytest.mark.parametrize(
    ("asked", "near"), [("confg.yaml", "config.yaml"), ("about.txt", "extra/notes/about.txt"), ("%", "files()")]
)
def test_a_file_that_is_not_there_is_told_with_those_named_like_it(run: Run, asked: str, near: str) -> None:
    with pytest.raises(UserError) as caught:
        run.file(asked)
    assert caught.value.value == asked
    assert caught.value.place == f"run {run.path}"
    assert near in caught.value.remedy


def test_it_takes_what_wandb_takes(run: Run) -> None:
    """Scripts written for Weights & Biases give these arguments."""
    from wandb.apis import public

    for theirs, ours, unused in (
        (public.File.download, type(run.file("config.yaml")).download, {"api"}),
        (public.Run.files, Run.files, {"per_page"}),
    ):
        wanted = inspect.signature(theirs).parameters
        assert set(wanted) - unused <= set(inspect.signature(ours).parameters)
    assert inspect.signature(public.Api.run).parameters.keys() == inspect.signature(Api.run).parameters.keys()
    for name in (
        "id",
        "name",
        "state",
        "config",
        "summary",
        "tags",
        "path",
        "file",
        "history",
        "scan_history",
        "logged_artifacts",
        "used_artifacts",
        "use_artifact",
    ):
        assert hasattr(run, name)
        assert name in ("config", "tags", "id", "state", "summary", "name", "path") or hasattr(public.Run, name)


# -- what grows and what goes


def test_files_that_still_change_have_no_digest_and_come_as_they_are(tmp_path: Path, connect: Connect) -> None:
    yard = tmp_path / "yard"
    with trainyard.start_run("p", name="x", yard=yard) as run:
        log, table = run.home / "train.log", yard / "p/metrics.csv"
        for path, kind in ((log, "log"), (table, "metrics_table")):
            path.write_text("one\n")
            run._writer.note_record(kind, path, digest=kind == "log")
    api = connect(yard).run("x")
    assert api.file("train.log").digest == sha256(log)
    assert api.file("p/metrics.csv").digest is None
    listed = api.file("p/metrics.csv")
    for path in (log, table):
        path.write_text("one\ntwo\n")
    grown = api.file("train.log")
    assert (grown.digest, grown.size) == (None, 8)
    assert grown.download(tmp_path).read_text() == "one\ntwo\n"
    assert grown.download(tmp_path).read_text() == "one\ntwo\n"
    assert listed.download(tmp_path).read_text() == "one\ntwo\n"
    log.write_text("another thing\n")
    with pytest.raises(NameTakenError):
        grown.download(tmp_path)
    assert grown.download(tmp_path, replace=True).read_text() == "another thing\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["p", "train.log", "yard"]


def test_a_directory_of_files_is_listed_file_by_file(tmp_path: Path, connect: Connect) -> None:
    with trainyard.start_run("p", name="x", yard=tmp_path / "yard", layout="files") as run:
        folder = run.home / "tensorboard"
        (folder / "a/b").mkdir(parents=True)
        (folder / "a/b/events.1").write_bytes(b"1")
        (folder / "events.2").write_bytes(b"22")
        (folder / ".tmp-0123abcd-1-0123abcd").write_bytes(b"half")
        run._writer.note_record("tensorboard", folder)
    found = connect(tmp_path / "yard").run("last").files(kinds="tensorboard")
    assert [(file.name, file.size, file.digest) for file in found] == [
        ("tensorboard/a/b/events.1", 1, None),
        ("tensorboard/events.2", 2, None),
    ]
    assert found[1].download(tmp_path).read_bytes() == b"22"


def test_a_home_copied_into_another_yard(tmp_path: Path, yard: Path, connect: Connect) -> None:
    (home,) = find_homes(Yard(yard))
    shutil.copytree(home, tmp_path / "elsewhere/deep/down")
    run = connect(tmp_path / "elsewhere").run("last")
    names = [file.name for file in run.files()]
    assert names == [file.name for file in connect(yard).run("last").files()]
    for file in run.files():
        assert file.digest == hashlib.sha256(file.read()).hexdigest()


def test_a_file_that_was_removed_since_it_was_listed(tmp_path: Path, connect: Connect, checkpoint_parts: Parts) -> None:
    small_run(tmp_path / "yard", checkpoint_parts)
    run = connect(tmp_path / "yard").run("last")
    file = run.file("extra/notes/about.txt")
    (home,) = find_homes(Yard(tmp_path / "yard"))
    with amend(Yard(tmp_path / "yard"), home) as writer:
        writer.event(RecordRemoved(writer.relative(home / "files/extra/notes/about.txt")))
    with pytest.raises(UserError) as caught:
        file.download(tmp_path / "out")
    assert caught.value.value == "extra/notes/about.txt"
    assert "trainyard undo" in caught.value.remedy
    assert not (tmp_path / "out").exists() or list((tmp_path / "out").rglob("*.txt")) == []


def damaged(path: Path, how: str) -> None:
    if how == "flipped":
        faults.flip_byte(path, 500)
    elif how == "cut":
        faults.truncate(path, -1)
    elif how == "longer":
        path.write_bytes(path.read_bytes() + b"x")
    else:
        path.unlink()


@pytest.mark.parametrize("how", ["flipped", "cut", "longer", "gone"])
def test_a_damaged_source_is_found_out(tmp_path: Path, connect: Connect, checkpoint_parts: Parts, how: str) -> None:
    small_run(tmp_path / "yard", checkpoint_parts)
    run = connect(tmp_path / "yard").run("last")
    (path,) = (tmp_path / "yard").rglob("step-2/pytorch_model.bin")
    damaged(path, how)
    file = run.file("checkpoints/step-2/pytorch_model.bin")
    for read in (
        lambda: file.download(tmp_path / "out"),
        file.read,
        lambda: run.checkpoints()[1].download(tmp_path / "whole"),
    ):
        with pytest.raises(CorruptError) as caught:
            read()
        assert caught.value.remedy
        if how == "gone":
            assert caught.value.place == str(path)
            continue
        assert caught.value.place == f"checkpoints/step-2/pytorch_model.bin of run {run.path}"
        size_or_digest = {"flipped": sha256(path), "cut": 999, "longer": 1001}[how]
        assert caught.value.value == size_or_digest
    left = [path for path in tmp_path.rglob("*") if path.is_file() and path.name == "pytorch_model.bin"]
    assert all(tmp_path / "yard" in path.parents for path in left)
    assert list(tmp_path.rglob(".part-*")) == []


# -- checkpoints


def test_checkpoints(run: Run, yard: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    first, second = run.checkpoints()
    assert [(c.step, c.epoch, c.metrics) for c in (first, second)] == [(1, 1, {"val_f1": 0.1}), (2, 2, {"val_f1": 0.2})]
    assert second.download() == Path("step-2")
    (source,) = yard.rglob("step-2")
    assert {path.name: sha256(path) for path in Path("step-2").iterdir()} == {
        path.name: sha256(path) for path in source.iterdir()
    }
    best = run.best_checkpoint()
    assert best is not None
    assert best.step == 1
    path = best.download("out/best")
    assert path == Path("out/best")
    assert {path.name for path in path.iterdir()} == {"pytorch_model.bin", "config.json", "metrics.json"}
    assert (path / "pytorch_model.bin").read_bytes() == b"1" * 1000
    assert best.download("out/best") == path
    assert "step 1" in repr(best)


def test_a_checkpoint_is_not_begun_where_another_is(run: Run, tmp_path: Path) -> None:
    first, second = run.checkpoints()
    first.download(tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(NameTakenError) as caught:
        second.download(tmp_path)
    assert Path(caught.value.place).parent == tmp_path
    assert "replace=True" in caught.value.remedy
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before
    second.download(tmp_path, replace=True)
    assert (tmp_path / "pytorch_model.bin").read_bytes() == b"2" * 1000


@pytest.mark.parametrize("layout", ["shared", "dated"])
def test_a_checkpoint_of_one_file(tmp_path: Path, connect: Connect, checkpoint_parts: Parts, layout: str) -> None:
    import torch

    small_run(tmp_path / "yard", checkpoint_parts, layout)
    run = connect(tmp_path / "yard").run("last")
    best = run.best_checkpoint()
    assert best is not None
    path = best.download(tmp_path / "out")
    assert path.parent == tmp_path / "out"
    assert torch.load(path, weights_only=True) == {"step": 1}
    assert run.thresholds() is None


def test_thresholds_in_a_checkpoint_of_one_file(tmp_path: Path, connect: Connect) -> None:
    import torch

    decision = {"mode": "global", "thresholds": {"joy": 0.25, "anger": 0.25}}
    with trainyard.start_run(yard=tmp_path / "yard", layout="dated") as writing:
        writing.save_checkpoint({"model": {"w": torch.ones(2)}, "decision": decision}, step=1, epoch=1, best=True)
    assert connect(tmp_path / "yard").run("last").thresholds() == {"joy": 0.25, "anger": 0.25}


def test_the_newest_checkpoint_is_the_best_when_nothing_was_monitored(tmp_path: Path, connect: Connect) -> None:
    with trainyard.start_run(yard=tmp_path / "yard") as writing:
        assert connect(tmp_path / "yard").run("last").best_checkpoint() is None
        assert connect(tmp_path / "yard").run("last").thresholds() is None
        for step in (1, 2):
            writing.save_checkpoint({"a.txt": lambda path: path.write_text("a")}, step=step)
    best = connect(tmp_path / "yard").run("last").best_checkpoint()
    assert best is not None
    assert best.step == 2


@pytest.fixture(params=LAYOUTS)
def tensors(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, dict[str, Any]]:
    """A yard with a run that saved two checkpoints of tensors, the first of them the best; and what it gave."""
    import torch

    given = {"model": {"w": torch.arange(400.0), "b": torch.ones(2, 3).t()}, "optimizer": {"step": 7, "of": [1, None]}}
    with trainyard.start_run(yard=tmp_path / "yard", layout=request.param) as run:
        for step in (1, 2):
            run.save_checkpoint(given, step=step, epoch=step, best=step == 1)
    return tmp_path / "yard", given


def test_loading_gives_what_was_saved(tensors: tuple[Path, dict[str, Any]], connect: Connect) -> None:
    import torch

    root, given = tensors
    run = connect(root).run("last")
    loaded = run.checkpoints()[1].load()
    best = run.best_checkpoint()
    assert best is not None
    for state in (loaded, best.load()):
        assert state["model"].keys() == given["model"].keys()
        assert all(torch.equal(state["model"][name], tensor) for name, tensor in given["model"].items())
    assert loaded["optimizer"] == given["optimizer"]


def test_the_best_checkpoint_is_verified(tensors: tuple[Path, dict[str, Any]], connect: Connect) -> None:
    """A byte of its weights is another one, under every name that they have."""
    root, _ = tensors
    run = connect(root).run("last")
    (weights,) = {
        path.resolve().stat().st_ino: path
        for checkpoint in trainyard.open(root).run("last").checkpoints()[:1]
        for path in [file.local_path for file in checkpoint.files()]
        if path.suffix in (".safetensors", ".bin", ".pth", ".pt") and path.stem != "optimizer"
    }.values()
    faults.flip_byte(weights, weights.stat().st_size // 2)
    with pytest.raises(CheckpointError):
        run.best_checkpoint()
    with pytest.raises(CorruptError):
        run.checkpoints()[0].load()
    assert run.checkpoints()[1].load()


def test_without_a_monitor_a_damaged_newest_is_passed_over(tmp_path: Path, connect: Connect) -> None:
    with trainyard.start_run(yard=tmp_path / "yard") as writing:
        for step in (1, 2):
            path = writing.save_checkpoint({"a.txt": lambda path: path.write_text("a" * 100)}, step=step)
    faults.flip_byte(path / "a.txt", 3)
    best = connect(tmp_path / "yard").run("last").best_checkpoint()
    assert best is not None
    assert best.step == 1


def test_paths_on_this_machine(yard: Path, connect_remote: Connect) -> None:
    run = trainyard.open(yard).run("last")
    best = run.best_checkpoint()
    assert best is not None
    assert {path.name for path in best.local_path.iterdir()} == {file.name.rpartition("/")[2] for file in best.files()}
    for file in run.files():
        assert sha256(file.local_path) == file.digest
        file.verify()
    remote = connect_remote(yard).run("last")
    for of in (remote.file("config.yaml"), remote.checkpoints()[0]):
        with pytest.raises(YardError) as caught:
            print(of.local_path)
        assert "download" in caught.value.remedy


def test_a_checkpoint_that_is_not_of_tensors(tmp_path: Path, connect: Connect) -> None:
    with trainyard.start_run(yard=tmp_path / "yard") as writing:
        writing.save_checkpoint({"optimizer.pt": lambda path: path.write_bytes(b"no tensors")}, step=1)
    with pytest.raises(CheckpointError) as caught:
        connect(tmp_path / "yard").run("last").checkpoints()[0].load()
    assert "optimizer.pt of run" in caught.value.place
    assert caught.value.remedy


def test_loading_without_torch_says_what_is_missing(yard: Path) -> None:
    code = f"""
    import sys
    sys.modules["torch"] = None
    import trainyard
    from trainyard.errors import ConfigError
    best = trainyard.open({str(yard)!r}).run("last").best_checkpoint()
    try:
        best.load()
    except ConfigError as error:
        print("trainyard[train]" in error.remedy)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True)
    assert done.stdout == "True\n"


def test_the_best_checkpoint_may_be_gone(tmp_path: Path, connect: Connect, checkpoint_parts: Parts) -> None:
    small_run(tmp_path / "yard", checkpoint_parts, "grouped")
    (home,) = find_homes(Yard(tmp_path / "yard"))
    with amend(Yard(tmp_path / "yard"), home) as writer:
        for place, path in dict(writer.snapshot.checkpoints[0].paths).items():
            writer.event(Dropped(1, place, path))
    with pytest.raises(UnknownCheckpointError):
        connect(tmp_path / "yard").run("last").best_checkpoint()


def test_thresholds_are_those_of_the_best_checkpoint(run: Run) -> None:
    assert run.thresholds() == {"joy": 0.25, "anger": 0.5}


@pytest.mark.parametrize(
    "metrics",
    [
        {},
        {"decision": None},
        {"decision": {"mode": "argmax", "thresholds": {}, "k": None}},
        {"decision": {"mode": "top_k", "thresholds": {}, "k": 2}},
    ],
)
def test_there_may_be_no_thresholds(tmp_path: Path, connect: Connect, metrics: Any) -> None:
    with trainyard.start_run(yard=tmp_path / "yard", layout="files") as writing:
        parts: Any = {"metrics.json": lambda path: path.write_text(json.dumps(metrics))}
        writing.save_checkpoint(parts, step=1, epoch=1, best=True)
    assert connect(tmp_path / "yard").run("last").thresholds() is None


# -- a source that means harm


@pytest.mark.parametrize(
    "name", ["../out.txt", "/etc/out.txt", "a/../../out.txt", "", ".", "a//b", "a/\0", "..", "a/."]
)
def test_names_that_would_leave_the_root_are_refused(run: Run, tmp_path: Path, name: str) -> None:
    file = run.file("config.yaml")
    file.name = name
    (tmp_path / "root").mkdir()
    with pytest.raises(BadNameError) as caught:
        file.download(tmp_path / "root", replace=True)
    assert (caught.value.value, caught.value.place) == (name, str(tmp_path / "root"))
    assert list(tmp_path.rglob("*")) == [tmp_path / "root"]


@pytest.mark.parametrize("key", ["run/../..", "run//", "run/", "", "other/x", "run/GoEmotions/../..", "run/nothing"])
def test_keys_that_name_no_run_are_refused(connect: Connect, yard: Path, key: str) -> None:
    for ask in (lambda transport: transport.files(key), lambda transport: list(transport.read(key, "config.yaml", 0))):
        with pytest.raises(UserError):
            ask(connect(yard)._transport)


@pytest.mark.parametrize("name", ["../.run/journal.jsonl", ".run/journal.jsonl", "/etc/passwd", "files/config.yaml"])
def test_only_what_was_recorded_can_be_read(connect: Connect, yard: Path, name: str) -> None:
    transport = connect(yard)._transport
    with pytest.raises(UserError) as caught:
        list(transport.read(transport.find_run("last")["key"], name, 0))
    assert caught.value.value == name
