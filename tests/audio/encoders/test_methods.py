"""What each method trains, in every family, on every choice of layers."""

from __future__ import annotations

import copy
import itertools
import re
from typing import Any

import pytest
import torch
from tiny_encoders import CLASSES, METHODS, TYPES, WAVEFORM, a_few_steps, inputs_of, tiny

from trainyard.audio.encoders import EncoderClassifier, methods
from trainyard.errors import ConfigError
from trainyard.models import from_model_config, model_config
from trainyard.training.checkpoint.restore import load_weights
from trainyard.training.guard import check_gradients

LAYERS = {None: (0, 1, 2), "0": (0,), "1-2": (1, 2)}
HEAD = {"layer_weights", "projector.weight", "projector.bias", "classifier.weight", "classifier.bias"}
FFN = {"whisper": ("fc1", "fc2")} | dict.fromkeys(
    WAVEFORM, ("feed_forward.intermediate_dense", "feed_forward.output_dense")
)
ATTENTION = {"whisper": "self_attn"} | dict.fromkeys(WAVEFORM, "attention")
MAPS = ("q_proj", "k_proj", "v_proj", "out_proj")


def trainable(model: EncoderClassifier) -> set[str]:
    return {name.removeprefix("model.") for name, p in model.named_parameters() if p.requires_grad}


def expected(type_: str, method: str, layers: str | None, every: set[str], size: str = "base") -> set[str]:
    """The names that should train, spelled out from transformers' naming."""
    root = "encoder.layers" if type_ == "whisper" else f"{type_}.encoder.layers"
    names = set(HEAD)
    for layer in LAYERS[layers]:
        here = f"{root}.{layer}"
        if method == "lora":
            changed = [*FFN[type_], *([] if type_ == "wavlm" else [f"{ATTENTION[type_]}.{name}" for name in MAPS])]
            names |= {f"{here}.{name}.lora_{m}.default.weight" for name in changed for m in "AB"}
        elif method == "adapter":
            where = "fc2" if type_ == "whisper" else "feed_forward"
            parts = itertools.product(("down", "up"), ("weight", "bias"))
            names |= {f"{here}.{where}.bottleneck.{way}.{kind}" for way, kind in parts}
        elif method == "prompt":
            names.add(f"{here}.prompt")
        elif method == "full":
            names |= {name for name in every if name.startswith(f"{here}.") and "rel_attn_embed" not in name}
    if method == "full" and layers is None:
        outer = root.removesuffix(".layers")
        if size == "base":  # of a pre-norm encoder, the last norm comes after what the head listens to
            names |= {f"{outer}.layer_norm.weight", f"{outer}.layer_norm.bias"}
        names |= {name for name in every if ".feature_projection." in name}
    return names


@pytest.mark.parametrize("layers", LAYERS)
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("type_", TYPES)
def test_exactly_what_is_meant_trains_and_a_copy_of_the_weights_is_the_same_model(
    type_: str, method: str, layers: str | None
) -> None:
    model = tiny(type_, method=method, layers=layers)
    every = {name.removeprefix("model.") for name, _ in model.named_parameters()}
    assert trainable(model) == expected(type_, method, layers, every)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}

    model.train()
    inputs = inputs_of(model)
    model(inputs).square().sum().backward()
    check_gradients(model)
    a_few_steps(model)
    for name, parameter in model.named_parameters():
        moved = not torch.equal(parameter, before[name])
        assert moved == parameter.requires_grad, name

    saved = {model.saved_name(name): tensor.clone() for name, tensor in model.state_dict().items()}
    assert len(saved) == len(model.state_dict())
    kwargs: dict[str, Any] = {"item_shape": inputs.shape[1:], "classes": CLASSES, "clip_seconds": 0.1}
    kwargs |= {"type": type_, "method": method, "layers": layers, "pretrained": False, "projector": 8}
    kwargs |= {"hidden_size": 16, "num_layers": 3, "num_heads": 2, "ffn_size": 24}
    again = from_model_config(model_config("encoder", **kwargs)).eval()
    load_weights(again, saved, "memory")
    lengths = torch.tensor([1600, 700, 1])
    with torch.no_grad():
        assert torch.equal(again(inputs), model(inputs))
        assert torch.equal(again(inputs, lengths), model(inputs, lengths))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("type_", WAVEFORM)
