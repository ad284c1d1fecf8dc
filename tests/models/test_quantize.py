from __future__ import annotations

import copy
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from trainyard.errors import ConfigError, UserError
from trainyard.models import (
    QuantAware,
    build_model,
    converted,
    efficientnet,
    mobilenet,
    quantization_aware,
    unquantised,
)
from trainyard.training.checkpoint.restore import load_weights

pytest.importorskip("torchao")
CLASSES = ("a", "b", "c", "d", "e")
SHAPE = (1, 32, 32)
NETWORKS: dict[str, dict[str, Any]] = {
    "efficientnet_v2": {"size": "small"},
    "mobilenet_v2": {"width": 0.25},
    "panns_cnn14": {"width": 4},
}


@pytest.fixture(scope="module", autouse=True)
def shallow() -> Iterator[None]:
    """One layer a stage: every kind of block, and seconds instead of minutes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(efficientnet, "_STAGES", efficientnet._STAGES[:1] + efficientnet._STAGES[2:5])
        patch.setitem(efficientnet._SIZES, "small", ((16, 2), (40, 1), (80, 2), (96, 1)))
        patch.setattr(mobilenet, "_STAGES", ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 1, 2)))
        yield


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def data(items: int = 40) -> tuple[Tensor, Tensor]:
    """Bands of noise: the class is where the band lies."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(items) % len(CLASSES)
    images = torch.randn(items, *SHAPE, generator=generator) * 0.5
    for item, label in enumerate(labels.tolist()):
        images[item, :, 6 * label : 6 * label + 6] += 2
    return images, labels


def network(name: str, **params: Any) -> Any:
    """A float network whose batch norms have statistics of their own, some of them small beside an eps of 1e-3."""
    torch.manual_seed(0)
    model = build_model(name, item_shape=SHAPE, classes=CLASSES, **{**NETWORKS[name], **params})
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.1, 0.1)
            nn.init.uniform_(module.running_var, 0.001, 0.1)
    return model


def train(model: nn.Module, steps: int) -> list[float]:
    images, labels = data()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=3e-3)
    losses = []
    torch.manual_seed(1)
    model.train()
    for _ in range(steps):
        optimizer.zero_grad()
        loss = functional.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def state_of(model: nn.Module) -> dict[str, Tensor]:
    return {key: value.clone() for key, value in model.state_dict().items()}


def differing(a: dict[str, Tensor], b: dict[str, Tensor]) -> list[str]:
    return [key for key in a if not torch.equal(a[key], b[key])]


@pytest.fixture(scope="module", params=NETWORKS)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def original(name: str) -> Any:
    return network(name).eval()


@pytest.fixture(scope="module")
def prepared(original: Any) -> QuantAware:
    return quantization_aware(original, SHAPE)


@pytest.fixture(scope="module")
def trained(prepared: QuantAware) -> QuantAware:
    model = copy.deepcopy(prepared)
    train(model, 25)
    model.eval()
    return model


class TestQuantAware:
    def test_before_training_evaluates_to_what_the_float_network_does(self, name: str, prepared: QuantAware) -> None:
        images, _ = data()
        model = copy.deepcopy(prepared)
        with torch.inference_mode():
            expected = network(name).eval()(images)
            got = model.eval()(images)
        assert expected.std() > 0
        torch.testing.assert_close(got / expected.std(), expected / expected.std(), rtol=1e-3, atol=1e-3)

    def test_training_gives_every_parameter_a_gradient_and_learns(self, prepared: QuantAware) -> None:
        model = copy.deepcopy(prepared)
        losses = train(model, 25)
        assert [key for key, parameter in model.named_parameters() if parameter.grad is None] == []
        assert losses[-1] < 0.7 * losses[0]

    def test_weights_and_activations_are_rounded_to_256_values(self, trained: QuantAware) -> None:
        images, _ = data()
        seen: dict[str, tuple[int, bool]] = {}
        hooks = []
        for key, module in trained.named_modules():
            if hasattr(module, "fake_quant_enabled"):

                def count(module: Any, _inputs: object, output: Tensor, key: str = key) -> None:
                    part = output[0] if module.is_per_channel else output
                    seen[key] = (len(part.unique()), module.is_per_channel)

                hooks.append(module.register_forward_hook(count))
        with torch.inference_mode():
            trained(images)
        for hook in hooks:
            hook.remove()
        assert {weights for _, weights in seen.values()} == {True, False}
        assert max(values for values, _ in seen.values()) <= 256

    def test_evaluation_changes_nothing_but_the_ranges_of_changed_weights(self, trained: QuantAware) -> None:
        images, _ = data()
        model = copy.deepcopy(trained)
        train(model, 1)
        after_training = state_of(model)
        model.eval()
        with torch.inference_mode():
            model(images)
            once = state_of(model)
            model(images * 3 + 1)
        assert differing(once, state_of(model)) == []
        per_channel = {
            key.removesuffix(".scale")
            for key, value in once.items()
            if key.endswith(".scale") and once[key.replace(".scale", ".activation_post_process.min_val")].ndim == 1
        }
        flags = ("observer_enabled", "fake_quant_enabled")
        changed = [key for key in differing(after_training, once) if not key.endswith(flags)]
        assert all(any(key.startswith(f"{weight}.") for weight in per_channel) for key in changed)

    def test_training_after_evaluation_is_training_as_before(self, prepared: QuantAware) -> None:
        """Dropout and batch norm keep their constants: torchao's own switch makes them 0.5, 0.1 and 1e-5."""
        images, _ = data()
        model, other = copy.deepcopy(prepared), copy.deepcopy(prepared)
        train(model, 2)
        train(other, 2)
        model.eval()
        with torch.inference_mode():
            model(images)
        model.train()
        torch.manual_seed(5)
        expected = other(images)
        torch.manual_seed(5)
        assert torch.equal(model(images), expected)

    def test_one_item_trains_and_evaluates(self, trained: QuantAware) -> None:
        images, _ = data()
        model = copy.deepcopy(trained)
        with torch.inference_mode():
            one, many = model(images[:1]), model(images)
        torch.testing.assert_close(one, many[:1], rtol=0.1, atol=0.1 * float(many.std()))
        assert model.train()(images[:1]).shape == (1, len(CLASSES))
        assert all(value.isfinite().all() for value in model.state_dict().values())

    def test_prepared_again_and_loaded_it_goes_on_bit_by_bit(self, name: str, trained: QuantAware) -> None:
        images, _ = data()
        again = quantization_aware(network(name), SHAPE)
        state = state_of(trained)
        assert {k: v.shape for k, v in again.state_dict().items()} == {k: v.shape for k, v in state.items()}
        load_weights(again, state, "checkpoint")  # strict about shapes
        again.eval()
        with torch.inference_mode():
            assert torch.equal(again(images), trained(images))
        ahead = copy.deepcopy(trained)
        assert train(again, 3) == train(ahead, 3)
        assert differing(state_of(again), state_of(ahead)) == []

    def test_a_checkpoint_taken_in_training_evaluates_without_moving_ranges(self, prepared: QuantAware) -> None:
        images, _ = data()
        model = copy.deepcopy(prepared)
        train(model, 2)
        state = state_of(model)
        fresh = copy.deepcopy(prepared)
        fresh.eval()
        fresh.load_state_dict(state)
        with torch.inference_mode():
            fresh(images)
            before = state_of(fresh)
            fresh(images * 9)
        assert differing(before, state_of(fresh)) == []

    def test_the_float_network_is_left_alone(self, name: str, original: Any, prepared: QuantAware) -> None:
        train(copy.deepcopy(prepared), 1)
        assert differing(state_of(network(name)), state_of(original)) == []
        assert not original.training

    def test_computes_in_float32_under_autocast_and_takes_one_shape(self, prepared: QuantAware) -> None:
        images, _ = data(4)
        model = copy.deepcopy(prepared)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert model(images).dtype == torch.float32
        with pytest.raises(ConfigError, match=r"\(1, 32, 32\), but got \(1, 32, 40\)"):
            model(torch.zeros(2, 1, 32, 40))

    def test_no_two_entries_of_a_state_dict_share_memory(self, trained: QuantAware) -> None:
        pointers = [tensor.data_ptr() for tensor in trained.state_dict().values() if tensor.numel()]
        assert len(set(pointers)) == len(pointers)


