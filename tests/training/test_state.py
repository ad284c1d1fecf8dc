from __future__ import annotations

import copy
import json
import os
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import nn
from toy_training import CPU, Toy, adamw, bits, linear, restless_toy, toy_dataset

from trainyard.checkpoints import FORMATS, commit
from trainyard.errors import CheckpointError, DiskFullError
from trainyard.objects import Objects
from trainyard.testing import faults
from trainyard.testing.tiny import FrozenBackbone
from trainyard.training.encoding import encode
from trainyard.training.loading import load
from trainyard.training.loop import Plan
from trainyard.training.progress import Progress
from trainyard.training.state import Capture, Trainee, load_weights, restore, restore_rng, rng_state, seed_everything
from trainyard.training.tensor_files import safetensors_file, torch_file

PLAN = Plan(epochs=2, scheduler_interval="step")


def draw() -> list[Any]:
    return [
        random.random(), random.gauss(0, 1), np.random.rand(), np.random.standard_normal(), float(torch.rand(())),
        float(torch.randn(())),
    ]  # fmt: skip


@pytest.mark.parametrize("drawn", [0, 1, 2, 700])
def test_every_generator_goes_on_where_it_stood(drawn: int, tmp_path: Path) -> None:
    """Half-used pairs of normal numbers are part of it; through a file that loads without pickles."""
    seed_everything(3)
    for _ in range(drawn):
        random.gauss(0, 1), np.random.standard_normal(), torch.randn(3)
    torch.save(rng_state(CPU), tmp_path / "rng.pth")
    expected = [draw() for _ in range(3)]
    seed_everything(99)
    restore_rng(torch.load(tmp_path / "rng.pth", weights_only=True), CPU)
    assert [draw() for _ in range(3)] == expected


def test_ranks_draw_different_numbers() -> None:
    drawn = []
    for rank in (0, 1):
        seed_everything(3, rank)
        drawn.append(draw())
    assert all(a != b for a, b in zip(*drawn, strict=True))


def trainee(model: nn.Module, **options: Any) -> Trainee:
    toy = Toy(model, adamw_of_trained(model))
    return Trainee(model, toy.optimizer, None, toy.step.scaler, CPU, {"name": "toy"}, {"a": 1}, **options)


def adamw_of_trained(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], 0.01, fused=True)


def one_step(one: Trainee) -> None:
    one.optimizer.zero_grad()
    one.model(torch.ones(4, 6)).square().sum().backward()
    one.optimizer.step()


def written(one: Trainee, run: Any, step: int = 1, capture: Capture | None = None) -> Path:
    """A checkpoint of `one` as training commits it."""
    capture = capture or Capture(one, run.yard.objects)
    files = encode(
        capture, capture.take(), Progress(step=step, epoch=1).to_dict(), [rng_state(CPU)],
        format_=FORMATS[run.layout.checkpoint_format], step=step, epoch=float(step), metrics={"val_loss": 0.5},
        best_checkpoint=None,
    )  # fmt: skip
    checkpoint = commit(
        run, files.writers, step=step, epoch=float(step), linked=files.linked, expected_bytes=files.expected_bytes
    )
    return run.yard.root / checkpoint.paths["checkpoint"]


@pytest.mark.parametrize("layout", ["grouped", "shared", "files"])
def test_a_training_goes_on_from_its_files_to_the_bit(new_run, layout: str) -> None:
    """hf, pth and hf-bin: whatever is in the state comes back from disk as it was."""
    run = new_run(layout)
    whole = restless_toy()
    whole.run(PLAN)
    first = restless_toy()
    paths: list[Path] = []

    def keep(request: Any) -> None:
        capture = Capture(first.trainee, run.yard.objects)
        files = encode(
            capture, capture.take(), request.progress.to_dict(), [rng_state(CPU)],
            format_=FORMATS[run.layout.checkpoint_format], step=request.progress.step, epoch=request.epoch,
            metrics=request.metrics, best_checkpoint=None,
        )  # fmt: skip
        checkpoint = commit(
            run, files.writers, step=request.progress.step, epoch=request.epoch, inside_epoch=request.inside_epoch
        )
        paths.append(run.yard.root / checkpoint.paths["checkpoint"])

    first.keep = keep  # type: ignore[method-assign]
    first.run(Plan(epochs=2, save_every_steps=7, scheduler_interval="step"))
    assert len(paths) == 4
    for path in paths:
        resumed = restless_toy()
        resumed.progress = restore(resumed.trainee, load(path), str(path))
        resumed.run(PLAN)
        assert bits(resumed.model.state_dict()) == bits(whole.model.state_dict())
        assert resumed.progress.to_dict() == whole.progress.to_dict()


