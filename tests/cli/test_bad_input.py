"""Everything a user can get wrong: exit code 2, what, where and what to do, and nothing half-made left.

That no traceback is printed holds for all of `tests/cli`: `trainyard` lets nothing but `SystemExit` pass.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from command_line import SMALL, Kept, trainyard, tree
from PIL import Image

from trainyard.errors import UserError
from trainyard.layouts import load_layout
from trainyard.runs import Yard, create_run, resume_run

DRAW = np.random.default_rng(0)
REMEDY = "\n  → "


def refused(yard: Kept, *arguments: object, says: tuple[str, ...] = (), code: int = 2) -> str:
    """Runs the command, which must be refused with these words and leave the yard and its parent as they were."""
    before = tree(yard.root.parent) if yard.root.parent.exists() else {}
    outcome = yard(*arguments)
    assert outcome.code == code, outcome
    assert outcome.out == ""
    for words in says:
        assert words in outcome.err, outcome.err
    what, remedy, advice = outcome.err.partition(REMEDY)
    assert what.startswith("error: ")
    assert remedy, f"no remedy: {what}"
    assert len(advice.strip()) > 10
    after = tree(yard.root.parent) if yard.root.parent.exists() else {}
    assert after == before, "nothing may be left"
    return outcome.err


def an_npz(**changes: Any) -> str:
    """A sound .npz but for the changes; None leaves an array out."""
    arrays = {"images": DRAW.integers(0, 255, (60, 4, 4), dtype=np.uint8), "labels": np.arange(60) % 3, **changes}
    np.savez("data.npz", **{key: value for key, value in arrays.items() if value is not None})
    return "data.npz"


WORDS = np.array(["cat", "dog", "cta"] * 20)
TWO = {"images": DRAW.integers(0, 255, (2, 4, 4), dtype=np.uint8), "labels": np.arange(2)}


def a_folder(*classes: str, images: int = 12) -> Path:
    """A folder of images per class."""
    for name in classes:
        Path("pictures", name).mkdir(parents=True)
        for number in range(images):
            pixels = DRAW.integers(0, 255, (8, 8), dtype=np.uint8)
            Image.fromarray(pixels).save(f"pictures/{name}/{number}.png")
    return Path("pictures")


# -- the configuration


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (["training.epoch=3"], ("`training.epoch`", "mean `training.epochs`?", "command line: `training.epoch=3`")),
        (["trainig.epochs=3"], ("`trainig", "did you mean", "training")),
        (["modle=cnn"], ("`modle`", "did you mean `model`?")),
        (["model.hiden=[3]"], ("`model.hiden`", "`model.hidden`")),
        (["training.epochs=many"], ('`training.epochs` is "many"', "whole number", "line: `training.epochs=many`")),
        (["training.epochs=2.5"], ("2.5", "a whole number")),
        (["training.epochs=0"], ("`training.epochs` is 0", "1 or more")),
        (["training.learning_rate=-1"], ("`training.learning_rate` is -1", "above 0")),
        (["training.learning_rate=nan"], ("training.learning_rate", "a finite number")),
        (["run.tags=paper"], ('`run.tags` is "paper"', "a list of texts")),
        (["checkpoint.background=perhaps"], ('"perhaps"', "true or false")),
        (["model=cn"], ("`model` has no choice `cn`", "did you mean `cnn`?")),
        (["training/optimizer=adm"], ("`training/optimizer` has no choice `adm`", "`adam`")),
        (["training/optimiser=adam"], ("no group `training/optimiser`", "`training/optimizer`")),
        (["optimizer=adam"], ("`optimizer`", "training")),
        (["training.scheduler=cosine"], ('"cosine"', "training/scheduler=cosine")),
        (["layout=groupd"], ("'groupd'", "'grouped'", "dated, trials, files")),
        (["layout=missing.yaml"], ("'missing.yaml'", "No such file", ".yaml")),
        (["run.device=gpu"], ('`run.device` is "gpu"', "auto, cpu, cuda, cuda:N, mps")),
        (["run.device=cuda:99"], ("run.device=cuda:99", "auto")),
        (["training.monitor=val_acc"], ("training.monitor=val_acc ", "not measured", "mean 'val_accuracy'?")),
        (["training.monitor=test_loss"], ("training.monitor=test_loss", "not measured", "val_loss")),
        (["training.monitor=train_grad_norm"], ("not measured",)),
        (["training.class_weights=[1,2]"], ("2 numbers", "10 classes", "0, 1, 2, 3")),
        (["data.split.val_fraction=0.6", "data.split.test_fraction=0.6"], ("0.6", "1.2", "nothing to train on")),
        (["data.split.val_fraction=1.5"], ("`data.split.val_fraction` is 1.5", "below 1")),
        (["data.split.val_fraction=0"], ("`data.split.val_fraction` is 0", "training.monitor=train_loss")),
        (["run.train=false"], ("`run.train` is false", "run.checkpoint_path=")),
        (["run.seed=-1"], ("`run.seed` is -1", "from 0")),
        (["training.epochs=1,2,3"], ("`training.epochs` is 1,2,3", "sweep")),
        (["training.epochs"], ("training.epochs",)),
        (["~training.nope"], ("`training.nope`", "`~training.mode`")),
        (["training.optimizer.lr=1"], ("`training.learning_rate`",)),
        (["training.optimizer.foo=1"], ("`training.optimizer`", "no argument `foo` (given 1)", "weight_decay")),
        (["data=csv"], ("`data.path` is required by data=csv",)),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, list) else "",
)
def test_values(empty, changes, says):
    others = [change for change in SMALL if change.partition("=")[0] != changes[0].partition("=")[0]]
    refused(empty, "train", *others, *changes, says=says)


def test_all_faults_at_once_with_their_lines(empty):
    Path("mine.yaml").write_text("training:\n  epoch: 1\n  epochs: x\nmodle: cnn\n")
    said = refused(empty, "train", "mine.yaml", "run.seed=x", says=("4 problems",))
    for line in (2, 3, 4):
        assert f"(mine.yaml, line {line})" in said
    assert "command line: `run.seed=x`" in said


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("training:\n  epochs: [1\n", ("not valid YAML", "broken.yaml, line 3")),
        ("training: {epochs: 1}\ntraining: {epochs: 2}\n", ("`training`", "line 2")),
        ("- 1\n- 2\n", ("broken.yaml",)),
        ("run: {name: !!python/name:os.system ''}\n", ("the tag", "os.system")),
        ("defaults: [digits, {model: nope}]\n", ("`nope`", "broken.yaml, line 1")),
        ("defaults: [broken.yaml]\n", ("broken.yaml, line 1",)),
    ],
)
def test_files_of_configuration(empty, text, says):
    Path("broken.yaml").write_text(text)
    refused(empty, "train", "broken.yaml", says=says)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["dgits"], ('"dgits"', "did you mean `digits`?", "mnist_mlp")),
        (["none.yaml"], ('"none.yaml"', "No such file", "digits, emotions, mnist_mlp")),
        (["digits", "mnist_mlp"], ("digits, mnist_mlp", "KEY=VALUE")),
        (["digits", "--like", "last"], ("digits", "--like last", "not both")),
        (["--like", "nothing"], ("There is no yard",)),
        (["--epochs", "3"], ("'--epochs'", "trainyard train --help")),
    ],
)
def test_recipes(empty, words, says):
    refused(empty, "train", *words, says=says)


@pytest.mark.parametrize(
    ("target", "says"),
    [
        ("os.system", ("os.system", "training.optimizer", "torch.optim", "--trust")),
        ("builtins.eval", ("builtins.eval", "--trust")),
        ("torch.hub.load", ("torch.hub.load", "--trust")),
        ("torch.nn.modules.module.__builtins__", ("--trust",)),
        ("torch.optim.Adamm", ("`training.optimizer`", "torch.optim has no `Adamm`", "did you mean `torch.optim.Adam")),
        ("torch.nn.Linear", ("`training.optimizer`", "torch.nn.Linear", "Name an optimizer")),
        ("AdamW", ("dotted name", "torch.optim.AdamW")),
    ],
)
def test_targets(empty, target, says):
    refused(empty, "train", *SMALL, f"training.optimizer._target_={target}", says=says)


def test_a_target_that_would_run_code_does_not(empty):
    target = "training.scheduler={_target_: os.system, command: 'touch ran'}"
    refused(empty, "train", *SMALL, target, says=("os.system",))
    assert not Path("ran").exists()


@pytest.mark.parametrize(
    ("target", "says"),
    [
        ("scheduler._target_=torch.optim.lr_scheduler.StepLR", ("`training.scheduler`", "'step_size'", "gamma")),
        ("scheduler._target_=torch.nn.ReLU", ("training.scheduler=torch.nn.ReLU", "learning-rate scheduler")),
        ("criterion._target_=torch.nn.NLLLoss", ("log-probabilities", "CrossEntropyLoss")),
    ],
)
def test_targets_that_do_not_fit(empty, target, says):
    refused(empty, "train", *SMALL, f"training.{target}", says=says)


# -- names


@pytest.mark.parametrize("key", ["run.name", "run.project", "data.dataset"])
@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("../x", ("'../x'", "contains '/'")),
        ("..", ("'..'", "another directory")),
        ("a/b", ("'a/b'",)),
        ("a\nb", (r"'a\nb'", "control character")),
        ("x" * 300, ("300 characters", "300 bytes", "255", "shorter")),
        ("ü" * 200, ("200 characters", "400 bytes")),
        (".run", ("'.run'", "reserved")),
    ],
    ids=["up", "dots", "slash", "newline", "300", "bytes", "own"],
)
def test_names_that_cannot_be(empty, key, name, says):
    said = refused(empty, "train", *SMALL, f"{key}='{name}'", says=says)
    assert {"run.name": "run name", "run.project": "project name", "data.dataset": "dataset name"}[key] in said
    assert "x" * 100 not in said


def test_an_empty_name(empty):
    refused(empty, "train", *SMALL, "run.name=''", says=("The run name ''", "is empty"))
    refused(empty, "train", *SMALL, "run.project=''", says=("`run.project`",))


@pytest.mark.parametrize("layout", ["grouped", "shared", "dated", "trials", "files"])
def test_a_name_is_refused_in_every_layout(empty, layout):
    refused(empty, "train", *SMALL, "run.name=../x", f"layout={layout}", says=("'../x'",))


@pytest.mark.parametrize(
    "name", ['it\'s "quoted"', "a b", "naïve-日本", "-rf", "$(id)", "[bold]x", "a=b", "%s", "x" * 200]
)
def test_names_that_are_ugly_but_can_be(empty, name):
    literal = json.dumps(name, ensure_ascii=False)
    outcome = empty("train", *SMALL, f"run.name={literal}")
    assert outcome.code == 0, outcome.err
    assert f"/{name}/" in outcome.out
    assert [row["name"] for row in empty("runs", "--json").json] == [name]
    assert name in empty("show", "last").out
    assert empty("verify").code == 0


def test_a_name_that_is_taken(yard):
    said = refused(yard, "train", *SMALL, "run.project=p", "run.name=done", says=("'done' is taken", "run.name"))
    assert "`trainyard resume done`" in said


def test_a_name_inside_another_run(yard):
    layout = Path("mine.yaml")
    layout.write_text(
        "claim: run\ncheckpoint_format: pth\nkinds:\n"
        "  home: '{project}/digits/done/{run}/'\n  checkpoint: '{home}{step}.pth'\n"
    )
    refused(yard, "train", *SMALL, "run.project=p", f"layout={layout}", says=("inside the run at p/digits/done",))


# -- layouts


def test_a_layout_with_faults_is_told_all_of_them(empty):
    Path("mine.yaml").write_text(
        "claim: runn\ncheckpoint_format: hf\nkinds:\n  home: '{run}/'\n  config: '/etc/x'\n  cofnig: a\n"
        "  checkpoint: '{home}c-{stp}/'\n"
    )
    said = refused(empty, "train", *SMALL, "layout=mine.yaml", says=("'mine.yaml' has 4 faults",))
    for words in ("'runn'", "'run'", "absolute path", "'cofnig'", "{stp}", "'step'"):
        assert words in said or words.strip("'") in said


def test_a_layout_that_is_no_yaml(empty):
    Path("mine.yaml").write_text("kinds: {home: {run}/\n")
    refused(empty, "train", *SMALL, "layout=mine.yaml", says=("mine.yaml", "not valid YAML"))


# -- data


@pytest.mark.parametrize("source", ["npz", "csv", "image_folder"])
def test_data_that_is_not_there(empty, source):
    refused(empty, "train", *SMALL, f"data={source}", "data.path=no/such.thing", says=("no/such.thing", "data.path"))


def test_data_of_another_kind(empty):
    Path("a.txt").write_text("hello")
    refused(empty, "train", *SMALL, "data=npz", "data.path=a.txt", says=("a.txt", ".npz"))
    refused(empty, "train", *SMALL, "data=npz", "data.path=.", says=(". is a folder",))
    refused(empty, "train", *SMALL, "data=csv", "data.path=.", says=(". is a folder",))
    refused(empty, "train", *SMALL, "data=image_folder", "data.path=a.txt", says=("a.txt is a file",))


@pytest.mark.parametrize(
    ("changes", "says", "more"),
    [
        ({"labels": np.zeros(60, int)}, ("one class (0)", "second class"), []),
        ({}, ("class d", "data.classes"), ["data.classes=[a,b,c,d]"]),
        ({}, ("labels[2] is 2", "classes a, b"), ["data.classes=[a,b]"]),
        ({"labels": WORDS}, ("labels[2] is 'cta'", "'cat'"), ["data.classes=[cat,dog]"]),
        ({"images": np.full((60, 4, 4), np.nan, np.float32)}, ("images[0]", "NaN"), []),
        ({"labels": np.arange(50) % 3}, ("60 items", "50 labels"), []),
        ({"labels": None}, ("labels for images",), []),
        ({"labels": np.full(60, {})}, ("Python objects", "dtype object"), []),
        ({"images": np.zeros((0, 4, 4), np.uint8), "labels": np.zeros(0, int)}, ("no items", "data.path"), []),
        (TWO, ("val split", "2 items", "data.split.val_fraction=0"), []),
        ({"images": DRAW.random((60, 9))}, ("cnn", "(channels, height, width)", "model=mlp"), ["model=cnn"]),
        ({}, ("no validation split", "train_loss"), ["data.split.val_fraction=0"]),
    ],
    ids=[
        "one-class",
        "empty-class",
        "label-outside",
        "label-typo",
        "nan",
        "lengths",
        "no-labels",
        "pickle",
        "none",
        "few",
        "flat",
        "no-val",
    ],
)
def test_arrays(empty, changes, says, more):
    small = SMALL[2:] if "model=cnn" in more else SMALL
    refused(empty, "train", *small, "data=npz", f"data.path={an_npz(**changes)}", *more, says=says)


def test_an_empty_class_folder(empty):
    (a_folder("a", "b") / "c").mkdir()
    refused(empty, "train", *SMALL, "data=image_folder", "data.path=pictures", says=("pictures/c", ".png"))


def test_one_class_folder(empty):
    a_folder("a")
    refused(empty, "train", *SMALL, "data=image_folder", "data.path=pictures", says=("one class (a)",))


def test_images_that_cannot_be_read(empty):
    folder = a_folder("a", "b")
    (folder / "a/text.png").write_text("no image")
    whole = (folder / "b/0.png").read_bytes()
    (folder / "b/0.png").write_bytes(whole[: len(whole) // 2])
    said = refused(
        empty, "train", *SMALL, "data=image_folder", "data.path=pictures", says=("2 images", "data.on_bad_file=skip")
    )
    assert "a/text.png" in said
    assert "b/0.png" in said


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("path,label\na/0.png,a\na/none.png,b\nb/1.png,b\n", ("row 3", "a/none.png", "No such file")),
        ("path,label\na/0.png,a\na/1.png,x\nb/1.png,b\n", ("row 3", "'x'", "classes a, b", "data.classes")),
        ("path,label\na/0.png,a\na/1.png\n", ("row 3", "1 cells", "2")),
        ("path,label\na/0.png,\n", ("row 2", "column label")),
        ("path,lable\na/0.png,a\n", ("'label'", "'lable'")),
        ("path,label\n", ("no rows",)),
        ("", ("no header",)),
        ('path,label\n"a/0.png,a\n', ("CSV", "line 2", "quotes")),
    ],
)
def test_tables(empty, text, says):
    (a_folder("a", "b") / "t.csv").write_text(text)
    refused(
        empty,
        "train",
        *SMALL,
        "data=csv",
        "data.path=pictures/t.csv",
        "data.classes=[a,b]",
        says=("pictures/t.csv", *says),
    )


def test_a_leak_when_leaks_are_errors(empty):
    same = DRAW.integers(0, 255, (60, 4, 4), dtype=np.uint8)
    arrays = {
        f"{split}_{what}": value
        for split in ("train", "test")
        for what, value in (("images", same), ("labels", np.arange(60) % 3))
    }
    np.savez("leaky.npz", **arrays)
    refused(
        empty,
        "train",
        *SMALL,
        "data=npz",
        "data.path=leaky.npz",
        "data.split.on_leak=error",
        says=("leaky.npz", "60 items of val or test", "train_images[0]", "data.split.on_leak"),
    )


# -- a loss that diverges


def test_nan_stops_with_the_step_and_the_items_and_the_run_is_kept_as_failed(empty, diverging):
    outcome = empty(
        "train",
        "data=npz",
        f"data.path={diverging}",
        *SMALL,
        "model.hidden=[256]",
        "training.batch_size=4",
        "run.name=nan",
        "training.log_every=1",
    )
    assert outcome.code == 2
    step, items = re.search(
        r"The loss became nan at step (\d+), on the batch of 4 items: (.*)\.\n", outcome.err
    ).groups()
    assert "train_images[7]" in items.split(", ")
    assert "training.learning_rate" in outcome.err
    run = empty.run("nan")
    assert run.snapshot.state == "failed"
    assert f"at step {step}" in run.snapshot.error
    rows = run.history()
    assert [row["step"] for row in rows] == list(range(1, int(step))), "every step before it is there"
    assert all(np.isfinite(row["step_loss"]) for row in rows)
    assert empty("verify").code == 0
    assert "ERROR" in (run.home / "train.log").read_text()


# -- yards


@pytest.mark.parametrize(
    "command", ["train", "runs", "show last", "verify", "clean", "undo", "reindex", "resume last", "predict last x"]
)
def test_a_yard_that_is_a_file(tmp_path, command):
    (tmp_path / "file").write_text("mine")
    outcome = trainyard(*command.split(), "--yard", tmp_path / "file")
    assert outcome.code == 2
    assert f"{tmp_path / 'file'} is not a directory" in outcome.err
    assert "--yard DIR" in outcome.err
    assert (tmp_path / "file").read_text() == "mine"


def test_a_yard_below_a_file(tmp_path):
    (tmp_path / "file").write_text("mine")
    yard = Kept(tmp_path / "file" / "yard")
    refused(yard, "train", *SMALL, says=(f"{tmp_path / 'file' / 'yard'} cannot be written", "--yard DIR"))


@contextlib.contextmanager
def nobody() -> Iterator[None]:
    """As a user who may write nothing; root may write everywhere."""
    if os.getuid() != 0:
        yield
        return
    os.setresuid(65534, 65534, 0)
    try:
        yield
    finally:
        os.setresuid(0, 0, 0)


@pytest.fixture
def locked() -> Iterator[Path]:
    """A folder that `nobody` may read and not write."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o555)
    yield folder
    folder.chmod(0o755)
    shutil.rmtree(folder)


