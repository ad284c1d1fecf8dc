"""`trainyard train spectrogram`, from the config to its last file: margins, teachers, int8 and killed runs."""

from __future__ import annotations

import csv
import re
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import killing
import numpy as np
import pytest
import torch
from tiny_runs import QUIET, again, broken_off, files, left_behind, recorded, resumed, trained
from tiny_sound import BURSTS, FIT, NETWORK, SPLIT, numbers, write_bursts

from trainyard.assembly.setup import load_dataset
from trainyard.config.convert import from_dict
from trainyard.errors import TrainyardError
from trainyard.running.evaluate import evaluate_run
from trainyard.running.export import export_run
from trainyard.running.predict import predict_items
from trainyard.running.resume import resume
from trainyard.runs import RunReader, Yard, find_homes

PLAIN = [*BURSTS, *FIT, *NETWORK]
SURE = [*PLAIN, *QUIET, "training.epochs=3", "checkpoint.every_steps=2", "training.log_every=1", "model.dropout=0.2"]
CHANGED = ["augmentations=strong", "data.crop=random"]


def best_of(run: RunReader) -> Path:
    (path,) = run.home.glob("best_*.pth")
    return path


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> RunReader:
    yard = Yard(tmp_path_factory.mktemp("spectrogram") / "yard", create=True)
    return trained("spectrogram", PLAIN, yard)


TREE = {
    ".hydra/config.yaml",
    ".hydra/hydra.yaml",
    ".hydra/overrides.yaml",
    "environment.json",
    "main.log",
    "history.csv",
    "summary.json",
    "learning_curves.png",
    "confusion_matrix_test.png",
    "confusion_matrix_val.png",
    "predictions/test.csv",
    "predictions/val.csv",
    "stats/per_class_test.csv",
    "stats/per_class_val.csv",
}
TRAINED = {"best_panns_cnn14.pth", "checkpoints/panns_cnn14_epoch_1.pth", "checkpoints/panns_cnn14_epoch_2.pth"}


def in_home(run: RunReader) -> tuple[set[str], set[str]]:
    """The files of the yard, which all lie in the run's home, and which of them are TensorBoard's."""
    home = f"{run.snapshot.home}"
    found = {name.removeprefix(home) for name in files(run.yard) if name.startswith(home)}
    return found, {name for name in found if re.fullmatch(r"events\.out\.tfevents\.\S+", name)}


def test_the_tree_is_that_of_the_document(plain: RunReader) -> None:
    assert re.fullmatch(r"\d{4}-\d\d-\d\d/\d\d-\d\d-\d\d/", plain.snapshot.home)
    found, events = in_home(plain)
    assert len(events) == 1
    assert found - events == TREE | TRAINED
    known = {name.removeprefix(plain.snapshot.home) for name in recorded(plain)}
    assert found - events <= known


def test_the_best_checkpoint_loads_without_our_code(plain: RunReader) -> None:
    whole = torch.load(best_of(plain), weights_only=True)
    assert {"model", "optimizer", "scheduler", "scaler", "rng", "epoch", "step", "metrics", "config"} <= whole.keys()
    assert whole["config"]["model"]["name"] == "panns_cnn14"
    assert whole["model_config"]["id2label"] == {"0": "hum", "1": "cough", "2": "sigh"}
    assert all(isinstance(tensor, torch.Tensor) for tensor in whole["model"].values())


def test_a_checkpoint_is_tested_as_documented(plain: RunReader) -> None:
    """run.train=false run.test=true run.checkpoint_path=…: the same numbers, and no training."""
    asked = ["run.train=false", "run.test=true", f"run.checkpoint_path={best_of(plain)}"]
    tested = trained("spectrogram", [*PLAIN, *asked], plain.yard)
    for split in ("val", "test"):
        path = f"predictions/{split}.csv"
        assert (tested.home / path).read_bytes() == (plain.home / path).read_bytes()
    same = {key for key in plain.snapshot.summary if key.startswith(("val_", "test_"))}
    assert len(same) == 18
    assert {key: tested.snapshot.summary[key] for key in same} == {key: plain.snapshot.summary[key] for key in same}
    found, events = in_home(tested)
    assert not events
    assert found == TREE - {"learning_curves.png"}
    assert tested.snapshot.parents == [
        {"run": plain.snapshot.id, "step": plain.snapshot.summary["best_step"], "role": "initial weights"}
    ]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_predict_and_evaluate_agree_with_the_run(precision: str, tmp_path: Path) -> None:
    sounds = write_bursts(tmp_path / "mouths")
    others = [word for word in PLAIN if word not in BURSTS]
    overrides = ["data=audio_folder", f"data.path={sounds}", *SPLIT, *others, *QUIET, "data.crop=random"]
    overrides += [f"training.precision={precision}", "training.learning_rate=0.03"]
    run = trained("spectrogram", overrides, Yard(tmp_path / "yard", create=True))
    said = numbers(predict_items(run, sounds, device="cpu"))
    for split in ("val", "test"):
        for name, shares in numbers((run.home / f"predictions/{split}.csv").read_text()).items():
            assert said[name] == pytest.approx(shares, abs=1e-6 if precision == "fp32" else 1e-4)
        found = evaluate_run(run, split, device="cpu")
        assert found.metrics == found.recorded