class TestConverted:
    def test_answers_as_the_trained_network_did(self, name: str, trained: QuantAware) -> None:
        images, _ = data()
        before = state_of(trained)
        int8 = converted(trained)
        with torch.inference_mode():
            expected, got = trained(images), int8(images)
        assert differing(before, state_of(trained)) == []
        assert (got.argmax(1) == expected.argmax(1)).float().mean() >= 0.95
        if name == "panns_cnn14":  # no long chain of roundings: nothing falls between two steps
            torch.testing.assert_close(got, expected, rtol=1e-3, atol=1e-3)

    def test_the_unquantised_network_is_the_trained_one_without_rounding(self, trained: QuantAware) -> None:
        images, _ = data()
        plain = copy.deepcopy(trained)
        for module in plain.modules():
            if hasattr(module, "fake_quant_enabled"):
                module.disable_fake_quant()
        with torch.inference_mode():
            torch.testing.assert_close(unquantised(trained)(images), plain(images), rtol=1e-3, atol=1e-4)
            assert not torch.equal(plain(images), trained(images))

    def test_refuses_what_was_never_trained(self, prepared: QuantAware) -> None:
        with pytest.raises(UserError) as caught:
            converted(prepared)
        assert caught.value.place == "model.qat"
        assert "Train" in caught.value.remedy


def test_frozen_blocks_stay_frozen_statistics_included() -> None:
    model = quantization_aware(network("panns_cnn14", trainable_blocks=1), SHAPE)
    before = state_of(model)
    train(model, 2)
    changed = {key for key in differing(before, state_of(model)) if "activation_post_process" not in key}
    assert changed
    assert all(key.startswith(("graph.conv_block6.", "graph.fc1.", "graph.classifier.")) for key in changed)
    assert "graph.conv_block6.bn2.running_var" in changed


def test_a_cosine_head_and_group_norms_are_quantised_like_the_rest() -> None:
    images, labels = data()
    model = network("mobilenet_v2", head="cosine", head_scale=20.0, norm="group", qat=True)
    assert isinstance(model, QuantAware)
    train(model, 40)
    model.eval()
    with torch.inference_mode():
        logits = model(images)
        agree = (converted(model)(images).argmax(1) == logits.argmax(1)).float().mean()
    assert logits.abs().max() <= 20.1
    assert (logits.argmax(1) == labels).float().mean() > 0.8
    assert agree >= 0.95


def test_without_torchao_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in [name for name in sys.modules if name.split(".")[0] == "torchao"]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "torchao", None)
    with pytest.raises(ConfigError, match="needs torchao") as caught:
        quantization_aware(network("panns_cnn14"), SHAPE)
    assert "trainyard[export]" in caught.value.remedy


def test_says_nothing_on_the_terminal(tmp_path: Path) -> None:
    code = """if True:
        import torch
        from trainyard.models import build_model, converted
        model = build_model("panns_cnn14", item_shape=(1, 32, 32), classes=["a", "b"], width=2, qat=True)
        model(torch.randn(4, 1, 32, 32)).sum().backward()
        converted(model)
    """
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