def test_a_yard_that_cannot_be_made(locked):
    with nobody():
        outcome = trainyard("train", *SMALL, "--yard", locked / "yard")
    assert outcome.code == 2
    assert f"{locked / 'yard'} cannot be written: permission denied" in outcome.err
    assert "--yard DIR" in outcome.err
    assert list(locked.iterdir()) == []


def test_a_yard_that_cannot_be_written(kept, locked):
    locked.chmod(0o755)
    shutil.copytree(kept.root, locked / "yard")
    for path in [*locked.rglob("*"), locked]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    yard = Kept(locked / "yard")
    try:
        before = tree(yard.root)
        with nobody():
            trained = yard("train", *SMALL, "run.project=new")
            resumed = yard("resume", "killed")
            cleaned = yard("clean", "--yes")
            shown = yard("show", "done")
            listed = yard("runs", "--json")
            predicted = yard("evaluate", "done", "--json")
            verified = yard("verify")
        assert (trained.code, resumed.code, cleaned.code) == (2, 2, 2)
        for outcome in (trained, resumed, cleaned):
            assert "cannot be written: permission denied" in outcome.err
            assert REMEDY in outcome.err
        assert (shown.code, predicted.code, verified.code, len(listed.json)) == (0, 0, 0, 4)
        assert tree(yard.root) == before
    finally:
        for path in [locked, *locked.rglob("*")]:
            path.chmod(0o755)


