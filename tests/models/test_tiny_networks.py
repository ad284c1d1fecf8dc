from __future__ import annotations

import pytest
import torch
from parameter_counts import count_parameters
from tiny_networks import FrozenBackbone, tiny_cnn, tiny_mlp
from torch import nn

MODELS = [tiny_mlp, tiny_cnn, FrozenBackbone]


@pytest.mark.parametrize("build", MODELS)
def test_weights_depend_on_the_seed_alone(build: type[nn.Module]) -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = build().state_dict()
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    second, third = build().state_dict(), build(seed=1).state_dict()
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert any(not torch.equal(first[key], third[key]) for key in first)


@pytest.mark.parametrize("width", [32, 64, 1024])
def test_nine_tenths_of_the_frozen_backbone_never_change(width: int) -> None:
    model = FrozenBackbone(width=width)
    counts = count_parameters(model)
    assert 0.89 < 1 - counts["trainable"] / counts["total"] < 0.93
    before = {key: value.clone() for key, value in model.state_dict().items()}
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    nn.functional.cross_entropy(model(torch.randn(4, 8)), torch.tensor([0, 1, 2, 0])).backward()
    optimizer.step()
    changed = {key.split(".")[0] for key, value in model.state_dict().items() if not torch.equal(value, before[key])}
    assert changed == {"head"}
