from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from parameter_counts import count_parameters
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn

from trainyard.errors import CheckpointError, ConfigError, UserError
from trainyard.models import CNN, MLP, build_model, from_model_config, model_config

CLASSES = ("a", "b", "c")
TEN = tuple("0123456789")

sizes = st.integers(1, 9)
shapes = st.one_of(st.tuples(sizes, sizes), st.tuples(st.integers(1, 4), sizes, sizes))
names = st.lists(st.text(max_size=8), min_size=2, max_size=5, unique=True)
models = st.one_of(
    st.tuples(
        st.just("mlp"),
        st.fixed_dictionaries({}, optional={"hidden": st.lists(sizes, max_size=3), "dropout": st.floats(0, 0.9)}),
    ),
    st.tuples(
        st.just("cnn"),
        st.fixed_dictionaries(
            {}, optional={"channels": st.lists(sizes, min_size=1, max_size=5), "dropout": st.floats(0, 0.9)}
        ),
    ),
)


def shapes_of(model: nn.Module) -> dict[str, tuple[int, ...]]:
    return {key: tuple(value.shape) for key, value in model.state_dict().items()}


class TestMLP:
    def test_784_453_10_has_exactly_these_layers(self) -> None:
        model = build_model("mlp", item_shape=(1, 28, 28), classes=TEN, hidden=[453])
        linears = [module for module in model.modules() if isinstance(module, nn.Linear)]
        assert [(layer.in_features, layer.out_features) for layer in linears] == [(784, 453), (453, 10)]
        assert count_parameters(model)["total"] == 784 * 453 + 453 + 453 * 10 + 10

    def test_equals_the_same_layers_written_out(self) -> None:
        model = MLP(12, (7, 5), 3, dropout=0.5).eval()
        first, second = model.hidden
        plain = nn.Sequential(nn.Flatten(), first, nn.ReLU(), second, nn.ReLU(), model.classifier)
        items = torch.randn(4, 3, 4)
        torch.testing.assert_close(model(items), plain(items))

    def test_without_dropout_a_training_pass_draws_no_random_numbers(self) -> None:
        model = MLP(4, (4,), 2).train()
        before = torch.get_rng_state()
        model(torch.randn(2, 4, generator=torch.Generator().manual_seed(0)))
        assert torch.equal(torch.get_rng_state(), before)

    def test_dropout_is_active_in_training_only(self) -> None:
        model = MLP(64, (64,), 2, dropout=0.5)
        items = torch.randn(8, 64)
        assert not torch.equal(model.train()(items), model(items))
        assert torch.equal(model.eval()(items), model(items))


class TestCNN:
    def test_halves_after_each_stage(self) -> None:
        model = CNN(1, (2, 3, 4), 2, size=(8, 8))
        seen: list[tuple[int, int]] = []
        for stage in model.stages:
            stage.register_forward_hook(lambda _module, _inputs, output: seen.append(tuple(output.shape[2:])))
        model(torch.randn(2, 1, 8, 8))
        assert seen == [(4, 4), (2, 2), (1, 1)]

    @pytest.mark.parametrize("size", [(1, 1), (1, 9), (3, 1), (2, 3), (17, 5)])
    def test_never_shrinks_below_one_pixel(self, size: tuple[int, int]) -> None:
        model = CNN(2, (3,) * 7, 2, size=size).eval()
        seen: list[tuple[int, int]] = []
        for stage in model.stages:
            stage.register_forward_hook(lambda _module, _inputs, output: seen.append(tuple(output.shape[2:])))
        assert model(torch.randn(2, 2, *size)).shape == (2, 2)
        for (height, width), (next_height, next_width) in pairwise(seen):
            assert next_height == max(1, height // 2)
            assert next_width == max(1, width // 2)

    def test_the_average_is_over_pixels(self) -> None:
        model = CNN(1, (4,), 3, size=(6, 5)).eval()
        images = torch.randn(2, 1, 6, 5)
        expected = model.classifier(nn.functional.adaptive_avg_pool2d(model.stages(images), 1).flatten(1))
        torch.testing.assert_close(model(images), expected)

    def test_takes_grey_images_with_and_without_a_channel_dimension(self) -> None:
        model = build_model("cnn", item_shape=(8, 8), classes=CLASSES).eval()
        images = torch.randn(2, 8, 8)
        assert torch.equal(model(images), model(images[:, None]))


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 16, 12), (5, 4, 4), (8, 8)])
@pytest.mark.parametrize("name", ["mlp", "cnn"])
def test_any_image_becomes_float32_logits_and_every_weight_learns(name: str, shape: tuple[int, ...]) -> None:
    model = build_model(name, item_shape=shape, classes=CLASSES).train()
    logits = model(torch.randn(4, *shape))
    assert logits.shape == (4, 3)
    assert logits.dtype == torch.float32
    nn.functional.cross_entropy(logits, torch.tensor([0, 1, 2, 0])).backward()
    for key, parameter in model.named_parameters():
        assert parameter.grad is not None, key


