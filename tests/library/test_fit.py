"""`trainyard.fit`: a user's module and data in Trainyard's loop."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pandas as pd
import pytest
import torch
from own_training import CLASSES, QUIET, Pictures, SmallCnn, arrays, in_a_process, small_cnn
from safetensors.torch import load_file
from sklearn.metrics import accuracy_score, f1_score
from tiny_runs import left_behind
from torch import nn
from toy_regression import Plane, Regression, points

import trainyard
from trainyard.errors import ChangedDataError, ConfigError, DataError, NameTakenError, NotResumableError
from trainyard.library.fit import Fitted
from trainyard.runs import RunReader, Yard, find_homes
from trainyard.training.step import Step


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    torch.set_num_threads(1)
    monkeypatch.chdir(tmp_path)


def trained(yard: Path | None, **changes: Any) -> Fitted:
    given: dict[str, Any] = {
        "model": small_cnn(),
        "train": Pictures(60),
        "val": Pictures(15, 1),
        "test": Pictures(15, 2),
        "classes": CLASSES,
        "epochs": 3,
        "batch_size": 8,
        "yard": yard,
        **QUIET,
    }
    return trainyard.fit(**(given | changes))


def reader(yard: Path) -> RunReader:
    (home,) = find_homes(Yard(yard))
    return RunReader(Yard(yard), home)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Fitted:
    """One finished run; only to be read."""
    torch.set_num_threads(1)
    return trained(tmp_path_factory.mktemp("own") / "yard", plots=True, tracker="tensorboard")


def test_what_is_kept_is_what_the_module_says_in_plain_torch(finished: Fitted) -> None:
    checkpoint = finished.run.best_checkpoint()
    assert checkpoint is not None
    alone = SmallCnn()
    alone.load_state_dict(load_file(checkpoint.local_path / "model.safetensors"))
    x, y = arrays(15, 2)
    with torch.no_grad():
        expected = alone.eval()(torch.from_numpy(x)).softmax(1).numpy()
    table = pd.read_csv(finished.run.home / "predictions" / "test.csv")
    assert table["id"].tolist() == [f"test[{at}]" for at in range(15)]
    assert table["true_label"].tolist() == [CLASSES[label] for label in y]
    np.testing.assert_array_equal(table[[f"pred_prob_{name}" for name in CLASSES]].to_numpy(np.float32), expected)
    np.testing.assert_array_equal(finished.predict(x)["probabilities"], expected)
    assert finished.run.summary["test_accuracy"] == accuracy_score(y, expected.argmax(1))
    assert finished.run.summary["test_f1_macro"] == pytest.approx(f1_score(y, expected.argmax(1), average="macro"))
    np.testing.assert_array_equal(finished.model.eval()(torch.from_numpy(x)).detach().softmax(1).numpy(), expected)


def test_a_run_keeps_all_that_every_run_keeps(finished: Fitted) -> None:
    kinds = {
        record.kind for record in RunReader(Yard(finished.run.home.parents[2]), finished.run.home).snapshot.records
    }
    assert {
        *("config", "environment", "final_predictions", "per_class", "confusion_matrix", "learning_curves"),
        *("history", "summary", "metrics_table", "tensorboard"),
    } <= kinds
    assert finished.run.state == "finished"
    assert [row["epoch"] for row in finished.run.history() if row["split"] == "val"] == [1, 2, 3]
    assert finished.run.config["model"]["given"] == "own_training.SmallCnn"


def test_evaluate_measures_and_counts(tmp_path: Path) -> None:
    fitted = trained(tmp_path / "yard")
    summary = fitted.run.summary
    assert {f"val_{name}": value for name, value in fitted.evaluate("val").items()}.items() <= summary.items()
    assert fitted.evaluate("test")["accuracy"] == summary["test_accuracy"]
    assert reader(tmp_path / "yard").snapshot.summary["times_tested"] == 2


def test_export_gives_the_outputs_of_the_module(finished: Fitted, tmp_path: Path) -> None:
    path = finished.export(tmp_path / "net.onnx")
    x, _ = arrays(5, 3)
    (outputs,) = onnxruntime.InferenceSession(path).run(None, {"input": x})
    with torch.no_grad():
        np.testing.assert_allclose(outputs, finished.model.eval()(torch.from_numpy(x)).numpy(), atol=1e-5)
    described = json.loads(path.with_suffix(".json").read_text())
    assert described["classes"] == CLASSES
    assert described["output"]["shape"] == ["batch", 3]


@pytest.mark.parametrize("kill_at", [2, 14, 29])
def test_killed_and_resumed_ends_with_the_same_bits(tmp_path: Path, kill_at: int) -> None:
    """Before the first checkpoint, inside an epoch, and in the last one."""
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
    assert in_a_process(tmp_path / "whole" / "yard") == 0
    assert in_a_process(tmp_path / "killed" / "yard", kill_at=kill_at) < 0
    assert reader(tmp_path / "killed" / "yard").snapshot.state == "crashed"
    assert in_a_process(tmp_path / "killed" / "yard", resume="last") == 0
    assert len(reader(tmp_path / "killed" / "yard").snapshot.attempts) == 2
    assert left_behind(reader(tmp_path / "killed" / "yard")) == left_behind(reader(tmp_path / "whole" / "yard"))


class _Pulled(BaseException):
    pass


def broken_off(yard: Path, steps: int, **changes: Any) -> RunReader:
    whole, taken = Step.__call__, 0

    def pulled(self: Step, batches: Any) -> Any:
        nonlocal taken
        taken += 1
        if taken > steps:
            raise _Pulled
        return whole(self, batches)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Step, "__call__", pulled)
        with pytest.raises(_Pulled):
            trained(yard, every_steps=3, **changes)
    return reader(yard)


def test_without_a_yard_the_environment_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRAINYARD_YARD", str(tmp_path / "named"))
    fitted = trained(None, epochs=1)
    assert fitted.run.id == reader(tmp_path / "named").snapshot.id
    assert not (tmp_path / "outputs").exists()


def test_other_data_is_refused(tmp_path: Path) -> None:
    broken_off(tmp_path / "yard", 5)
    changed = Pictures(60)
    changed.x[7, 0, 0, 0] += 1
    with pytest.raises(ChangedDataError) as raised:
        trained(tmp_path / "yard", resume="last", train=changed)
    assert "content" in str(raised.value.value)
    assert trained(tmp_path / "yard", resume="last").run.state == "finished"


def test_what_is_given_to_a_resume_must_be_as_the_run_has_it(tmp_path: Path) -> None:
    broken_off(tmp_path / "yard", 5)
    with pytest.raises(ConfigError) as raised:
        trained(tmp_path / "yard", resume="last", epochs=4, grad_clip=1.0, model=nn.Sequential())
    assert set(raised.value.keys) == {"training.epochs", "training.grad_clip", "model.given"}
    with pytest.raises(ConfigError) as raised:
        trained(tmp_path / "yard", resume="last", task="multi_label")
    assert raised.value.keys == ("task",)


def test_without_a_checkpoint_other_first_weights_are_refused(tmp_path: Path) -> None:
    broken_off(tmp_path / "yard", 1)
    with pytest.raises(NotResumableError) as raised:
        trained(tmp_path / "yard", resume="last", model=small_cnn(seed=1))
    assert raised.value.value == reader(tmp_path / "yard").snapshot.config["model"]["first_weights"]
    assert trained(tmp_path / "yard", resume="last").run.state == "finished"


def test_a_finished_run_is_not_resumed(tmp_path: Path) -> None:
    trained(tmp_path / "yard", epochs=1)
    with pytest.raises(NotResumableError) as raised:
        trained(tmp_path / "yard", epochs=1, resume="last")
    assert raised.value.value == "finished"


def test_arrays_tensors_pairs_and_frames_give_the_same_run(tmp_path: Path) -> None:
    x, y = arrays(40)
    x = x.reshape(40, -1)[:, :8]
    frame = pd.DataFrame(x.astype(np.float64), columns=[f"f{at}" for at in range(8)]).assign(kind=y)
    forms: dict[str, Any] = {
        "arrays": (x.astype(np.float64), y.tolist()),
        "tensors": (torch.from_numpy(x), torch.from_numpy(y)),
        "pairs": list(zip(x, y, strict=True)),
        "dataset": torch.utils.data.TensorDataset(torch.from_numpy(x), torch.from_numpy(y)),
        "frame": frame,
    }
    found = {}
    for name, train in forms.items():
        torch.manual_seed(0)
        module = nn.Sequential(nn.Linear(8, 5), nn.ReLU(), nn.Linear(5, 3))
        changes: dict[str, Any] = {"val": None, "test": None, "target": "kind", "seed": 3, "classes": None}
        trained(tmp_path / name, model=module, train=train, epochs=2, keep_last=None, every_epochs=1, **changes)
        found[name] = left_behind(reader(tmp_path / name))
        assert reader(tmp_path / name).snapshot.data["splits"] == {"train": 36, "val": 4, "test": 0}
    assert all(one == found["arrays"] for one in found.values())


def test_workers_change_nothing(tmp_path: Path) -> None:
    found = []
    for workers in (0, 2):
        trained(tmp_path / str(workers), workers=workers, every_epochs=1)
        found.append(left_behind(reader(tmp_path / str(workers))))
    assert found[0] == found[1]


def test_several_labels(tmp_path: Path) -> None:
    x, y = arrays(60)
    labels = np.eye(3, dtype=np.int64)[y] | np.eye(3, dtype=np.int64)[(y + np.arange(60) // 30) % 3]
    fitted = trained(tmp_path / "yard", train=(x, labels), val=None, test=None, task="multi_label", epochs=8)
    assert fitted.run.config["training"]["criterion"] == {"_target_": "torch.nn.BCEWithLogitsLoss"}
    with torch.no_grad():
        expected = fitted.model.eval()(torch.from_numpy(x)).sigmoid().numpy()
    np.testing.assert_array_equal(fitted.predict(x)["probabilities"], expected)
    assert "f1_micro" in fitted.evaluate("val")
    assert fitted.run.summary["val_f1_micro"] == fitted.evaluate("val")["f1_micro"]


def test_a_task_of_its_own_with_float_targets(tmp_path: Path) -> None:
    x, y = points()
    torch.manual_seed(0)
    fitted = trained(
        tmp_path / "yard",
        model=Plane([4]),
        train=(x, y),
        val=None,
        test=(x[:9], y[:9]),
        task=Regression(),
        classes=None,
        epochs=60,
        learning_rate=0.05,
        monitor="val_rmse",
        split={"on_leak": "drop"},
    )
    assert fitted.run.summary["test_rmse"] < 0.2
    value = fitted.predict(x[:9])["value"]
    assert fitted.run.summary["test_mae"] == pytest.approx(np.abs(value - y[:9]).mean(), abs=1e-6)


class Tokens(nn.Module):
    """Takes integers, which must stay such."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.head = nn.Embedding(9, 4), nn.Linear(4, 2)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.head(self.embedding(tokens).mean(1))