def test_what_was_captured_stays_as_it_was_while_training_goes_on() -> None:
    model = nn.Sequential(nn.Linear(6, 3), nn.BatchNorm1d(3))
    one = trainee(model)
    one_step(one)
    before = bits(model.state_dict()), bits(one.optimizer.state_dict())
    taken = Capture(one, Objects(Path())).take()
    for _ in range(3):
        one_step(one)
    assert bits(taken["model"]) == before[0] != bits(model.state_dict())
    assert bits(taken["optimizer"]) == before[1] != bits(one.optimizer.state_dict())


def test_memory_is_used_again_and_frozen_weights_are_not_copied() -> None:
    model = FrozenBackbone(input_size=6)
    one = trainee(model)
    one_step(one)
    capture = Capture(one, Objects(Path()))
    taken = capture.take()
    places = {name: tensor.data_ptr() for name, tensor in taken["model"].items()}
    one_step(one)
    again = capture.take()
    assert {name: tensor.data_ptr() for name, tensor in again["model"].items()} == places
    own = {name: tensor.data_ptr() for name, tensor in model.state_dict().items()}
    for name in own:
        assert (places[name] == own[name]) == name.startswith("backbone"), name


def test_frozen_weights_are_written_once_until_they_change(new_run) -> None:
    run = new_run()
    model = FrozenBackbone(input_size=6, width=160)
    one = trainee(model)
    capture = Capture(one, run.yard.objects)
    shards = []
    for step in (1, 2, 3):
        if step == 3:
            with torch.no_grad():
                model.backbone[0].bias += 1.0  # someone loads other weights into it
        one_step(one)
        path = written(one, run, step, capture)
        shards.append((path / "model-frozen.safetensors").stat().st_ino)
        assert bits(load(path).model) == bits(dict(model.state_dict()))
    assert shards[0] == shards[1] != shards[2]
    assert (path / "model-frozen.safetensors").stat().st_nlink == 2


def test_few_frozen_weights_or_a_single_file_make_one_file(new_run) -> None:
    run = new_run()
    small = trainee(FrozenBackbone(input_size=6, width=16))
    path = written(small, run, 1)
    assert (path / "model.safetensors").exists()
    large = trainee(FrozenBackbone(input_size=6, width=160))
    path = written(large, run, 2, Capture(large, run.yard.objects, single_file=True))
    assert sorted(p.name for p in path.glob("model*")) == ["model.safetensors"]
    assert bits(load_file(path / "model.safetensors")) == bits(dict(large.model.state_dict()))


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(6, 6, bias=False), nn.Linear(6, 6, bias=False)
        self.second.weight = self.first.weight

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.second(self.first(inputs))


@pytest.mark.parametrize("layout", ["grouped", "shared", "files"])
def test_tied_weights_are_kept_once_and_come_back_tied(new_run, layout: str) -> None:
    one = trainee(Tied())
    one_step(one)
    path = written(one, new_run(layout))
    loaded = load(path)
    assert list(loaded.model) == ["first.weight"]
    other = Tied()
    load_weights(other, loaded.model, "there")
    assert bits(other.state_dict()) == bits(one.model.state_dict())
    assert other.first.weight is other.second.weight


def test_views_of_one_tensor_and_transposed_weights_are_written(new_run) -> None:
    """safetensors refuses shared memory and strides; what is copied has neither."""
    model = linear()
    model[0].weight = nn.Parameter(model[0].weight.data.t().contiguous().t())
    assert not model[0].weight.is_contiguous()
    one = trainee(model)
    path = written(one, new_run())
    torch.testing.assert_close(load(path).model["0.weight"], model[0].weight.detach(), rtol=0, atol=0)


def test_every_file_of_torch_loads_without_pickles(new_run) -> None:
    for layout in ("grouped", "files", "shared"):
        path = written(trainee(linear()), new_run(layout))
        files = [path] if path.is_file() else [f for f in path.iterdir() if f.suffix in (".pt", ".pth", ".bin")]
        assert files
        for file in files:
            torch.load(file, weights_only=True)


def test_safetensors_say_that_they_are_torchs(new_run) -> None:
    """transformers refuses files whose metadata does not."""
    path = written(trainee(linear()), new_run())
    with safe_open(path / "model.safetensors", "pt") as file:
        assert file.metadata() == {"format": "pt"}


# -- what does not fit