@given(models, shapes, names)
@settings(max_examples=60, deadline=None)
def test_config_json_rebuilds_the_model(
    model: tuple[str, dict[str, object]], shape: tuple[int, ...], classes: list[str]
) -> None:
    name, params = model
    built = build_model(name, item_shape=shape, classes=classes, **params)
    config = model_config(name, item_shape=shape, classes=classes, **params)
    again = json.loads(json.dumps(config))
    assert again == config
    rebuilt = from_model_config(again)
    assert type(rebuilt) is type(built)
    assert str(rebuilt) == str(built)
    assert shapes_of(rebuilt) == shapes_of(built)
    rebuilt.load_state_dict(built.state_dict())
    items = torch.randn(2, *shape)
    assert torch.equal(rebuilt.eval()(items), built.eval()(items))


def test_config_json_is_what_transformers_reads() -> None:
    transformers = pytest.importorskip("transformers")
    config = model_config("cnn", item_shape=(1, 8, 8), classes=CLASSES)
    read = transformers.PretrainedConfig.from_dict(config)
    assert read.id2label == {0: "a", 1: "b", 2: "c"}
    assert read.label2id == {"a": 0, "b": 1, "c": 2}
    assert read.num_labels == 3
    assert read.architectures == ["CNN"]


def test_config_json_ignores_what_others_add() -> None:
    config = model_config("mlp", item_shape=(4,), classes=CLASSES) | {"transformers_version": "5"}
    assert isinstance(from_model_config(config), MLP)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"model_type": "bert"}, "'bert'"),
        ({"model_type": "cnn"}, "'cnn'"),
        ({"model_type": None}, "None"),
        ({"model_type": "trainyard-unet"}, "'trainyard-unet'"),
        ({"hidden": ...}, "'hidden'"),
        ({"id2label": ...}, "'id2label'"),
        ({"id2label": {"0": "a", "2": "b"}}, "[0, 2]"),
    ],
)
def test_a_broken_config_json_says_what_is_wrong(change: dict[str, object], said: str) -> None:
    config = model_config("mlp", item_shape=(4,), classes=CLASSES) | change
    config = {key: value for key, value in config.items() if value is not ...}
    with pytest.raises(CheckpointError) as caught:
        from_model_config(config)
    assert said in caught.value.what
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("name", "arguments", "key"),
    [
        ("cmn", {}, "model.name"),
        ("resnet", {}, "model.name"),
        ("mlp", {"hiden": [3]}, "model.hiden"),
        ("cnn", {"hidden": [3]}, "model.hidden"),
        ("mlp", {"hidden": [3, 0]}, "model.hidden"),
        ("mlp", {"hidden": "453"}, "model.hidden"),
        ("mlp", {"hidden": [True]}, "model.hidden"),
        ("cnn", {"channels": []}, "model.channels"),
        ("cnn", {"dropout": 1.0}, "model.dropout"),
        ("cnn", {"dropout": "x"}, "model.dropout"),
        ("cnn", {"item_shape": (4,)}, "data"),
        ("mlp", {"item_shape": ()}, "data"),
        ("mlp", {"item_shape": (0, 3)}, "data"),
        ("mlp", {"classes": ["only"]}, "data.classes"),
        ("mlp", {"classes": ["twin", "b", "twin"]}, "data.classes"),
    ],
)
def test_what_cannot_be_built_is_a_user_error_that_names_it(name: str, arguments: dict[str, object], key: str) -> None:
    arguments = {"item_shape": (1, 8, 8), "classes": CLASSES, **arguments}
    for use in (build_model, model_config):
        with pytest.raises(ConfigError) as caught:
            use(name, **arguments)
        assert key in caught.value.keys
        assert isinstance(caught.value, UserError)


def test_several_faults_are_reported_together() -> None:
    with pytest.raises(ConfigError) as caught:
        build_model("cnn", item_shape=(4,), classes=["a"], dropout=3, chanels=(2,))
    assert len(caught.value.problems) == 4


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Threads that fight for cores make small convolutions many times slower."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.usefixtures("one_thread")
def test_the_cnn_reads_real_digits() -> None:
    digits = load_digits()
    images = torch.tensor(digits.images[:, None] / 16, dtype=torch.float32)
    labels = torch.tensor(digits.target)
    train, test = train_test_split(np.arange(len(labels)), test_size=0.3, stratify=labels, random_state=0)
    torch.manual_seed(0)
    model = build_model("cnn", item_shape=(1, 8, 8), classes=TEN, channels=(32, 64, 64))
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, fused=True)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 12)
    for _epoch in range(12):
        for batch in torch.tensor(train)[torch.randperm(len(train))].split(64):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(images[batch]), labels[batch]).backward()
            optimizer.step()
        scheduler.step()
    with torch.inference_mode():
        right = model.eval()(images[test]).argmax(1) == labels[test]
    assert right.float().mean() >= 0.98