def test_integers_reach_the_module_as_they_are(tmp_path: Path) -> None:
    tokens = np.random.default_rng(0).integers(0, 9, (40, 5))
    fitted = trained(
        tmp_path / "yard",
        model=Tokens(),
        train=(tokens, (tokens[:, 0] > 4).astype(int)),
        val=None,
        test=None,
        classes=["low", "high"],
        epochs=1,
    )
    path = fitted.export(tmp_path / "tokens.onnx")
    (outputs,) = onnxruntime.InferenceSession(path).run(None, {"input": tokens[:3]})
    np.testing.assert_allclose(outputs, fitted.model.eval()(torch.from_numpy(tokens[:3])).detach().numpy(), atol=1e-5)


def test_settings_reach_the_configuration(tmp_path: Path) -> None:
    fitted = trained(
        tmp_path / "yard",
        epochs=1,
        grad_clip=1.0,
        precision="bf16",
        monitor="val_accuracy",
        keep_last=2,
        early_stopping={"patience": 3},
        tags=["paper"],
        note="one",
        project="p",
        name="n",
        layout="shared",
        seed=4,
    )
    config = fitted.run.config
    assert (config["training"]["grad_clip"], config["training"]["precision"]) == (1.0, "bf16")
    assert config["training"]["early_stopping"]["patience"] == 3
    assert config["checkpoint"]["keep_last"] == 2
    assert config["checkpoint"]["every_epochs"] is None
    assert (fitted.run.name, fitted.run.project, config["run"]["seed"], config["layout"]) == ("n", "p", 4, "shared")
    with pytest.raises(NameTakenError):
        trained(tmp_path / "yard", epochs=1, project="p", name="n", layout="shared")