def test_weights_that_do_not_fit_are_named() -> None:
    model = linear()
    weights = dict(model.state_dict())
    good = bits(weights)
    cases = {
        "1 missing (0.weight)": {k: v for k, v in weights.items() if k != "0.weight"},
        "1 unexpected (extra)": {**weights, "extra": torch.zeros(1)},
        "0.weight is (2, 2), the model's is (5, 6)": {**weights, "0.weight": torch.zeros(2, 2)},
    }
    for message, bad in cases.items():
        with pytest.raises(CheckpointError) as caught:
            load_weights(model, bad, "somewhere")
        assert message in caught.value.what
        assert "somewhere" in caught.value.what
        assert bits(dict(model.state_dict())) == good, "nothing was loaded"


def test_a_checkpoint_without_optimizer_state_cannot_be_resumed(new_run) -> None:
    one = trainee(linear())
    path = written(one, new_run())
    (path / "optimizer.pt").unlink()
    with pytest.raises(CheckpointError, match="no optimizer state"):
        restore(one, load(path), str(path))


@pytest.mark.parametrize("layout", ["grouped", "shared", "files"])
@pytest.mark.parametrize("damage", ["empty", "half", "noise"])
def test_an_unreadable_checkpoint_is_named(new_run, layout: str, damage: str) -> None:
    path = written(trainee(linear()), new_run(layout))
    files = [path] if path.is_file() else [p for p in path.iterdir() if p.name != "manifest.json"]
    for file in files:
        data = file.read_bytes()
        os.unlink(file)
        file.write_bytes({"empty": b"", "half": data[: len(data) // 2], "noise": os.urandom(len(data))}[damage])
    with pytest.raises(CheckpointError, match=path.name):
        load(path)


def test_a_file_of_something_else_is_no_checkpoint(tmp_path: Path) -> None:
    torch.save({"weights": 1}, tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match="no entry 'model'"):
        load(tmp_path / "other.pth")
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointError, match="no model weights"):
        load(tmp_path / "empty")


class Payload:
    def __reduce__(self) -> Any:
        return os.mkdir, ("PWNED",)


def test_a_checkpoint_runs_no_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"model": Payload()}, tmp_path / "evil.pth")
    with pytest.raises(CheckpointError):
        load(tmp_path / "evil.pth")
    assert not (tmp_path / "PWNED").exists()


# -- a full disk


@pytest.mark.parametrize("saver", ["torch", "safetensors", "object"])
def test_a_disk_that_fills_up_under_a_library_is_called_full(tmp_path: Path, saver: str) -> None:
    """torch and safetensors write by themselves, and wrap what the system says."""
    (tmp_path / "disk").mkdir()
    tensors = {"w": torch.zeros(3 << 18)}
    save = {
        "torch": lambda disk: torch_file(tensors)(disk / "w.pt"),
        "safetensors": lambda disk: safetensors_file(tensors)(disk / "w.safetensors"),
        "object": lambda disk: Objects(disk).create(safetensors_file(tensors)),
    }[saver]
    try:
        with faults.tmpfs(tmp_path / "disk", 1) as disk, pytest.raises(DiskFullError, match="disk is full"):
            save(disk)
    except faults.NotPermittedError as error:
        pytest.skip(str(error))


def test_other_errors_of_the_savers_stay_as_they_are(tmp_path: Path) -> None:
    with pytest.raises(AttributeError):
        torch_file(lambda: None)(tmp_path / "x.pt")
    with pytest.raises(FileNotFoundError):
        torch_file(1)(tmp_path / "none" / "x.pt")


# -- transformers' trainer_state.json


def test_the_trainer_state_says_where_the_training_stands(new_run) -> None:
    toy = restless_toy()
    toy.run(Plan(epochs=2, log_every=5, scheduler_interval="step"))
    run = new_run()
    capture = Capture(toy.trainee, run.yard.objects)
    files = encode(
        capture, capture.take(), toy.progress.to_dict(), [rng_state(CPU)], format_=FORMATS["hf"], step=20, epoch=2.0,
        metrics={}, best_checkpoint="x/checkpoint-10",
    )  # fmt: skip
    commit(run, files.writers, step=20, epoch=2.0)
    state = json.loads((run.path("checkpoint", step=20, epoch=2) / "trainer_state.json").read_bytes())
    assert (state["global_step"], state["epoch"]) == (20, 2.0)
    assert state["best_metric"] == toy.progress.best.value
    assert state["best_global_step"] == toy.progress.best.step
    assert state["best_model_checkpoint"] == "x/checkpoint-10"
    assert [row["step"] for row in state["log_history"]] == [5, 10, 10, 15, 20, 20]


def test_capturing_does_not_move_a_generator() -> None:
    toy = Toy(linear(), adamw(linear()), dataset=toy_dataset())
    before = bits(rng_state(CPU))
    Capture(toy.trainee, Objects(Path())).take()
    assert bits(rng_state(CPU)) == before
    assert copy.deepcopy(before) == before
