"""`trainyard evaluate`: the recorded numbers again, exactly, and a count of how often the test split was used."""

from __future__ import annotations

import csv

import numpy as np
import pytest
from command_line import Kept, flip_a_byte
from sklearn.metrics import f1_score, log_loss


@pytest.mark.parametrize("name", ["done", "other"])
@pytest.mark.parametrize("split", ["val", "test"])
def test_it_measures_what_the_run_recorded_to_the_last_bit(yard: Kept, name, split):
    before = yard.run(name).snapshot.summary
    found = yard("evaluate", name, "--split", split, "--json").json
    recorded = {key.removeprefix(f"{split}_"): value for key, value in before.items() if key.startswith(f"{split}_")}
    assert found["metrics"] == recorded
    assert found["recorded"] == recorded
    assert found["step"] == before["best_step"]


def test_uses_of_the_test_split_are_counted_and_reported(yard: Kept):
    assert "2 times" in yard("evaluate", "done").out.splitlines()[-1]
    assert yard("evaluate", "done", "--json").json["times_tested"] == 3
    assert yard("evaluate", "done", "--split", "val", "--json").json["times_tested"] == 3
    assert "times" not in yard("evaluate", "done", "--split", "val").out
    assert yard.run("done").snapshot.summary["times_tested"] == 3


def test_the_evaluation_is_kept_with_the_run(yard: Kept):
    before = {record.path for record in yard.run("done").snapshot.records}
    loss = yard("evaluate", "done", "--json").json["metrics"]["loss"]
    run = yard.run("done")
    (record,) = [record for record in run.snapshot.records if record.path not in before]
    assert record.kind == "evaluation_log"
    line = run.resolve(record.path).read_text()
    assert f"loss={loss:.6g}" in line
    assert "split=test" in line
    assert run.snapshot.state == "finished"
    assert yard("verify", "done").code == 0


def test_last_and_a_step_name_other_checkpoints(yard: Kept):
    run = yard.run("done").snapshot
    for which, step in (("last", 60), ("40", 40), ("20", 20)):
        found = yard("evaluate", "done", "--split", "val", "--checkpoint", which, "--json").json
        assert found["step"] == step
        kept = run.checkpoint(step).metrics
        assert found["metrics"]["loss"] == kept["val_loss"]
        assert found["recorded"] == {key[4:]: value for key, value in kept.items() if key.startswith("val_")}


def test_a_checkpoint_that_was_never_tested_is_compared_with_nothing(yard: Kept):
    found = yard("evaluate", "done", "--checkpoint", "20", "--json").json
    assert found["recorded"] == {}
    assert "recorded" not in yard("evaluate", "done", "--checkpoint", "20").out


def test_predictions_written_out_give_the_metrics(yard: Kept, tmp_path):
    found = yard("evaluate", "done", "--split", "train", "--out", tmp_path / "train.csv", "--json").json
    with (tmp_path / "train.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 1258
    truth = [row["true_label"] for row in rows]
    guess = [row["pred_label"] for row in rows]
    assert f1_score(truth, guess, average="macro", zero_division=0) == pytest.approx(found["metrics"]["f1_macro"])
    columns = [name for name in rows[0] if name.startswith("pred_prob_")]
    assert len(columns) == 10
    probabilities = np.array([[float(row[name]) for name in columns] for row in rows])
    assert log_loss(truth, probabilities / probabilities.sum(1, keepdims=True)) == pytest.approx(
        found["metrics"]["loss"], rel=1e-4
    )


def test_a_read_only_yard_can_be_evaluated(yard: Kept, monkeypatch):
    monkeypatch.setattr("trainyard.runs.yard.Yard.writable", False)
    before = yard.run("done").snapshot.to_dict()
    assert yard("evaluate", "done", "--json").json["times_tested"] == 2
    assert yard.run("done").snapshot.to_dict() == before


def test_a_damaged_checkpoint_is_not_used(yard: Kept):
    flip_a_byte(yard.root / "p/digits/done/checkpoint-60/model.safetensors", at=2000)
    outcome = yard("evaluate", "done")
    assert outcome.code == 1
    assert "checkpoint-60/model.safetensors" in outcome.err
    assert "or use another (steps 20, 40)." in outcome.err
    assert yard("evaluate", "done", "--checkpoint", "40").code == 0
