"""`verify` recomputes what a run reports from its saved predictions, whatever the layout and the labels."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas
import pytest
from predicted_runs import emotional, single

import trainyard
from trainyard.layouts import LAYOUTS
from trainyard.runs import RunReader, Yard, find_homes
from trainyard.upkeep.verify import Finding, Tally, verify_run, verify_yard

Made = Callable[..., str]


def reader_of(yard: Path) -> RunReader:
    [home] = find_homes(Yard(yard))
    return RunReader(Yard(yard), home)


def findings(yard: Path, *, recomputed: bool = True) -> list[Finding]:
    """What is wrong, without the changed bytes themselves."""
    found = list(verify_run(reader_of(yard), Tally()))
    return [finding for finding in found if not recomputed or finding.fault != "changed"]


def record(yard: Path, kind: str, split: str) -> Path:
    reader = reader_of(yard)
    [path] = [
        reader.resolve(record.path)
        for record in reader.snapshot.records
        if record.kind == kind and record.facts.get("split") == split
    ]
    return path


def edit(path: Path, **changes: object) -> None:
    """Changes cells of the second row, as with a spreadsheet."""
    frame = pandas.read_csv(path, dtype=str, keep_default_na=False)
    for column, value in changes.items():
        frame.loc[1, column] = value
    frame.to_csv(path, index=False)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("make", [emotional, single])
def test_what_was_just_written_agrees(tmp_path: Path, make: Made, layout: str) -> None:
    make(tmp_path / "y", "a", layout=layout)
    assert list(verify_yard(Yard(tmp_path / "y"), Tally())) == []


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("make", "column"), [(emotional, "emotion"), (single, "label")])
def test_a_changed_cell_of_the_table_is_named(tmp_path: Path, make: Made, column: str, layout: str) -> None:
    make(tmp_path / "y", "a", layout=layout)
    path = record(tmp_path / "y", "per_class", "test")
    frame = pandas.read_csv(path)
    assert frame[column][1] == "anger"
    edit(path, f1_score="0.999", tp="3000")
    found = findings(tmp_path / "y")
    assert [(finding.fault, finding.path, finding.where, finding.stored) for finding in found] == [
        ("disagrees", str(path), "f1_score of 'anger'", "0.999"),
        ("disagrees", str(path), "tp of 'anger'", "3000"),
    ]
    assert float(found[0].recomputed) == pytest.approx(frame["f1_score"][1], rel=1e-9)
    assert found[1].recomputed == str(frame["tp"][1])
    command = f"trainyard evaluate {reader_of(tmp_path / 'y').snapshot.id} --split test"
    assert all(command in finding.remedy for finding in found)
    assert not any(finding.harmless for finding in found)


@pytest.mark.parametrize("layout", ["grouped", "files", "dated"])
def test_a_changed_truth_is_named_in_the_table_and_the_summary(tmp_path: Path, layout: str) -> None:
    emotional(tmp_path / "y", "a", layout=layout)
    path = record(tmp_path / "y", "final_predictions", "test")
    *others, name = json.loads(pandas.read_csv(path)["true_labels"][1])
    edit(path, true_labels=json.dumps(others))
    found = findings(tmp_path / "y")
    table = record(tmp_path / "y", "per_class", "test")
    assert {finding.fault for finding in found} == {"disagrees"}
    assert {(finding.path, finding.where) for finding in found} >= {
        (str(table), f"support of {name!r}"),
        (str(path), "test_f1_macro"),
    }
    assert not any("val_" in finding.where or "pred_labels" in finding.where for finding in found)


def test_changed_choices_are_named_by_the_decision_of_the_checkpoint(tmp_path: Path) -> None:
    emotional(tmp_path / "y", "a")
    path = record(tmp_path / "y", "final_predictions", "val")
    before = pandas.read_csv(path)["pred_labels"][1]
    after = '["none of these"]'
    assert before != after
    edit(path, pred_labels=after)
    found = [finding for finding in findings(tmp_path / "y") if "pred_labels" in finding.where]
    recomputed = ", ".join(json.loads(before)) or "no label"
    text = 'she said "no"\nand left'
    assert [(finding.path, finding.where, finding.stored, finding.recomputed) for finding in found] == [
        (str(path), f"pred_labels of item 2 ({text!r})", "none of these", recomputed)
    ]


def test_a_probability_that_was_changed_is_named(tmp_path: Path) -> None:
    single(tmp_path / "y", "a")
    path = record(tmp_path / "y", "final_predictions", "test")
    frame = pandas.read_csv(path)
    other = next(name for name in ("joy", "anger") if name != frame["pred_label"][1])
    edit(path, **{f"pred_prob_{other}": "2.0"})
    found = {(finding.path, finding.where, finding.stored, finding.recomputed) for finding in findings(tmp_path / "y")}
    assert (str(path), "pred_label of item 2 ('test/1.png')", frame["pred_label"][1], other) in found


def test_a_summary_of_other_values_is_named(tmp_path: Path) -> None:
    with trainyard.start_run(yard=tmp_path / "y", name="a") as run:
        run.save_predictions(["x", "y"], [0, 1], np.array([[0.9, 0.1], [0.8, 0.2]]), ["p", "q"])
        run.summary(test_accuracy=0.93, test_loss=4.0, val_accuracy=0.1, test_wer=0.2, note="test")
    [found] = findings(tmp_path / "y")
    path = record(tmp_path / "y", "final_predictions", "test")
    assert found.fault == "disagrees"
    assert (found.path, found.where, found.stored, found.recomputed) == (str(path), "test_accuracy", "0.93", "0.5")


@pytest.mark.parametrize(("key", "value"), [("summary", {"test_wer": 0.1}), ("config", {"lr": 3}), ("seed", 7)])
def test_a_snapshot_that_was_edited_is_named_and_can_be_removed(tmp_path: Path, key: str, value: object) -> None:
    with trainyard.start_run(yard=tmp_path / "y", name="a", config={"lr": 1}) as run:
        run.summary(test_wer=0.2)
    path = run.home / ".run" / "run.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))
    [found] = findings(tmp_path / "y")
    assert (found.fault, found.path, found.where) == ("snapshot", str(path), key)
    path.unlink()
    assert findings(tmp_path / "y") == []
    assert reader_of(tmp_path / "y").snapshot.summary == {"test_wer": 0.2}


@pytest.mark.parametrize("ended", [True, False])
def test_a_finished_run_is_not_to_be_resumed(tmp_path: Path, ended: bool) -> None:
    run = trainyard.start_run(yard=tmp_path / "y", name="a")
    run.save_file(b"x", "x.txt").unlink()
    path = run.save_checkpoint({"a.txt": lambda path: path.write_text("a")}, step=1)
    shutil.rmtree(path)
    if ended:
        run.finish()
    found = findings(tmp_path / "y")
    assert len(found) == 2
    if ended:
        assert not any("resume" in finding.remedy.lower() for finding in found)
    else:
        assert any("resume" in finding.remedy for finding in found)
        run.finish()


@pytest.mark.parametrize("ended", [True, False])
def test_of_a_damaged_checkpoint_only_others_that_seem_intact_are_named(tmp_path: Path, ended: bool) -> None:
    run = trainyard.start_run(yard=tmp_path / "y", name="a")
    paths = [run.save_checkpoint({"a.txt": lambda path: path.write_text("a")}, step=step) for step in (1, 2, 3, 4)]
    for path in paths[2:]:
        shutil.rmtree(path)
    if ended:
        run.finish()
    found = findings(tmp_path / "y")
    assert [(finding.fault, finding.where) for finding in found] == [("checkpoint", "step 3"), ("checkpoint", "step 4")]
    assert all("(steps 1, 2)" in finding.remedy for finding in found)
    assert all(("resume" in finding.remedy) is not ended for finding in found)
    for path in paths[:2]:
        shutil.rmtree(path)
    found = findings(tmp_path / "y")
    assert [finding.where for finding in found] == [f"step {step}" for step in (1, 2, 3, 4)]
    assert all("copy" in finding.remedy and "steps" not in finding.remedy for finding in found)
    assert all(("resume" in finding.remedy) is not ended for finding in found)
    if not ended:
        run.finish()


def test_only_the_first_of_many_disagreements_are_listed(tmp_path: Path) -> None:
    emotional(tmp_path / "y", "a", n=200)
    path = record(tmp_path / "y", "final_predictions", "test")
    frame = pandas.read_csv(path, dtype=str, keep_default_na=False)
    frame["pred_labels"] = "[]"
    frame.to_csv(path, index=False)
    found = findings(tmp_path / "y")
    assert len(found) < 40
    assert {finding.fault for finding in found} == {"disagrees"}
    assert sum("pred_labels of item" in finding.where for finding in found) == 10
    assert any((finding.path, finding.where) == (str(path), "") for finding in found), "one for all others"


def test_files_that_cannot_be_read_or_are_gone(tmp_path: Path) -> None:
    emotional(tmp_path / "y", "a")
    gone = record(tmp_path / "y", "per_class", "val")
    gone.unlink()
    path = record(tmp_path / "y", "per_class", "test")
    path.write_text("no table")
    found = findings(tmp_path / "y")
    assert [(finding.fault, finding.path) for finding in found] == [("missing", str(gone)), ("unreadable", str(path))]
    assert all(finding.remedy for finding in found)
    predictions = record(tmp_path / "y", "final_predictions", "test")
    predictions.write_text("text,true_labels\n")
    assert [(finding.fault, finding.path) for finding in findings(tmp_path / "y")] == [
        ("missing", str(gone)),
        ("unreadable", str(predictions)),
    ]


def test_a_decision_for_other_labels_is_a_finding(tmp_path: Path) -> None:
    emotional(tmp_path / "y", "a")
    reader = reader_of(tmp_path / "y")
    for checkpoint in reader.snapshot.checkpoints:
        path = reader.locate(checkpoint)
        assert path is not None
        (path / "metrics.json").unlink()
        (path / "metrics.json").write_text('{"decision": {"mode": "fixed", "thresholds": {"rage": 0.5}}}')
    found = [finding for finding in findings(tmp_path / "y") if finding.fault == "unreadable"]
    assert len(found) == 2
    assert all("rage" in finding.what for finding in found)


def test_a_run_without_predictions_needs_no_arrays(tmp_path: Path) -> None:
    with trainyard.start_run(yard=tmp_path / "y") as run:
        run.summary(test_accuracy=0.5)
    assert imported_to_verify(tmp_path / "y") == set()
    single(tmp_path / "y", "a")
    assert imported_to_verify(tmp_path / "y") == {"numpy"}


def imported_to_verify(yard: Path) -> set[str]:
    heavy = ("torch", "transformers", "pandas", "matplotlib", "sklearn", "numpy", "scipy", "PIL")
    code = (
        "import sys\nfrom trainyard.upkeep.verify import *\n"
        f"assert not list(verify_yard(Yard({str(yard)!r}), Tally()))\n"
        f"print(*set({heavy}).intersection(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, timeout=60, capture_output=True, text=True)
    return set(done.stdout.split())


def test_without_numpy_the_rest_is_verified_and_reported(tmp_path: Path) -> None:
    single(tmp_path / "y", "a")
    code = (
        "import sys\nsys.modules['numpy'] = None\nfrom trainyard.upkeep.verify import *\n"
        f"for one in verify_yard(Yard({str(tmp_path / 'y')!r}), Tally()): print(one.fault, one.where, one.harmless)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, timeout=60, capture_output=True, text=True)
    assert done.stdout.splitlines() == ["unchecked numpy True"]


def test_while_a_run_is_at_work_its_summary_may_be_older(tmp_path: Path) -> None:
    run = trainyard.start_run(yard=tmp_path / "y")
    run.summary(test_accuracy=0.9)
    run.save_predictions(["x"], [0], np.eye(1, 2), ["p", "q"])
    assert findings(tmp_path / "y") == []
    run.finish()
    assert len(findings(tmp_path / "y")) == 1


# -- saving predictions from a user's own loop


def test_label_sets_are_saved_with_their_statistics(tmp_path: Path) -> None:
    truth = np.array([[True, False], [True, True]])
    scores = np.array([[0.5, 0.4], [0.6, 0.2]])
    with trainyard.start_run(yard=tmp_path / "y") as run:
        path = run.save_predictions(["a", "b"], truth, scores, ["p", "q"], item_column="text", label_column="emotion")
        with pytest.raises(ValueError, match="sets of labels"):
            run.save_predictions(["a"], [0], [[0.5, 0.5]], ["p", "q"], chosen=[1])
    frame = pandas.read_csv(path)
    assert frame["pred_labels"].tolist() == ['["p"]', '["p"]'], "from 0.5 on"
    table = pandas.read_csv(record(tmp_path / "y", "per_class", "test"))
    assert table["emotion"].tolist() == ["p", "q"]
    assert table["fn"].tolist() == [0, 1]


def test_where_only_one_split_has_statistics_they_stay_those_of_test(tmp_path: Path) -> None:
    single(tmp_path / "y", "a", layout="files")
    with trainyard.start_run(resume="last", yard=tmp_path / "y") as run:
        run.save_predictions(["x"], [0], np.eye(1, 5), ["joy", "anger", "fear", "love", "none of these"], split="val")
    assert pandas.read_csv(record(tmp_path / "y", "per_class", "test"))["support"].sum() == 60
