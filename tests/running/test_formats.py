"""What a run leaves is read by the tools that people have, none of them ours."""

from __future__ import annotations

import json
import math
import os
import shutil
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pandas
import pytest
import torch
import yaml
from omegaconf import OmegaConf
from PIL import Image
from safetensors.torch import load_file
from tiny_networks import FrozenBackbone
from torch import nn

from trainyard import durable
from trainyard.checkpoints import FORMATS, commit, problems
from trainyard.config.compose import compose
from trainyard.errors import Interrupted
from trainyard.layouts import LAYOUTS
from trainyard.retention import KeepPolicy, apply, rotate
from trainyard.retention.cleaning import clean_checkpoints
from trainyard.running.resume import resume
from trainyard.running.train import train
from trainyard.runs import RunReader, RunWriter, Yard, find_homes
from trainyard.training.checkpoint.capture import Capture, Trainee, rng_state
from trainyard.training.checkpoint.read import load
from trainyard.training.checkpoint.write import encode
from trainyard.training.progress import Progress
from trainyard.upkeep.verify import Tally, verify_yard

Trained = Callable[[str], RunReader]
CPU = torch.device("cpu")


def files(run: RunReader, *suffixes: str) -> list[Path]:
    found = [p for p in run.yard.root.rglob("*") if p.is_file() and p.suffix in suffixes and ".yard" not in p.parts]
    assert found, f"no {suffixes} in layout {run.snapshot.layout}"
    return sorted(found)


# -- weights


def test_safetensors_opens_the_model(trained: Trained) -> None:
    run = trained("grouped")
    for checkpoint in run.snapshot.checkpoints:
        path = run.resolve(checkpoint.paths["checkpoint"])
        tensors = load_file(path / "model.safetensors")
        assert {name: tuple(t.shape) for name, t in tensors.items()} == {
            "hidden.0.weight": (16, 64),
            "hidden.0.bias": (16,),
            "classifier.weight": (10, 16),
            "classifier.bias": (10,),
        }
        assert all(torch.isfinite(t).all() for t in tensors.values())


@pytest.mark.parametrize("layout", LAYOUTS)
def test_torch_loads_every_file_of_its_own_without_pickles(trained: Trained, layout: str) -> None:
    for path in files(trained(layout), ".pt", ".pth", ".bin"):
        torch.load(path, weights_only=True)


def test_a_single_file_holds_what_the_systems_document(trained: Trained) -> None:
    run = trained("trials")
    for path in files(run, ".pt"):
        whole = torch.load(path, weights_only=True)
        assert {"run_config", "metrics", "model", "optimizer", "scheduler", "scaler", "rng"} <= set(whole)
        assert whole["run_config"]["model"]["name"] == "mlp"


def test_an_optimizer_of_torchs_takes_the_saved_state(trained: Trained) -> None:
    run = trained("files")
    path = run.resolve(run.snapshot.checkpoints[-1].paths["checkpoint"])
    weights = torch.load(path / "pytorch_model.bin", weights_only=True)
    optimizer = torch.optim.AdamW([nn.Parameter(weight) for weight in weights.values()])
    optimizer.load_state_dict(torch.load(path / "optimizer.pt", weights_only=True))
    assert optimizer.state_dict()["state"][0]["step"] == run.snapshot.step


# -- transformers


def test_transformers_reads_the_trainer_state(trained: Trained) -> None:
    from transformers import TrainerState

    run = trained("grouped")
    for checkpoint in run.snapshot.checkpoints:
        path = run.resolve(checkpoint.paths["checkpoint"])
        state = TrainerState.load_from_json(str(path / "trainer_state.json"))
        assert state.global_step == checkpoint.step
        assert state.epoch == pytest.approx(checkpoint.epoch, abs=0.2)
        history = state.log_history
        assert [row["step"] for row in history] == sorted(row["step"] for row in history)
        assert all(isinstance(row["epoch"], float) and isinstance(row["step"], int) for row in history)
        for row in history:
            assert ("loss" in row) != ("eval_loss" in row), (
                "either of training or of an evaluation, as the Trainer does"
            )
    assert [row["step"] for row in history if "loss" in row] == list(range(7, 41, 7))
    assert [row["step"] for row in history if "eval_loss" in row] == [20, 40]
    assert state.best_metric == min(row["eval_loss"] for row in history if "eval_loss" in row)
    assert (run.yard.root / str(state.best_model_checkpoint)).is_dir()