WAYS: dict[str, Sequence[str]] = {
    "everything changed": CHANGED,
    "arcface": ["training.use_arcface=arcface", "model=mobilenet_v2", "model.width=0.1"],
    "circle": ["training.use_arcface=circle"],
    "teacher": ["training.distillation.enabled=true", "augmentations=strong"],
}


@pytest.mark.parametrize("way", WAYS)
def test_resumed_inside_an_epoch_it_ends_with_the_same_bits(way: str, plain: RunReader, tmp_path: Path) -> None:
    overrides = [*SURE, *WAYS[way]]
    if way == "teacher":
        overrides.append(f"training.distillation.teacher_model_path={best_of(plain)}")
    whole = trained("spectrogram", overrides, Yard(tmp_path / "whole", create=True))
    broken = broken_off("spectrogram", overrides, Yard(tmp_path / "broken", create=True), steps=5)
    ended = resumed(broken)
    assert ended.snapshot.attempts[1].resumed_from == 4, "inside the second epoch of three steps"
    assert left_behind(ended) == left_behind(whole)
    bare = trained("spectrogram", SURE, Yard(tmp_path / "bare", create=True))
    assert left_behind(bare)["weights"] != left_behind(whole)["weights"]


def test_killed_it_ends_with_the_same_bits(tmp_path: Path) -> None:
    """In a process of its own, by a signal."""
    said = ["data=vocal_bursts", "model=panns_cnn14", "augmentations=light", *SURE, "data.crop=random"]
    whole = trained("digits", said, Yard(tmp_path / "whole", create=True))
    yard = Yard(tmp_path / "broken" / "yard", create=True)
    assert killing.run(yard.root, said, kill_at_call=260) == -signal.SIGKILL
    (home,) = find_homes(yard)
    broken = RunReader(yard, home)
    assert broken.snapshot.state == "crashed"
    assert 0 < len(broken.snapshot.checkpoints) < 6
    resume(yard, home)
    assert left_behind(again(broken)) == left_behind(whole)


def test_what_a_teacher_taught_outlives_it(plain: RunReader, tmp_path: Path) -> None:
    """A student is measured and exported without its teacher, which its run names as a parent."""
    teacher = tmp_path / "teacher.pth"
    teacher.write_bytes(best_of(plain).read_bytes())
    asked = [*PLAIN, *QUIET, "training.epochs=1", "training.distillation.enabled=true"]
    inside = trained("spectrogram", [*asked, f"training.distillation.teacher_model_path={best_of(plain)}"], plain.yard)
    assert inside.snapshot.parents == [
        {"run": plain.snapshot.id, "step": plain.snapshot.summary["best_step"], "role": "teacher"}
    ]
    student = trained(
        "spectrogram",
        [*asked, f"training.distillation.teacher_model_path={teacher}"],
        Yard(tmp_path / "y", create=True),
    )
    teacher.unlink()
    found = evaluate_run(student, "test", device="cpu")
    assert found.metrics == found.recorded


QAT = [*PLAIN, *QUIET, "model.qat=true", "training.epochs=2", "checkpoint.every_steps=2", "training.learning_rate=1e-2"]


