"""`trainyard train`: a new run from a recipe, a file or another run."""

from __future__ import annotations

import csv
import json
import os
import subprocess

import pytest
import yaml
from command_line import PROGRAM, SMALL, Kept, left_behind, trainyard


def test_it_says_what_it_did_and_where_it_is_kept(empty):
    outcome = empty("train", *SMALL, "run.name=first")
    assert outcome.code == 0
    assert outcome.err == ""
    lines = outcome.out.splitlines()
    assert lines[0].startswith("epoch 1/1  step 20  train_loss ")
    assert [line.split()[0] for line in lines[-3:]] == ["val", "test", "kept"]
    home = empty.root / "digits/digits/first"
    assert lines[-1] == f"kept in {home}/"
    summary = json.loads((home / "summary.json").read_text())
    assert f"accuracy {summary['test_accuracy']:.4f}" in lines[-2]
    with (home / "predictions/test.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 359
    right = sum(row["label"] == row["pred_label"] for row in rows) if "label" in rows[0] else None
    assert right is None or right / len(rows) == pytest.approx(summary["test_accuracy"])


def test_the_metric_that_chose_the_best_epoch_can_be_asked_for(empty: Kept):
    assert empty("train", *SMALL, "run.name=by-loss").code == 0
    assert empty("train", *SMALL, "run.name=by-accuracy", "training.monitor=val_accuracy").code == 0

    def names(query: str) -> list[str]:
        return sorted(row["name"] for row in empty("runs", query, "--json").json)

    assert names("best.metric:val_loss") == ["by-loss"]
    assert names("best.metric:val_accuracy") == ["by-accuracy"]
    assert names("best.metric:val_accuracy best.value>0") == ["by-accuracy"]
    for name, metric in (("by-loss", "val_loss"), ("by-accuracy", "val_accuracy")):
        run = empty.run(name).snapshot
        assert run.best is not None
        assert (run.best.metric, run.best.value) == (metric, run.metrics[metric])


@pytest.mark.parametrize("layout", ["grouped", "dated"])
def test_all_that_is_told_of_a_run_is_in_its_log(yard: Kept, layout: str):
    checkpoint = f"run.checkpoint_path={yard.root}/p/digits/done/checkpoint-60"
    changes = {
        "trained": ("data.split.val_fraction=0.001",),  # which is warned of
        "tested": ("run.train=false", checkpoint),
        "silent": ("run.train=false", checkpoint, "--quiet"),
    }
    for name, more in changes.items():
        outcome = yard("train", *SMALL, f"layout={layout}", f"run.name={name}", *more)
        assert outcome.code == 0, outcome
        run = yard.run(name)
        (log,) = (run.resolve(record.path) for record in run.snapshot.records if record.kind == "log")
        logged = log.read_text()
        told = outcome.out.splitlines()
        assert [line for line in told if line.removeprefix("warning: ") not in logged] == []
        assert any(line.startswith("warning: ") for line in told) == (name == "trained")
        assert f"accuracy {run.snapshot.summary['test_accuracy']:.4f}" in logged


@pytest.mark.parametrize("words", [("train", *SMALL, "training.epochs=3", "run.name=killed"), ("resume", "killed")])
def test_a_training_goes_on_when_nobody_reads_what_it_prints(yard: Kept, empty: Kept, words: tuple[str, ...]):
    kept = empty if words[0] == "train" else yard
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(
            [*PROGRAM, *words, "--yard", str(kept.root)],
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stdout=writing,
            stderr=subprocess.PIPE,
            text=True,
            timeout=120,
            check=False,
        )
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (0, "")
    run = kept.run("killed").snapshot
    assert run.state == "finished"
    assert run.epoch == (3 if words[0] == "train" else 8)
    assert "test_accuracy" in run.summary


def test_quiet_prints_nothing(empty):
    outcome = empty("train", *SMALL, "--quiet")
    assert (outcome.code, outcome.out, outcome.err) == (0, "", "")
    assert empty.run("mlp").snapshot.state == "finished"


def test_a_path_below_here_is_printed_relative(tmp_path):
    outcome = trainyard("train", *SMALL, "--yard", "mine")
    assert outcome.out.splitlines()[-1] == "kept in mine/digits/digits/mlp/"


def test_print_config_writes_nothing_and_trains_the_same(empty, tmp_path):
    changes = [*SMALL, "run.name=x", "run.seed=3", "training/optimizer=sgd", "run.note='a: b # c'", "training.epochs=2"]
    printed = empty("train", *changes, "--print-config")
    assert printed.code == 0
    assert not empty.root.exists()
    assert yaml.safe_load(printed.out)["training"]["optimizer"]["_target_"] == "torch.optim.SGD"
    file = tmp_path / "printed.yaml"
    file.write_text(printed.out)
    again = empty("train", file, "--print-config")
    assert {**yaml.safe_load(again.out), "recipe": ""} == {**yaml.safe_load(printed.out), "recipe": ""}
    assert empty("train", *changes, "--quiet").code == 0
    assert empty("train", file, "run.name=y", "--quiet").code == 0
    assert left_behind(empty.run("x")) == left_behind(empty.run("y"))
    assert empty.run("y").snapshot.note == "a: b # c"


def test_like_repeats_another_run(yard: Kept):
    before = yard.run("done")
    assert yard("train", "--like", "done", "--quiet").code == 0
    again = yard.run("mlp")
    assert left_behind(again) == left_behind(before)
    assert again.snapshot.id != before.snapshot.id
    assert again.snapshot.tags == before.snapshot.tags


def test_like_takes_changes_on_top(yard: Kept):
    assert yard("train", "--like", "done", "run.seed=6", "run.name=six", "training.epochs=1", "--quiet").code == 0
    six = yard.run("six").snapshot
    assert (six.seed, six.epoch) == (6, 1)
    assert six.config["model"] == yard.run("done").snapshot.config["model"]


def test_names_that_are_not_given_are_numbered(empty):
    for _ in range(3):
        assert empty("train", *SMALL, "--quiet").code == 0
    homes = sorted(path.name for path in (empty.root / "digits/digits").iterdir())
    assert homes == ["mlp", "mlp-2", "mlp-3"]


def test_trust_lets_a_target_through(empty):
    target = "training.optimizer._target_=builtins.dict"
    assert empty("train", *SMALL, target).code == 2
    outcome = empty("train", *SMALL, target, "--trust")
    assert outcome.code == 2, "a dict is no optimizer, trusted or not"
    assert "builtins.dict" in outcome.err
    assert "--trust" not in outcome.err
    assert not empty.root.exists()


def test_a_run_can_start_from_another_ones_weights(yard: Kept):
    checkpoint = yard.root / "p/digits/done/checkpoint-60"
    outcome = yard("train", *SMALL, f"run.checkpoint_path={checkpoint}", "run.train=false", "run.name=tested")
    assert outcome.code == 0
    tested, done = yard.run("tested").snapshot, yard.run("done").snapshot
    assert tested.summary["test_loss"] == done.summary["test_loss"]
    assert [(p["run"], p["step"]) for p in tested.parents] == [(done.id, 60)]


def test_training_without_a_validation_split(empty):
    outcome = empty(
        "train", *SMALL, "data.split.val_fraction=0", "training.monitor=train_loss", "outputs.val_predictions_every=1"
    )
    assert outcome.code == 0
    run = empty.run("mlp").snapshot
    assert run.best.value == run.metrics["train_loss"]
    assert not [key for key in run.summary if key.startswith("val_")]
    assert {record.facts["split"] for record in run.records if "predictions" in record.kind} == {"test"}
