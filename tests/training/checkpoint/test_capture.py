from __future__ import annotations

import copy
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_networks import FrozenBackbone
from torch import nn
from toy_training import CPU, Toy, adamw, bits, linear, one_step, toy_dataset, trainee, written

from trainyard.errors import CheckpointError
from trainyard.objects import Objects
from trainyard.training.checkpoint.capture import Capture, rng_state, seed_everything
from trainyard.training.checkpoint.read import load
from trainyard.training.checkpoint.restore import load_weights, restore, restore_rng


def draw() -> list[Any]:
    return [
        random.random(),
        random.gauss(0, 1),
        np.random.rand(),
        np.random.standard_normal(),
        float(torch.rand(())),
        float(torch.randn(())),
    ]


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


def test_capturing_does_not_move_a_generator() -> None:
    toy = Toy(linear(), adamw(linear()), dataset=toy_dataset())
    before = bits(rng_state(CPU))
    Capture(toy.trainee, Objects(Path())).take()
    assert bits(rng_state(CPU)) == before
    assert copy.deepcopy(before) == before


# -- what does not fit


def test_weights_that_do_not_fit_are_named() -> None:
    model = linear()
    weights = dict(model.state_dict())
    good = bits(weights)
    cases = {
        "0.weight": {k: v for k, v in weights.items() if k != "0.weight"},
        "extra": {**weights, "extra": torch.zeros(1)},
        "0.weight: (2, 2) instead of (5, 6)": {**weights, "0.weight": torch.zeros(2, 2)},
    }
    for mismatch, bad in cases.items():
        with pytest.raises(CheckpointError) as caught:
            load_weights(model, bad, "somewhere")
        assert caught.value.value == [mismatch]
        assert caught.value.place == "somewhere"
        assert "model.*" in caught.value.remedy
        assert bits(dict(model.state_dict())) == good, "nothing was loaded"


def test_a_checkpoint_without_optimizer_state_cannot_be_resumed(new_run) -> None:
    one = trainee(linear())
    path = written(one, new_run())
    (path / "optimizer.pt").unlink()
    with pytest.raises(CheckpointError) as caught:
        restore(one, load(path), str(path))
    assert caught.value.place == str(path)
    assert "--step" in caught.value.remedy