# -- runs that are meant


@pytest.mark.parametrize("command", ["show", "resume", "evaluate", "verify", "train --like"])
def test_a_run_that_is_not_there(yard, command):
    refused(yard, *command.split(), "dnoe", says=("'dnoe'", str(yard.root), "Did you mean 'done'", "`trainyard runs`"))
    refused(yard, *command.split(), "", says=("''", "Give an id"))


def test_a_reference_that_may_be_several(yard):
    for project in ("one", "two"):
        create_run(
            Yard(yard.root), load_layout("grouped"), project=project, dataset="d", model="mlp", name="twin"
        ).finish()
    said = refused(yard, "show", "twin", says=("2 runs", "one/d/twin", "two/d/twin", "Give the id"))
    ids = re.findall(r"^ +([a-z0-9]{8})  ", said, re.MULTILINE)
    assert [yard("show", id_, "--json").json["id"] for id_ in ids] == ids


def test_a_run_of_another_yard(yard, kept):
    refused(yard, "show", kept.root / "p/digits/done", says=("not in the yard", "--yard"))


def test_resuming_what_is_finished(yard):
    id_ = yard.run("done").snapshot.id
    refused(yard, "resume", "done", says=("done is finished", f"`trainyard train --like {id_}`"))


def test_resuming_what_is_running(yard):
    home = yard.run("killed").home
    with contextlib.closing(resume_run(Yard(yard.root), home)) as run:
        try:
            refused(yard, "resume", "killed", says=(str(home), f"process {os.getpid()}", "Wait for"))
        finally:
            run.close = run.abandon