def tiny_bert() -> Any:
    from transformers import BertConfig, BertForSequenceClassification

    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=200,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=32,
        num_labels=3,
        architectures=["BertForSequenceClassification"],
    )
    return BertForSequenceClassification(config).eval()


def trainee_of(model: nn.Module, config: dict[str, Any] | None = None) -> Trainee:
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], 1e-2)
    return Trainee(model, optimizer, None, torch.amp.GradScaler("cpu", enabled=False), CPU, config or {}, {})


def save(run: RunWriter, capture: Capture, step: int) -> Path:
    """A checkpoint as training commits it."""
    files_ = encode(
        capture,
        capture.take(),
        Progress(step=step, epoch=step).to_dict(),
        [rng_state(CPU)],
        format_=FORMATS[run.layout.checkpoint_format],
        step=step,
        epoch=float(step),
        metrics={"val_loss": 1 / step},
        best_checkpoint=None,
    )
    checkpoint = commit(
        run,
        files_.writers,
        step=step,
        epoch=float(step),
        metrics={"val_loss": 1 / step},
        linked=files_.linked,
        expected_bytes=files_.expected_bytes,
    )
    return run.yard.root / checkpoint.paths["checkpoint"]


@pytest.mark.parametrize("frozen", [True, False])
def test_from_pretrained_loads_a_frozen_encoder_from_two_shards(new_run: Any, frozen: bool) -> None:
    from transformers import BertForSequenceClassification

    model = tiny_bert()
    if frozen:
        for parameter in model.bert.parameters():
            parameter.requires_grad_(False)
    run = new_run()
    trainee = trainee_of(model, model.config.to_dict())
    capture = Capture(trainee, run.yard.objects)
    tokens = torch.arange(20).reshape(2, 10)
    for step in (1, 2):
        with torch.no_grad():
            model.classifier.weight += 0.1  # what training does
        path = save(run, capture, step)
    names = {p.name for p in path.glob("model*")}
    if frozen:
        assert names == {"model-frozen.safetensors", "model-trained.safetensors", "model.safetensors.index.json"}
        assert (path / "model-frozen.safetensors").stat().st_nlink == 3, "two checkpoints and the object"
    else:
        assert names == {"model.safetensors"}
    loaded, info = BertForSequenceClassification.from_pretrained(path, output_loading_info=True)
    assert not any(info.values()), info
    with torch.no_grad():
        assert torch.equal(loaded.eval()(tokens).logits, model(tokens).logits)


# -- disk


def disk_bytes(paths: Iterable[Path]) -> int:
    """As `du` counts: blocks, each inode once."""
    inodes = {}
    for root in paths:
        for folder, _, names in os.walk(root):
            for name in names:
                status = os.stat(Path(folder, name))
                inodes[status.st_dev, status.st_ino] = status.st_blocks * 512
    return sum(inodes.values())


def trained_part(model: nn.Module) -> int:
    return sum(p.nbytes for p in model.parameters() if p.requires_grad)


def move(trainee: Trainee) -> None:
    """A training step of sorts: every trained weight changes, and the optimizer has its state."""
    for group in trainee.optimizer.param_groups:
        for parameter in group["params"]:
            parameter.grad = torch.full_like(parameter, 0.5)
    trainee.optimizer.step()


@pytest.mark.parametrize("optimizer", ["all", "last"])
def test_frozen_weights_take_room_once(new_run: Any, optimizer: Any) -> None:
    """Ten checkpoints are the frozen weights once and what was trained ten times; nothing else to speak of."""
    run = new_run()
    model = FrozenBackbone(width=1024)
    trainee = trainee_of(model)
    capture = Capture(trainee, run.yard.objects)
    whole = sum(p.nbytes for p in model.parameters())
    trained = trained_part(model)
    assert trained / whole == pytest.approx(0.1, abs=0.02), "nine tenths are frozen"
    for step in range(1, 11):
        move(trainee)
        save(run, capture, step)
        rotate(run, KeepPolicy(last=None, optimizer=optimizer), monitor="val_loss", mode="min")
    assert len(run.snapshot.checkpoints) == 10
    used = disk_bytes([run.home, run.yard.own])
    moments = 10 if optimizer == "all" else 2  # the newest, and what was taken out last, in the trash
    expected = (whole - trained) + 10 * trained + moments * 2 * trained
    assert used == pytest.approx(expected, rel=0.03)