def test_trained_for_int8(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One training, broken off inside its second epoch: the exports, what they say, and the same bits."""
    run = trained("spectrogram", QAT, Yard(tmp_path / "whole", create=True))
    step = run.snapshot.summary["best_step"]
    stem = f"exports/panns_cnn14_qat_step-{step}"
    found, _ = in_home(run)
    made = {f"{stem}.onnx", f"{stem}.json", f"{stem}_int8.onnx", f"{stem}_int8.json", f"{stem}_quantisation.csv"}
    assert {name for name in found if name.startswith("exports/")} == made
    assert {f"{run.snapshot.home}{name}" for name in made} <= recorded(run)
    assert run.snapshot.warnings == []
    with (run.home / f"{stem}_quantisation.csv").open(newline="") as file:
        rows = {row["precision"]: row for row in csv.DictReader(file)}
    assert int(rows["int8"]["size_bytes"]) == (run.home / f"{stem}_int8.onnx").stat().st_size
    assert int(rows["int8"]["size_bytes"]) < int(rows["float32"]["size_bytes"])

    data = load_dataset(from_dict(run.snapshot.config, where="the run"))
    index = data.indices("test")
    test, labels = data.fetch(index), data.labels[index]
    said = np.array(list(numbers((run.home / "predictions/test.csv").read_text()).values()))
    for precision, name in (("float32", f"{stem}.onnx"), ("int8", f"{stem}_int8.onnx")):
        logits = answers(run.home / name, test)
        assert float(rows[precision]["accuracy"]) == pytest.approx(np.mean(logits.argmax(1) == labels))
        if precision == "int8":
            shares = np.exp(logits - logits.max(1, keepdims=True))
            np.testing.assert_allclose(shares / shares.sum(1, keepdims=True), said, atol=0.02)

    again_measured = evaluate_run(run, "test", device="cpu")
    assert again_measured.metrics == again_measured.recorded

    def fails(*arguments: Any, **more: Any) -> None:
        raise TrainyardError("It is not the network.", "Train longer.")

    monkeypatch.setattr("trainyard.export.onnx.export_onnx", fails)
    broken = broken_off("spectrogram", QAT, Yard(tmp_path / "broken", create=True), steps=4)
    assert broken.snapshot.checkpoints[-1].step == 4
    ended = resumed(broken)
    assert left_behind(ended) == left_behind(run)
    (warning,) = ended.snapshot.warnings
    assert warning == "There is no int8 export: It is not the network. Train longer."
    assert not (ended.home / "exports").exists()


def answers(path: Path, inputs: torch.Tensor) -> np.ndarray[Any, Any]:
    """Logits float32 [N, classes] of an ONNX file, by ONNX Runtime alone."""
    import onnxruntime

    running = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    found: np.ndarray[Any, Any] = running.run(None, {running.get_inputs()[0].name: inputs.numpy()})[0]
    return found


def test_an_export_of_a_cosine_head_is_its_model(tmp_path: Path) -> None:
    run = trained(
        "spectrogram",
        [*PLAIN, *QUIET, "training.epochs=1", "training.use_arcface=arcface"],
        Yard(tmp_path / "y", create=True),
    )
    before = run.snapshot.summary
    ((path, told),) = export_run(run, "onnx")
    assert path.name == "panns_cnn14_step-3.onnx"
    assert "items" in told
    data = load_dataset(from_dict(run.snapshot.config, where="the run"))
    logits = answers(path, data.fetch(data.indices("test")))
    shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    said = np.array(list(numbers((run.home / "predictions/test.csv").read_text()).values()))
    np.testing.assert_allclose(shares, said, atol=1e-5)
    assert np.abs(logits).max() <= 30.001, "scale times a cosine"
    assert again(run).snapshot.summary == before
    with pytest.raises(TrainyardError) as caught:
        export_run(run, "int8")
    assert caught.value.value == "int8"
    assert "model.qat=true" in caught.value.remedy


def test_a_checkpoint_is_not_tested_on_classes_that_are_not_its_own(plain: RunReader, tmp_path: Path) -> None:
    classes = plain.snapshot.data["classes"]
    asked = [*PLAIN, "run.train=false", f"run.checkpoint_path={best_of(plain)}"]
    turned = f"data.classes=[{','.join(reversed(classes))}]"
    for other, says in (
        (turned, f"in another order: output 0 is {classes[0]!r} for the checkpoint and {classes[-1]!r} in the data"),
        (f"data.classes=[{','.join([*classes[:-1], 'yawn'])}]", "'yawn'"),
    ):
        with pytest.raises(TrainyardError, match=f"run.checkpoint_path.*{says}"):
            trained("spectrogram", [*asked, other], Yard(tmp_path / "y", create=True))
    assert list(find_homes(Yard(tmp_path / "y"))) == []
    assert trained("spectrogram", [*asked, turned, "run.train=true", "training.epochs=1"], Yard(tmp_path / "y"))


def test_weights_that_do_not_fit_are_refused_before_anything_is_written(plain: RunReader, tmp_path: Path) -> None:
    wider = [*PLAIN, "model.width=2", f"run.checkpoint_path={best_of(plain)}"]
    with pytest.raises(TrainyardError) as caught:
        trained("spectrogram", wider, Yard(tmp_path / "y", create=True))
    assert "model.*" in caught.value.remedy
    assert list(find_homes(Yard(tmp_path / "y"))) == []