def test_resuming_a_loop_of_the_users_own(yard):
    create_run(Yard(yard.root), load_layout("grouped"), project="p", dataset="d", model="m", name="own").finish(
        "failed"
    )
    refused(yard, "resume", "own", says=("own", "trainyard.start_run(resume"))


def test_resuming_on_data_that_changed(empty):
    assert (
        empty("train", *SMALL, "data=npz", f"data.path={Path(an_npz()).absolute()}", "run.name=a", "--quiet").code == 0
    )
    run = resume_run(Yard(empty.root), empty.run("a").home)
    run.begin_attempt(None)
    run.finish("stopped")
    other = np.load("data.npz")["images"].copy()
    other[3, 0, 0] ^= 1
    an_npz(images=other)
    for command in ("resume", "evaluate"):
        refused(empty, command, "a", says=("The data of run a ", "content of the items", "train --like"))
    an_npz(images=other, labels=np.arange(60) % 4)
    refused(empty, "resume", "a", says=("The classes are now with 3 added",))
    Path("data.npz").unlink()
    refused(empty, "resume", "a", says=("data.npz", "data.path"))


# -- checkpoints


@pytest.mark.parametrize("command", ["evaluate", "predict"])
@pytest.mark.parametrize(("which", "says"), [("99", ("step 99", "20, 40, 60")), ("bset", ("'bset'", "best, last"))])
def test_a_checkpoint_that_is_not_there(yard, command, which, says, images):
    more = [images] if command == "predict" else []
    refused(yard, command, "done", *more, "--checkpoint", which, says=says)


