from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from sklearn.metrics.pairwise import cosine_similarity
from torch import nn

from trainyard.errors import ConfigError
from trainyard.models import CNN, MLP, build_model, from_model_config, model_config
from trainyard.models.heads import CosineLinear, with_cosine_head

CLASSES = ("a", "b", "c")
SHAPES = {"mlp": (7,), "cnn": (1, 8, 8)}


def test_logits_are_the_scaled_cosines_of_scikit_learn() -> None:
    head = CosineLinear(6, 4, 30.0)
    embeddings = torch.randn(5, 6) * torch.tensor([1e-3, 0.1, 1.0, 10.0, 1e4]).unsqueeze(1)
    logits = head(embeddings)
    expected = 30 * cosine_similarity(embeddings.double().numpy(), head.weight.detach().double().numpy())
    assert logits.dtype == torch.float32
    np.testing.assert_allclose(logits.detach().numpy(), expected, atol=2e-5)


def test_only_directions_count() -> None:
    head = CosineLinear(6, 4, 30.0)
    embeddings = torch.randn(5, 6)
    before = head(embeddings)
    with torch.no_grad():
        head.weight *= torch.tensor([[0.01], [3.0], [100.0], [1.0]])
    torch.testing.assert_close(head(embeddings * 7), before, rtol=0, atol=2e-5)
    torch.testing.assert_close(head(-embeddings), -before, rtol=0, atol=2e-5)
    assert [name for name, _ in head.named_parameters()] == ["weight"], "no bias"


@pytest.mark.parametrize("size", [0.0, 1e-38, 1e-20, 1e-7])
def test_a_vector_without_a_direction_has_cosine_0_and_no_gradient(size: float) -> None:
    """Dead units make such embeddings; a gradient that divides by their length would blow up the network."""
    head = CosineLinear(6, 4, 30.0)
    embeddings = torch.full((2, 6), size)
    embeddings[1] = 1.0
    embeddings.requires_grad_(True)
    logits = head(embeddings)
    assert torch.equal(logits[0], torch.zeros(4))
    logits.square().sum().backward()
    assert torch.equal(embeddings.grad[0], torch.zeros(6))
    assert embeddings.grad[1].abs().sum() > 0
    assert head.weight.grad.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_under_autocast_it_is_computed_in_float32(dtype: torch.dtype) -> None:
    head = CosineLinear(6, 4, 30.0)
    embeddings = torch.randn(5, 6)
    expected = head(embeddings)
    with torch.autocast("cpu", dtype=dtype):
        assert torch.nn.functional.linear(embeddings, head.weight).dtype == dtype, "autocast is on"
        logits = head(embeddings)
        low = head(embeddings.to(dtype))
    assert torch.equal(logits, expected)
    assert low.dtype == torch.float32


def test_an_exported_graph_has_no_autocast_in_it() -> None:
    head = CosineLinear(6, 4, 30.0).eval()
    embeddings = torch.randn(5, 6)
    exported = torch.export.export(head, (embeddings,))
    assert "autocast" not in exported.graph_module.code
    torch.testing.assert_close(exported.module()(embeddings), head(embeddings), rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", SHAPES)
def test_the_last_layer_is_replaced_and_trains(name: str) -> None:
    plain = build_model(name, item_shape=SHAPES[name], classes=CLASSES)
    width = plain.classifier.in_features
    model = with_cosine_head(plain, 12.0)
    assert model is plain
    assert isinstance(model.classifier, CosineLinear)
    assert (model.classifier.in_features, model.classifier.out_features, model.classifier.scale) == (width, 3, 12.0)
    logits = model(torch.randn(4, *SHAPES[name]))
    assert logits.shape == (4, 3)
    assert logits.abs().max() <= 12.0 + 1e-4
    nn.functional.cross_entropy(logits, torch.tensor([0, 1, 2, 0])).backward()
    for key, parameter in model.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.abs().sum() > 0, key


@pytest.mark.parametrize("name", SHAPES)
def test_config_json_says_that_the_head_is_a_cosine(name: str) -> None:
    described = {"item_shape": SHAPES[name], "classes": CLASSES, "head": "cosine", "head_scale": 30.0}
    model = build_model(name, **described).eval()
    config = json.loads(json.dumps(model_config(name, **described)))
    assert (config["head"], config["head_scale"]) == ("cosine", 30.0)
    rebuilt = from_model_config(config).eval()
    assert str(rebuilt) == str(model)
    rebuilt.load_state_dict(model.state_dict())
    items = torch.randn(3, *SHAPES[name])
    assert torch.equal(rebuilt(items), model(items))


def test_a_linear_head_leaves_config_json_as_it_was() -> None:
    config = model_config("mlp", item_shape=(4,), classes=CLASSES)
    assert not {"head", "head_scale"} & set(config)
    assert isinstance(from_model_config(config).classifier, nn.Linear)


class Headless(nn.Module):
    pass


class Deep(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.classifier = nn.Sequential(nn.Linear(2, 2))


@pytest.mark.parametrize(("model", "found"), [(Headless(), "nothing"), (Deep(), "a Sequential")])
def test_a_model_without_a_linear_classifier_is_named(model: nn.Module, found: str) -> None:
    with pytest.raises(ConfigError) as caught:
        with_cosine_head(model, 30.0)
    assert type(model).__name__ in caught.value.what
    assert f"is {found}" in caught.value.what
    assert "training.use_arcface" in caught.value.remedy


@pytest.mark.parametrize("scale", [0.0, -1.0, float("nan"), float("inf")])
def test_a_scale_that_is_invalid(scale: float) -> None:
    for model in (CNN(1, (2,), 3, size=(4, 4)), MLP(4, (), 3)):
        with pytest.raises(ConfigError) as caught:
            with_cosine_head(model, scale)
        assert caught.value.keys == ("training.margin.scale",)
        assert caught.value.value is scale


@pytest.mark.parametrize(
    ("head", "key", "value"),
    [
        ({"head": "cosin", "head_scale": 1.0}, "head", "cosin"),
        ({"head": "cosine"}, "head_scale", None),
        ({"head": "linear", "head_scale": 3.0}, "head_scale", 3.0),
        ({"head_scale": 3.0}, "head_scale", 3.0),
    ],
)
def test_a_head_that_is_not_there(head: dict[str, object], key: str, value: object) -> None:
    for use in (build_model, model_config):
        with pytest.raises(ConfigError) as caught:
            use("mlp", item_shape=(4,), classes=CLASSES, **head)
        assert (caught.value.keys, caught.value.value) == ((key,), value)
    with pytest.raises(ConfigError) as caught:
        from_model_config(model_config("mlp", item_shape=(4,), classes=CLASSES) | head)
    assert (caught.value.keys, caught.value.value) == ((key,), value)


def test_an_encoder_has_none() -> None:
    """Its config.json is transformers' own, and could not say so."""
    for use in (build_model, model_config):
        with pytest.raises(ConfigError) as caught:
            use("encoder", item_shape=(16000,), classes=CLASSES, head="cosine", head_scale=30.0)
        assert caught.value.keys == ("head", "model.name")