def test_large_ones_train_what_is_meant_too(type_: str, method: str) -> None:
    """They differ: layer norm in the convolutions, pre-norm layers, an attention mask."""
    model = tiny(type_, method=method, size="large")
    every = {name.removeprefix("model.") for name, _ in model.named_parameters()}
    assert trainable(model) == expected(type_, method, None, every, size="large")
    model.train()
    model(inputs_of(model), torch.tensor([1600, 900, 500])).square().sum().backward()
    check_gradients(model)


@pytest.mark.parametrize("method", ["lora", "adapter"])
@pytest.mark.parametrize("type_", TYPES)
def test_lora_and_adapter_begin_as_the_encoder_they_change(type_: str, method: str) -> None:
    plain, changed = tiny(type_, method="frozen").eval(), tiny(type_, method=method).eval()
    weights = {name: changed.saved_name(name) for name in changed.state_dict()}
    own = {weights[name]: tensor for name, tensor in changed.state_dict().items()}
    plain.load_state_dict({f"model.{name}": own[name] for name in (n[6:] for n in plain.state_dict())})
    with torch.no_grad():
        torch.testing.assert_close(changed(inputs_of(plain)), plain(inputs_of(plain)), rtol=0, atol=1e-6)


@pytest.mark.parametrize("type_", TYPES)
def test_a_lora_computes_its_formula(type_: str) -> None:
    """Wx + alpha / r * B A x, by hand, on one map of one layer."""
    model = a_few_steps(tiny(type_, layers="1", lora_targets="ffn", lora_rank=4, lora_alpha=2.0))
    part = model.model.get_submodule(model.family.layers)[1].get_submodule(FFN[type_][0])
    x = torch.randn(5, 16)
    a, b = part.lora_A["default"].weight, part.lora_B["default"].weight
    assert (a.shape, b.shape) == ((4, 16), (24, 4))
    assert b.any()
    by_hand = x @ part.base_layer.weight.T + part.base_layer.bias + 2.0 / 4 * (x @ a.T @ b.T)
    torch.testing.assert_close(part(x), by_hand, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("type_", TYPES)
def test_a_bottleneck_computes_its_formula_after_the_feed_forward_part(type_: str) -> None:
    model = a_few_steps(tiny(type_, method="adapter", layers="1", adapter_size=5))
    layer = model.model.get_submodule(model.family.layers)[1]
    part = layer.fc2 if type_ == "whisper" else layer.feed_forward
    x = torch.randn(2, 5, 24 if type_ == "whisper" else 16)
    hook = next(iter(part._forward_hooks.values()))
    part._forward_hooks.clear()
    plain = part(x)
    part.register_forward_hook(hook)
    down, up = part.bottleneck.down, part.bottleneck.up
    assert down.weight.shape == (5, 16)
    inner = torch.nn.functional.gelu(plain @ down.weight.T + down.bias)
    torch.testing.assert_close(part(x), plain + inner @ up.weight.T + up.bias)


@pytest.mark.parametrize("size", ["base", "large"])
@pytest.mark.parametrize("type_", TYPES)
def test_a_prompt_lengthens_what_a_layer_attends_to_and_nothing_else(type_: str, size: str) -> None:
    model = tiny(type_, method="prompt", layers="1", prompt_length=4, **({"size": size} if type_ != "whisper" else {}))
    model.eval()
    attended: list[int] = []
    layers = model.model.get_submodule(model.family.layers)
    for layer in layers:
        name = "self_attn" if type_ == "whisper" else "attention"
        layer.get_submodule(name).register_forward_pre_hook(
            lambda module, args, kwargs: attended.append((args[0] if args else kwargs["hidden_states"]).shape[1]),
            with_kwargs=True,
        )
    inputs = inputs_of(model)
    with torch.no_grad():
        hidden = model._hidden_states(inputs, None)
        first = model(inputs)
        layers[1].prompt += torch.randn(4, 16)
        second = model(inputs)
    frames = hidden[0].shape[1]
    assert attended[:3] == [frames, frames + 4, frames]
    assert [state.shape[1] for state in hidden] == [frames] * 4
    assert not torch.allclose(first, second)


@pytest.mark.parametrize("type_", WAVEFORM)
def test_a_prompt_that_is_masked_out_changes_nothing(type_: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """So nothing else of a layer depends on the longer input: not the masks, not WavLM's position bias."""
    model = tiny(type_, method="prompt", prompt_length=4).eval()
    layer = model.model.get_submodule(model.family.layers)[0]
    plain = super(type(layer), layer)
    hidden = torch.randn(2, 6, 16)
    seen = torch.tensor([[1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 0, 0]]).bool()
    mask = seen if type_ == "wavlm" else seen[:, None, None].expand(2, 1, 6, 6)

    def blind(mask: torch.Tensor, count: int) -> torch.Tensor:
        columns = torch.nn.functional.pad(mask, (count, 0), value=False)
        return columns if mask.ndim == 2 else torch.nn.functional.pad(columns, (0, 0, count, 0), value=True)

    monkeypatch.setattr(methods, "_longer", blind)
    with torch.no_grad():
        if type_ != "wavlm":
            torch.testing.assert_close(layer(hidden, attention_mask=mask), plain.forward(hidden, attention_mask=mask))
            return
        for bias in (None, torch.randn(4, 6, 6)):
            wanted, wanted_bias = plain.forward(hidden, attention_mask=mask, position_bias=bias)
            found, handed_on = layer(hidden, attention_mask=mask, position_bias=bias)
            torch.testing.assert_close(found, wanted)
            assert torch.equal(handed_on, wanted_bias), "the next layer gets the bias of the clip alone"


@pytest.mark.parametrize("method", ["lora", "adapter", "prompt"])
def test_a_deep_copy_has_weights_of_its_own(method: str) -> None:
    model = tiny("wav2vec2", method=method).eval()
    other = copy.deepcopy(model)
    inputs = inputs_of(model)
    with torch.no_grad():
        before = other(inputs)
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter += 0.1
        assert torch.equal(other(inputs), before)
        assert not torch.allclose(model(inputs), before)


@pytest.mark.parametrize("type_", WAVEFORM)
def test_a_frozen_encoder_drops_nothing_out(type_: str) -> None:
    model = tiny(type_, method="frozen").train()
    inputs = inputs_of(model)
    assert model.model.config.hidden_dropout > 0
    assert torch.equal(model(inputs), model(inputs))
    assert model.training
    assert model.model.training
    lora = tiny(type_, method="lora").train()
    assert not torch.equal(lora(inputs), lora(inputs)), "while it is fine-tuned, it does"


def test_wavlm_refuses_a_lora_that_would_do_nothing() -> None:
    with pytest.raises(ConfigError) as caught:
        tiny("wavlm", lora_targets="attention")
    assert "trains nothing in wavlm" in caught.value.what
    assert "lora_targets=ffn" in caught.value.remedy
    (warning,) = tiny("wavlm", lora_targets="both").warnings
    assert re.search("model.lora_targets=.*wavlm", warning)
    assert tiny("wavlm", lora_targets="ffn").warnings == ()


def test_layers_without_effect_and_clipped_layers_are_reported() -> None:
    (warning,) = tiny("hubert", method="frozen", layers="0").warnings
    assert warning.startswith("model.layers='0' has no effect")
    (warning,) = tiny("hubert", method="full", layers="1-3").warnings
    assert "layers 1 to 2 are used" in warning
    assert tiny("hubert", method="full", layers="1-2").warnings == ()