def test_ten_checkpoints_of_a_frozen_encoder_take_little_more_than_one(new_run: Any) -> None:
    """A linear probe, or LoRA: of the order of a hundredth is trained."""
    run = new_run()
    model = FrozenBackbone(width=1024)
    model.head = nn.Linear(1024, 5)
    trainee = trainee_of(model)
    capture = Capture(trainee, run.yard.objects)
    whole = sum(p.nbytes for p in model.parameters())
    assert trained_part(model) / whole < 0.01
    paths = []
    for step in range(1, 11):
        move(trainee)
        paths.append(save(run, capture, step))
    used = disk_bytes([run.home, run.yard.own])
    assert used <= 1.2 * whole
    assert used >= 1.0 * whole
    assert sum(disk_bytes([path]) for path in paths) > 9 * whole, "each of them is whole by itself"


def test_deleting_nine_leaves_the_tenth_whole(new_run: Any) -> None:
    run = new_run()
    model = FrozenBackbone(width=256)
    trainee = trainee_of(model)
    capture = Capture(trainee, run.yard.objects)
    for step in range(1, 11):
        move(trainee)
        save(run, capture, step)
    run.abandon()
    yard = run.yard
    reader = RunReader(yard, run.home)
    apply(yard, clean_checkpoints(yard, [reader], KeepPolicy(last=1, best=1)))
    reader = RunReader(yard, run.home)
    (left,) = reader.snapshot.checkpoints
    assert left.step == 10
    assert problems(reader, left) == []
    expected = {name: tensor.detach() for name, tensor in model.state_dict().items()}
    loaded = load(reader.resolve(left.paths["checkpoint"])).model
    assert loaded.keys() == expected.keys()
    assert all(torch.equal(loaded[name], expected[name]) for name in expected)


def test_a_yard_copied_without_hard_links_is_whole(new_run: Any, tmp_path: Path) -> None:
    run = new_run()
    model = FrozenBackbone(width=256)
    trainee = trainee_of(model)
    capture = Capture(trainee, run.yard.objects)
    for step in (1, 2, 3):
        move(trainee)
        save(run, capture, step)
    run.finish()
    copied = tmp_path / "copied"
    shutil.copytree(run.yard.root, copied)
    assert not [p for p in copied.rglob("*") if p.is_file() and p.stat().st_nlink > 1]
    yard = Yard(copied)
    tally = Tally()
    assert list(verify_yard(yard, tally)) == []
    assert tally.checkpoints == 3
    (home,) = find_homes(yard)
    loaded = load(RunReader(yard, home).locate(RunReader(yard, home).snapshot.checkpoints[-1]))  # type: ignore[arg-type]
    assert all(torch.equal(loaded.model[name], tensor) for name, tensor in model.state_dict().items())


def test_one_plain_file_where_that_is_wanted(new_run: Any) -> None:
    run = new_run()
    model = FrozenBackbone(width=256)
    path = save(run, Capture(trainee_of(model), run.yard.objects, single_file=True), 1)
    assert [p.name for p in path.glob("model*")] == ["model.safetensors"]
    tensors = load_file(path / "model.safetensors")
    assert all(torch.equal(tensors[name], tensor) for name, tensor in model.state_dict().items())


# -- TensorBoard