def test_a_run_without_checkpoints(yard, images):
    refused(yard, "evaluate", "nan", says=("nan has no checkpoint", "`trainyard resume"))
    refused(yard, "predict", "nan", images, says=("nan has no checkpoint",))


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda path: None, ("run.checkpoint_path=start.pth", "`trainyard show RUN`")),
        (lambda path: path.write_text("hello"), ("start.pth", "not a file of tensors")),
        (lambda path: torch.save({"a": torch.zeros(1)}, path), ("start.pth", "no entry 'model'")),
        (lambda path: torch.save(torch.nn.Linear(1, 1), path), ("start.pth", "not a file of tensors")),
        (lambda path: path.mkdir(), ("start.pth", "no model weights")),
        (
            lambda path: torch.save({"model": {"hidden.0.weight": torch.zeros(3, 3)}}, path),
            ("hidden.0.weight", "(3, 3)"),
        ),
    ],
    ids=["missing", "text", "other", "pickle", "folder", "shape"],
)
def test_a_checkpoint_path_that_is_no_checkpoint(empty, make, says):
    make(Path("start.pth"))
    said = refused(empty, "train", *SMALL, "run.checkpoint_path=start.pth", says=("run.checkpoint_path", *says))
    assert "weights_only" not in said, "torch's advice is how to run the file's code"


