from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from tiny_networks import FrozenBackbone
from torch import nn
from toy_training import CPU, bits, linear, one_step, restless_toy, trainee, written

from trainyard.checkpoints import FORMATS, commit
from trainyard.metric import as_text
from trainyard.training.checkpoint.capture import Capture, rng_state
from trainyard.training.checkpoint.read import load
from trainyard.training.checkpoint.restore import load_weights, restore
from trainyard.training.checkpoint.write import encode
from trainyard.training.loop import Plan

PLAN = Plan(epochs=2, scheduler_interval="step")


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
            capture,
            capture.take(),
            request.progress.to_dict(),
            [rng_state(CPU)],
            format_=FORMATS[run.layout.checkpoint_format],
            step=request.progress.step,
            epoch=request.epoch,
            metrics=as_text(request.metrics),
            best_checkpoint=None,
        )
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


@pytest.mark.parametrize(("trained", "shared"), [(500, True), (600, False)])
def test_frozen_weights_are_shared_from_half_of_the_model_on(new_run, trained: int, shared: bool) -> None:
    """As in full fine-tuning of a speech encoder, whose convolutions alone are frozen: that is one file."""
    model = nn.Sequential(nn.Linear(6, 500), nn.Linear(500, 100), nn.Linear(100, trained))  # 53,600 weights frozen
    for layer in (model[0], model[1]):
        layer.requires_grad_(False)
    path = written(trainee(model), new_run())
    assert (path / "model-frozen.safetensors").exists() == shared
    assert (path / "model.safetensors").exists() != shared
    assert bits(load(path).model) == bits(dict(model.state_dict()))


class FrozenTied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.tied, self.head = Tied(160), nn.Linear(160, 3)
        self.tied.requires_grad_(False)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.head(self.tied(inputs))


def test_tied_frozen_weights_are_shared_once(new_run) -> None:
    model = FrozenTied()
    path = written(trainee(model), new_run())
    assert list(load_file(path / "model-frozen.safetensors")) == ["tied.first.weight"]
    other = FrozenTied()
    load_weights(other, load(path).model, "there")
    assert bits(other.state_dict()) == bits(model.state_dict())


class Tied(nn.Module):
    def __init__(self, width: int = 6) -> None:
        super().__init__()
        self.first, self.second = (nn.Linear(width, width, bias=False) for _ in range(2))
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


# -- transformers' trainer_state.json


def test_the_trainer_state_says_where_the_training_stands(new_run) -> None:
    toy = restless_toy()
    toy.run(Plan(epochs=2, log_every=5, scheduler_interval="step"))
    run = new_run()
    capture = Capture(toy.trainee, run.yard.objects)
    files = encode(
        capture,
        capture.take(),
        toy.progress.to_dict(),
        [rng_state(CPU)],
        format_=FORMATS["hf"],
        step=20,
        epoch=2.0,
        metrics={},
        best_checkpoint="x/checkpoint-10",
    )
    commit(run, files.writers, step=20, epoch=2.0)
    state = json.loads((run.path("checkpoint", step=20, epoch=2) / "trainer_state.json").read_bytes())
    assert (state["global_step"], state["epoch"]) == (20, 2.0)
    assert state["best_metric"] == toy.progress.best.value
    assert state["best_global_step"] == toy.progress.best.step
    assert state["best_model_checkpoint"] == "x/checkpoint-10"
    assert [row["step"] for row in state["log_history"]] == [5, 10, 10, 15, 20, 20]