def test_every_fault_of_a_call_is_reported_together(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as raised:
        trained(tmp_path / "yard", model=SmallCnn, task="single", grad_clp=1.0, patience=3, epochs=0, precision="fp8")
    assert set(raised.value.keys) == {
        *("model", "task", "grad_clp", "patience", "training.epochs", "training.precision")
    }
    problems = "\n".join(raised.value.problems)
    assert "grad_clip" in problems
    assert 'early_stopping={"patience"' in problems
    assert not (tmp_path / "yard").exists()


class Pair(nn.Module):
    def forward(self, pictures: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return pictures, pictures


@pytest.mark.parametrize(
    "model",
    [SmallCnn(classes=4), nn.Flatten(0), nn.Linear(5, 3), Pair(), nn.Identity()],
    ids=lambda one: type(one).__name__,
)
def test_a_module_that_does_not_fit_is_refused_before_the_run(tmp_path: Path, model: nn.Module) -> None:
    with pytest.raises(ConfigError) as raised:
        trained(tmp_path / "yard", model=model)
    assert raised.value.keys == ("model",)
    assert not (tmp_path / "yard").exists()


class Restless(Pictures):
    """Another picture each time."""

    def __getitem__(self, position: int) -> tuple[torch.Tensor, int]:
        x, y = super().__getitem__(position)
        return x + 0.1 * torch.randn_like(x), y


def test_items_that_change_need_a_digest(tmp_path: Path) -> None:
    with pytest.raises(DataError) as raised:
        trained(tmp_path / "yard", train=Restless(60))
    assert raised.value.place == "train[0]"
    assert "digest=" in raised.value.remedy
    random: dict[str, Any] = {"train": Restless(60), "digest": lambda data, at: data.x[at].tobytes()}
    broken_off(tmp_path / "yard", 11, **random)
    torch.manual_seed(99)
    trained(tmp_path / "yard", resume="last", **random)
    trained(tmp_path / "whole", every_steps=3, **random)
    assert left_behind(reader(tmp_path / "yard")) == left_behind(reader(tmp_path / "whole"))


X, Y = arrays(12)


@pytest.mark.parametrize(
    ("train", "changes", "place", "value"),
    [
        (X, {}, "train", "ndarray"),
        ((X, Y[:-1]), {}, "train", (12, 11)),
        ((X, Y, Y), {}, "train", 3),
        ((X, Y.astype(float)), {}, "train[0]", 0.0),
        ((X, np.where(Y == 2, 5, Y)), {}, "train[2]", 5),
        ((X, np.array(["dot", "cross", "crcle"] * 4)), {}, "train[2]", "crcle"),
        ((X, np.eye(3)[Y]), {}, "targets", (12, 3)),
        ((X, Y), {"task": "multi_label"}, "targets", (12,)),
        ((X, np.eye(3)[Y] * 2), {"task": "multi_label"}, "train[0]", 2.0),
        ((X, np.where(Y == 1, np.nan, 1.0)), {"task": Regression(), "classes": None}, "train[1]", None),
        ((np.array([object()] * 12), Y), {}, "train", "ndarray"),
        ([(X[0], 0), (X[1, :, :4], 1)], {}, "train[1]", (1, 4, 6)),
        ([(X[0], 0), X[1]], {}, "train[1]", "ndarray"),
        ([("text", 0), ("more", 1)], {}, "train[0]", "str"),
        (torch.utils.data.DataLoader(Pictures(12)), {}, "train", "DataLoader"),
        (iter([]), {}, "train", "list_iterator"),
        (pd.DataFrame({"f": [1.0, 2.0], "label": [0, 1]}), {"target": "labl"}, "train", "labl"),
        (pd.DataFrame({"f": ["a", "b"], "label": [0, 1]}), {"target": "label"}, "train", ["f"]),
        ((X, Y), {"val": (X[:, :, :3], Y)}, "val", (1, 3, 6)),
        ((X, Y), {"ids": {"train": ["a"] * 12}}, "train", 12),
        ([], {}, "train", 0),
    ],
)
def test_data_that_cannot_be_trained_on(
    tmp_path: Path, train: Any, changes: dict[str, Any], place: str, value: object
) -> None:
    with pytest.raises(DataError) as raised:
        trained(tmp_path / "yard", train=train, **({"val": None, "test": None} | changes))
    assert raised.value.place == place
    if value is not None:
        assert raised.value.value == value
    assert raised.value.remedy
    assert not (tmp_path / "yard").exists()


def test_new_items_of_another_shape_are_refused(finished: Fitted) -> None:
    with pytest.raises(DataError) as raised:
        finished.predict(X[0])
    assert (raised.value.place, raised.value.value) == ("x", (1, 6, 6))


@pytest.mark.parametrize("command", ["evaluate", "predict", "export", "resume"])
def test_the_command_line_says_how_such_a_run_is_opened(tmp_path: Path, command: str) -> None:
    from command_line import trainyard as command_line

    broken_off(tmp_path / "yard", 11)
    np.savez(tmp_path / "new.npz", x=X)
    words = [tmp_path / "new.npz"] if command == "predict" else []
    outcome = command_line(command, "last", *words, "--yard", tmp_path / "yard")
    assert outcome.code == 2
    assert "trainyard.fit(" in outcome.err
    assert "_target_=my_package" in outcome.err