# -- predicting


def test_items_of_another_shape(yard):
    refused(yard, "predict", "done", an_npz(), says=("data.npz", "(1, 4, 4)", "(1, 8, 8)"))


def test_nothing_to_predict(yard, tmp_path):
    refused(yard, "predict", "done", "none.png", says=("none.png",))
    Path("bare").mkdir()
    refused(yard, "predict", "done", "bare", says=("bare",))
    Path("bad.png").write_text("x")
    refused(yard, "predict", "done", "bad.png", says=("bad.png", "not an image"))


def test_images_for_a_model_of_vectors(empty, images):
    path = an_npz(images=DRAW.random((60, 9), dtype=np.float32))
    assert empty("train", *SMALL, "data=npz", f"data.path={path}", "run.name=flat", "--quiet").code == 0
    refused(empty, "predict", "flat", images, says=("(9,)", ".npz"))


@pytest.mark.parametrize("command", ["evaluate done", "predict done data.npz"])
@pytest.mark.parametrize(
    ("option", "says"),
    [
        (["--device", "gpu"], ("'gpu'", "cuda:N")),
        (["--device", "cuda:99"], ("cuda:99",)),
        (["--out", "no/such/p.csv"], ("--out", "'no/such'")),
        (["--out", "."], ("--out",)),
        (["--split", "tests"], ("--split",)),
    ],
)
def test_options(yard, command, option, says):
    np.savez("data.npz", images=np.zeros((2, 8, 8), np.uint8))
    refused(yard, *command.split(), *option, says=says)
    assert yard.run("done").snapshot.summary["times_tested"] == 1


