from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from trainyard.audio.encoders import methods
from trainyard.audio.encoders.build import build as build_encoder
from trainyard.errors import ConfigError
from trainyard.training.guard import check_gradients


class Net(nn.Module):
    """`unused` takes no part, `dead` is multiplied by 0, `expected` is too and says so."""

    def __init__(self) -> None:
        super().__init__()
        self.used, self.dead, self.unused = nn.Linear(2, 2), nn.Linear(2, 2), nn.Linear(2, 2)
        self.frozen = nn.Linear(2, 2).requires_grad_(False)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.used(inputs) + 0.0 * self.dead(inputs) + self.frozen(inputs)


def stepped(model: nn.Module) -> nn.Module:
    model(torch.ones(3, 2)).sum().backward()
    return model


def test_weights_without_a_gradient_are_named() -> None:
    with pytest.raises(ConfigError) as caught:
        check_gradients(stepped(Net()))
    assert caught.value.keys == ("unused.weight", "unused.bias"), "zeros (dead) are not known to be wrong"
    assert "model.method" in caught.value.remedy


def test_zeros_are_held_against_a_model_that_says_which_it_expects() -> None:
    class Telling(Net):
        def expects_zero_gradient(self, name: str) -> bool:
            return name == "dead.bias"

    model = Telling()
    model.unused.requires_grad_(False)
    with pytest.raises(ConfigError) as caught:
        check_gradients(stepped(model))
    assert caught.value.keys == ("dead.weight",)
    model.expects_zero_gradient = lambda name: name.startswith("dead")  # type: ignore[method-assign]
    check_gradients(model)


def test_what_all_trains_passes() -> None:
    model = Net()
    model.unused.requires_grad_(False)
    check_gradients(stepped(model))


def test_a_lora_that_is_passed_by_is_found() -> None:
    """WavLM's attention reads the weights of its linear maps, and never calls them."""
    model = build_encoder(
        type="wavlm",
        method="frozen",
        pretrained=False,
        classes=["a", "b"],
        clip_seconds=0.1,
        projector=8,
        hidden_size=16,
        num_layers=2,
        num_heads=2,
        ffn_size=24,
    )
    methods.add_lora(model.model, model.family, (0, 1), model.family.attention, rank=2, alpha=2.0, dropout=0.0)
    model.train()
    model(torch.randn(2, 1600)).sum().backward()
    with pytest.raises(ConfigError) as caught:
        check_gradients(model)
    assert len(caught.value.keys) == 16
    assert any(
        name.endswith("wavlm.encoder.layers.0.attention.k_proj.lora_A.default.weight") for name in caught.value.keys
    )