def scalars(directory: Path) -> dict[str, list[tuple[int, float]]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tensorboard's own
        events = EventAccumulator(str(directory), size_guidance={"scalars": 0})
        events.Reload()
        return {tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def in_history(run: RunReader) -> dict[str, list[tuple[int, float]]]:
    found: dict[str, list[tuple[int, float]]] = {}
    for row in run.history():
        for key, value in row.items():
            if key not in ("step", "epoch", "split", "time"):
                found.setdefault(f"{row['split']}/{key}", []).append((row["step"], pytest.approx(value, rel=1e-6)))
    return found


@pytest.mark.parametrize("layout", LAYOUTS)
def test_tensorboard_reads_our_scalars(trained: Trained, layout: str) -> None:
    run = trained(layout)
    path = run.yard.root / run.layout.path("tensorboard", run.snapshot.facts)
    found = scalars(path)
    assert found == in_history(run)
    assert len(found["val/loss"]) == 2
    assert [step for step, _ in found["train/step_loss"]] == [7, 14, 21, 28, 35]


def test_tensorboard_has_no_step_twice_after_a_resume(tmp_path: Path, small: list[str], monkeypatch: Any) -> None:
    """The first attempt went beyond the checkpoint that the second one starts from."""
    from trainyard.running import attempt

    class Crash(BaseException):
        pass

    real = attempt._fit

    def crashing(setup: Any, checkpointer: Any, sinks: Any, progress: Any, asked: Any) -> None:
        class Bomb:
            def emit(self, event: Any) -> None:
                if event.step >= 35:
                    raise Crash

            def close(self) -> None:
                pass

        real(setup, checkpointer, [*sinks, Bomb()], progress, asked)

    overrides = [*small, "checkpoint.every_steps=null"]
    monkeypatch.setattr(attempt, "_fit", crashing)
    with pytest.raises(Crash):
        train(compose("digits", overrides), tmp_path / "yard")
    yard = Yard(tmp_path / "yard")
    (home,) = find_homes(yard)
    before = scalars(home / "tensorboard")
    assert [step for step, _ in before["train/step_loss"]] == [7, 14, 21, 28, 35]
    monkeypatch.undo()
    resume(yard, home)
    run = RunReader(yard, home)
    assert run.snapshot.attempts[-1].resumed_from == 20
    assert scalars(home / "tensorboard") == in_history(run)


# -- tables and texts


@pytest.mark.parametrize("layout", LAYOUTS)
def test_pandas_reads_every_csv(trained: Trained, layout: str) -> None:
    run = trained(layout)
    for path in files(run, ".csv"):
        frame = pandas.read_csv(path)
        assert len(frame), path
        assert not frame.columns.str.startswith("Unnamed").any(), path
    history = pandas.read_csv(next(p for p in files(run, ".csv") if p.name == "history.csv"))
    rows = run.history()
    assert len(history) == len(rows)
    for split, key in (("val", "loss"), ("val", "accuracy"), ("train", "step_loss")):
        column = history[history["split"] == split][key].dropna().tolist()
        assert column == [row[key] for row in rows if row["split"] == split and key in row]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_predictions_give_the_accuracy_that_was_reported(trained: Trained, layout: str) -> None:
    run = trained(layout)
    records = {r.facts["split"]: r for r in run.snapshot.records if r.kind == "final_predictions"}
    assert set(records) == {"val", "test"}
    for split, record in records.items():
        frame = pandas.read_csv(run.resolve(record.path), keep_default_na=False)
        accuracy = (frame["true_label"] == frame["pred_label"]).mean()
        assert accuracy == pytest.approx(run.snapshot.summary[f"{split}_accuracy"])
        probabilities = frame.filter(regex="^pred_prob_")
        assert probabilities.shape[1] == 10
        assert (probabilities.sum(axis=1) - 1).abs().max() < 1e-5
        best = probabilities.to_numpy().argmax(axis=1)
        assert (best == frame["pred_label"]).all()
        assert frame["id"].is_unique
        picked = -probabilities.to_numpy()[range(len(frame)), frame["true_label"]].clip(1e-9)
        loss = sum(-math.log(-p) for p in picked) / len(frame)
        assert loss == pytest.approx(run.snapshot.summary[f"{split}_loss"], rel=1e-4)


def test_validation_predictions_of_every_epoch(trained: Trained) -> None:
    run = trained("grouped")
    history = [row for row in run.history() if row["split"] == "val"]
    for epoch, row in enumerate(history, 1):
        frame = pandas.read_csv(run.home / f"predictions/val_epoch{epoch}.csv")
        assert (frame["true_label"] == frame["pred_label"]).mean() == pytest.approx(row["accuracy"])


def test_the_projects_table_has_a_row_a_run_and_split(trained: Trained) -> None:
    run = trained("grouped")
    frame = pandas.read_csv(run.yard.root / "demo/metrics.csv")
    assert frame["split"].tolist() == ["val", "test"]
    assert set(frame["run"]) == {"mlp"}
    assert frame["accuracy"].tolist() == [run.snapshot.summary[f"{s}_accuracy"] for s in ("val", "test")]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_json_reads_every_json(trained: Trained, layout: str) -> None:
    run = trained(layout)
    for path in files(run, ".json"):
        json.loads(path.read_text(encoding="utf-8"))
    for path in files(run, ".jsonl"):
        for line in path.read_text(encoding="utf-8").splitlines():
            json.loads(line)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_yaml_reads_every_yaml(trained: Trained, layout: str) -> None:
    run = trained(layout)
    parsed = [yaml.safe_load(path.read_text(encoding="utf-8")) for path in files(run, ".yaml")]
    assert all(parsed)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_images_open(trained: Trained, layout: str) -> None:
    for path in files(trained(layout), ".png"):
        with Image.open(path) as image:
            image.load()
            assert min(image.size) > 100


def test_results_json_is_an_array_of_epochs(trained: Trained) -> None:
    run = trained("trials")
    results = json.loads((run.home / "results.json").read_text())
    assert [row["current_epoch"] for row in results] == [1, 2]
    wanted = {
        "train_loss",
        "val_loss",
        "best_iteration",
        "best_loss",
        "current_epoch",
        "current_iteration",
        "epochs",
        "learning_rate",
        "total_steps",
    }
    for row in results:
        assert wanted <= set(row)
        assert (row["epochs"], row["total_steps"]) == (2, 40)
    metadata = json.loads((run.home / "metadata.json").read_text())
    assert metadata["checkpoint_iteration"]["recent"] == 40
    assert {"log_iteration", "checkpoint_iteration"} == set(metadata)


def test_the_files_layout_has_the_shapes_of_wandb(trained: Trained) -> None:
    run = trained("files")
    config = yaml.safe_load((run.home / "files/config.yaml").read_text())
    assert all(set(entry) == {"value"} for entry in config.values())
    assert config["training"]["value"]["epochs"] == 2
    metadata = json.loads((run.home / "files/wandb-metadata.json").read_text())
    for key in ("os", "python", "torch", "transformers", "cuda", "gpu", "git"):
        assert key in metadata, key
    assert metadata["torch"] == torch.__version__.split("+")[0] or metadata["torch"] == torch.__version__
    summary = json.loads((run.home / "files/wandb-summary.json").read_text())
    assert summary["test_accuracy"] == run.snapshot.summary["test_accuracy"]
    assert summary["best_epoch"] in (1, 2)
    requirements = (run.home / "files/requirements.txt").read_text().splitlines()
    assert any(line.lower().startswith("torch==") for line in requirements)


def test_the_dated_layout_has_the_files_of_hydra(trained: Trained, small: list[str]) -> None:
    run = trained("dated")
    config = OmegaConf.load(run.home / ".hydra/config.yaml")
    assert config.training.epochs == 2
    assert list(OmegaConf.load(run.home / ".hydra/overrides.yaml")) == [*small, "layout=dated"]
    hydra = OmegaConf.load(run.home / ".hydra/hydra.yaml").hydra
    assert list(hydra.overrides.task) == [*small, "layout=dated"]


def test_the_saved_config_trains_the_same_run_again(trained: Trained, tmp_path: Path) -> None:
    run = trained("grouped")
    again = train(compose(str(run.home / "config.yaml"), []), tmp_path / "yard")
    assert again is not None
    other = RunReader(Yard(tmp_path / "yard"), again)
    assert other.snapshot.summary == run.snapshot.summary
    assert {**other.snapshot.config, "recipe": "digits"} == run.snapshot.config


def test_everything_that_is_recorded_has_its_digest(trained: Trained) -> None:
    for layout in LAYOUTS:
        run = trained(layout)
        for record in run.snapshot.records:
            path = run.resolve(record.path)
            assert path.exists(), record
            if record.sha256 is not None:
                assert durable.sha256_file(path) == record.sha256, record
        assert list(verify_yard(run.yard, Tally())) == []


def test_a_stopped_run_leaves_readable_files_too(tmp_path: Path, small: list[str], monkeypatch: Any) -> None:
    from trainyard.running import attempt

    def stopped(*_: Any) -> None:
        raise Interrupted("Stopped on request.")

    monkeypatch.setattr(attempt, "_fit", stopped)
    with pytest.raises(Interrupted):
        train(compose("digits", [*small, "layout=files"]), tmp_path / "yard")
    (home,) = find_homes(Yard(tmp_path / "yard"))
    assert RunReader(Yard(tmp_path / "yard"), home).snapshot.state == "stopped"
    assert yaml.safe_load((home / "files/config.yaml").read_text())["training"]["value"]["epochs"] == 2