# -- filters and cleaning


@pytest.mark.parametrize("command", ["runs", "clean --dry-run", "runs --json"])
@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("stat:failed", ("'stat'", "state")),
        ("state:fnished", ("'fnished'", "Did you mean 'finished'?")),
        ("seed>many", ("'many' is not a number", "seed>many\n")),
        ("created>soon", ("'soon' is not a date", "7d")),
        ('name:"open', ("quotation mark is not closed",)),
        ("sort:nothing", ("'nothing'",)),
        ("size>1XB", ("1XB",)),
        ("--stat", ("'--stat'",)),
    ],
)
def test_filters(yard, command, words, says):
    refused(yard, *command.split(), words, says=says)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("--runs", ("--runs", "FILTER", "id:*")),
        ("--older-than 7d", ("--older-than", "--runs")),
        ("--runs --older-than soon", ("--older-than", "'soon'", "7d")),
        ("--runs --state faild", ("'faild'", "'failed'")),
        ("--until-below big", ("--until-below", "'big'", "10GB")),
        ("--keep-last -1", ("--keep-last",)),
        ("--step 20", ("--step 20", "4", "`trainyard runs`")),
        ("name:done --step 7", ("step 7", "20, 40, 60")),
        ("--trash 1d name:done --yes", ("--trash",)),
        ("--trash", ("stdin", "--yes")),
    ],
)
def test_cleaning(yard, words, says):
    refused(yard, "clean", *words.split(), says=says)


def test_undoing(yard):
    refused(yard, "undo", says=("trash",))
    error = yard("undo").error
    assert isinstance(error, UserError)
    assert (error.value, error.place) == (None, str(yard.root / ".yard" / "trash"))
    yard("clean", "name:done", "--yes")
    entry = yard("undo", "--list").out.split()[0]
    refused(yard, "undo", "20", says=("20", entry))


@pytest.mark.parametrize(
    ("option", "value"), [("--limit", "-1"), ("--limit", "0"), ("--limit", "x"), ("--offset", "-3")]
)
def test_pages(yard, option, value):
    refused(yard, "runs", option, value, says=(option, value))


def test_comparing_one(yard):
    refused(yard, "compare", "done", says=("compare", "'done'"))
    refused(yard, "compare", "done", "nothing", says=("'nothing'",))
