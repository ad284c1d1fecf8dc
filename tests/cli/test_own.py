"""A user's own task, network and data from the command line: regression, of which `src` knows nothing."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import killing
import numpy as np
import pytest
from command_line import Kept, in_a_process, left_behind
from sklearn.metrics import mean_absolute_error, root_mean_squared_error

OWN = (
    *("task._target_=toy_regression.Regression", "model._target_=toy_regression.Plane", "model.noise=0.1"),
    *("data._target_=toy_regression.load", "data.items=120", "run.project=planes", "run.device=cpu"),
    *("training.epochs=4", "training.monitor=val_rmse", "training.learning_rate=0.05", "training.batch_size=16"),
    *("checkpoint.every_steps=3", "checkpoint.keep_last=null"),
)


@pytest.fixture(scope="module")
def planes(tmp_path_factory: pytest.TempPathFactory) -> Kept:
    """A yard with one such run, and a number of the predictions changed in a copy of the yard's owner's making."""
    kept = Kept(tmp_path_factory.mktemp("planes") / "yard")
    outcome = kept("train", "--trust", *OWN)
    assert outcome.code == 0, outcome.err
    assert "val_rmse" in outcome.out
    return kept


def test_without_trust_nothing_of_it_runs(planes: Kept, empty: Kept) -> None:
    assert empty("train", *OWN).code == 2
    assert not empty.root.exists()
    for command in (["evaluate", "last"], ["export", "last"], ["predict", "last", "new.txt"]):
        outcome = planes(*command)
        assert outcome.code == 2
        assert "--trust" in outcome.err


def test_it_is_listed_and_shown(planes: Kept) -> None:
    run = planes.run("Plane").snapshot
    line = planes("runs").out.splitlines()[1]
    assert f"rmse {run.summary['test_rmse']:.4f}" in line
    assert planes("runs", "summary.test_rmse<9", "--json").json[0]["id"] == run.id
    assert f"{run.summary['test_rmse']:.6g}" in planes("show", "last").out
    assert run.task["directions"] == {"rmse": "min", "mae": "min", "correlation": "max"}
    assert run.best is not None
    assert run.best.metric == "val_rmse"
    assert run.best.value == min(c.metrics["val_rmse"] for c in run.checkpoints if "val_rmse" in c.metrics)


def test_its_table_and_its_metrics_are_its_own(planes: Kept) -> None:
    run = planes.run("Plane")
    with (run.home / "predictions" / "test.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    truth, predicted = ([float(row[name]) for row in rows] for name in ("true_value", "pred_value"))
    assert run.snapshot.summary["test_rmse"] == pytest.approx(root_mean_squared_error(truth, predicted))
    assert run.snapshot.summary["test_mae"] == pytest.approx(mean_absolute_error(truth, predicted))
    assert "half,mae,items" in (run.home / "stats" / "per_class_test.csv").read_text()


def test_evaluate_predict_and_export(planes: Kept, tmp_path: Path) -> None:
    found = planes("evaluate", "last", "--trust", "--split", "val", "--json").json
    assert found["metrics"] == found["recorded"]
    (tmp_path / "new.txt").write_text("0 0 0 0\n1 2 3 4\n")
    outcome = planes("predict", "last", tmp_path / "new.txt", "--trust")
    rows = list(csv.DictReader(outcome.out.splitlines()))
    assert [row["id"] for row in rows] == ["line 1", "line 2"]
    [exported] = planes("export", "last", "--trust", "--json").json
    import onnxruntime

    session = onnxruntime.InferenceSession(exported["path"])
    (outputs,) = session.run(None, {"input": np.array([[0, 0, 0, 0], [1, 2, 3, 4]], np.float32)})
    np.testing.assert_allclose(outputs[:, 0], [float(row["pred_value"]) for row in rows], rtol=1e-4)
    assert json.loads(Path(exported["path"]).with_suffix(".json").read_text())["output"]["shape"] == ["batch", 1]


def test_verify_finds_a_changed_digit(planes: Kept, yard_of: Kept) -> None:
    assert planes("verify", "--trust").code == 0
    table = yard_of.run("Plane").home / "predictions" / "test.csv"
    head, row, *rest = table.read_bytes().decode().split("\r\n")
    item, true, predicted = row.split(",")
    changed = f"{float(predicted) + 0.5:.9g}"
    table.unlink()
    table.write_bytes("\r\n".join([head, f"{item},{true},{changed}", *rest]).encode())
    findings = yard_of("verify", "--trust", "--json").json["findings"]
    faults = {(finding["fault"], finding["where"]) for finding in findings}
    assert ("changed", "") in faults
    assert ("disagrees", "test_rmse") in faults
    untrusted = yard_of("verify", "--json").json["findings"]
    assert {finding["fault"] for finding in untrusted} == {"changed", "unchecked"}


@pytest.fixture
def yard_of(planes: Kept, tmp_path: Path) -> Kept:
    """A copy of that yard, to change."""
    import shutil

    shutil.copytree(planes.root, tmp_path / "copy")
    return Kept(tmp_path / "copy")


def test_killed_and_resumed_ends_with_the_same_bits(planes: Kept, tmp_path: Path) -> None:
    kept = Kept(tmp_path / "yard")
    code = killing.run(kept.root, list(OWN), kill_at_call=260, trust=True)
    assert code < 0
    assert kept.run("Plane").snapshot.state == "crashed"
    refused = kept("resume", "last")
    assert (refused.code, "--trust" in refused.err) == (2, True)
    outcome = kept("resume", "last", "--trust")
    assert outcome.code == 0, outcome.err
    assert left_behind(kept.run("Plane")) == left_behind(planes.run("Plane"))


def test_trust_finds_a_module_in_the_current_directory(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "import numpy as np\nfrom torch import nn\n"
        "def load():\n    return {'train': (np.eye(20, dtype='float32'), np.arange(20) % 2)}\n"
        "class Net(nn.Sequential):\n    def __init__(self, classes):\n"
        "        super().__init__(nn.Linear(20, len(classes)))\n"
    )
    done = in_a_process(
        *("train", "--trust", "data._target_=mine.load", "model._target_=mine.Net", "training.epochs=1"), cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "outputs" / "digits" / "mine" / "Net" / "summary.json").exists()
