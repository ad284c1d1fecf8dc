from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
import torch
from tiny_encoders import CLASSES, TYPES, settings, tiny

from trainyard.audio.encoders import EncoderClassifier, whisper_positions
from trainyard.audio.encoders.build import build as build_encoder
from trainyard.audio.encoders.build import describe as encoder_config
from trainyard.audio.encoders.families import FAMILIES
from trainyard.errors import CheckpointError, ConfigError
from trainyard.models import build_model, from_model_config, huggingface, model_config


def described(type_: str, **more: Any) -> dict[str, Any]:
    shape = (80, 10) if type_ == "whisper" else (1600,)
    return {**settings(type_, **more), "item_shape": shape}


@pytest.mark.parametrize("type_", TYPES)
def test_the_model_and_its_config_go_by_name(type_: str) -> None:
    torch.manual_seed(0)
    model = build_model("encoder", **described(type_))
    assert isinstance(model, EncoderClassifier)
    config = json.loads(json.dumps(model_config("encoder", **described(type_))))
    assert config["model_type"] == model.model.config.model_type
    assert config["architectures"] == [type(model.model).__name__]
    assert config["id2label"] == {"0": "cry", "1": "laugh", "2": "sigh"}
    assert config["label2id"] == {"cry": 0, "laugh": 1, "sigh": 2}
    assert config["use_weighted_layer_sum"] is True
    assert config["trainyard"]["method"] == "lora"
    assert tuple(config["trainyard"]["item_shape"]) == described(type_)["item_shape"]
    again = from_model_config({**config, "another": "tool's"})
    assert {n: t.shape for n, t in again.state_dict().items()} == {n: t.shape for n, t in model.state_dict().items()}
    assert again.method == "lora"


@pytest.mark.parametrize("type_", TYPES)
def test_one_seed_makes_one_model(type_: str) -> None:
    first, second, other = (tiny(type_, seed=seed).state_dict() for seed in (3, 3, 4))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


@pytest.mark.parametrize("type_", TYPES)
def test_sizes_are_as_published_unless_given(type_: str) -> None:
    for size in FAMILIES[type_].hub:  # mini was never published
        chosen = {
            key: value for key, value in described(type_).items() if not key.endswith(("_size", "_layers", "heads"))
        }
        item_shape = (128, 10) if (type_, size) == ("whisper", "large") else chosen["item_shape"]
        config = encoder_config(**{**chosen, "size": size, "item_shape": item_shape})
        layers = {"tiny": 4, "base": 6, "small": 12, "medium": 24, "large": 32}
        if type_ == "whisper":
            assert config["encoder_layers"] == layers[size]
        else:
            assert config["num_hidden_layers"] == {"base": 12, "large": 24}[size]
    mini = encoder_config(**{**chosen, "size": "mini"})
    assert mini["d_model" if type_ == "whisper" else "hidden_size"] == 96
    model = tiny(type_)
    assert (model.model.config.hidden_size, model.model.config.num_hidden_layers) == (16, 3)
    assert sum(p.numel() for p in model.parameters()) < 50_000


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"type": "wisper"}, "model.type"),
        ({"size": "medium"}, "model.size"),
        ({"method": "ia3"}, "model.method"),
        ({"lora_targets": "fnn"}, "model.lora_targets"),
        ({"layers": "4"}, "model.layers"),
        ({"layers": "first"}, "model.layers"),
        ({"num_heads": 3}, "model.num_heads"),
        ({"num_layers": 0}, "model.num_layers"),
        ({"projector": None}, "model.projector"),
        ({"lora_rank": -1}, "model.lora_rank"),
        ({"lora_alpha": float("nan")}, "model.lora_alpha"),
        ({"dropout": 1.0}, "model.dropout"),
        ({"lora_dropout": -0.1}, "model.lora_dropout"),
        ({"path": "there"}, "model.path"),
        ({"pretrained": True}, "model.hidden_size"),
        ({"rank": 8}, "model.rank"),
        ({"classes": ["one"]}, "data.classes"),
        ({"classes": ["a", "a"]}, "data.classes"),
        ({"clip_seconds": 0.02, "item_shape": (320,)}, "data.clip_seconds"),
        ({"item_shape": (3200,)}, "data"),
        ({"item_shape": (1, 64, 101)}, "data"),
    ],
)
def test_what_cannot_be_is_refused_with_its_key(change: dict[str, Any], key: str) -> None:
    arguments = {**described("hubert"), **change}
    for use in (build_model, model_config):
        with pytest.raises(ConfigError) as caught:
            use("encoder", **arguments)
        assert key in caught.value.keys


def test_all_faults_are_told_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        build_encoder(**settings("hubert", size="huge", method="x", dropout=2))
    assert len(caught.value.problems) == 3


def test_a_misspelt_model_is_told_of_the_encoder() -> None:
    with pytest.raises(ConfigError) as caught:
        build_model("encodr", item_shape=(4,), classes=CLASSES)
    assert caught.value.keys == ("model.name",)
    assert "'encoder'" in caught.value.remedy


def test_a_config_without_our_settings_is_refused() -> None:
    config = model_config("encoder", **described("wavlm"))
    broken = {**config, "trainyard": {"name": "encoder", "type": "other"}}
    with pytest.raises(CheckpointError):
        from_model_config(broken)
    with pytest.raises(ConfigError) as caught:
        from_model_config({**config, "trainyard": {**config["trainyard"], "method": "looora"}})
    assert caught.value.keys == ("model.method",)


# -- Whisper, cut to the clip


def test_whisper_is_as_long_as_the_clip() -> None:
    model = tiny("whisper", clip_seconds=0.5)
    assert model.model.encoder.embed_positions.weight.shape == (25, 16)
    assert not model.model.encoder.embed_positions.weight.requires_grad
    assert model(torch.randn(2, 80, 50)).shape == (2, 3)


@pytest.mark.parametrize(("seconds", "positions"), [(7.0, 350), (30, 1500), (0.02, 1), (2.5, 125), (0.7, 35)])
def test_whisper_has_fifty_vectors_a_second(seconds: float, positions: int) -> None:
    assert whisper_positions(seconds) == positions


@pytest.mark.parametrize(("seconds", "remedy"), [(30.02, "30 or less"), (0.33, "Use 0.32"), (0.0, "0.02")])
def test_whisper_refuses_other_clips(seconds: float, remedy: str) -> None:
    with pytest.raises(ConfigError) as caught:
        whisper_positions(seconds)
    assert caught.value.value == seconds
    assert remedy in caught.value.remedy


# -- the libraries


@pytest.mark.parametrize("name", ["transformers", "peft"])
def test_a_missing_library_is_told_with_what_to_install(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = huggingface.importlib.util.find_spec
    monkeypatch.setattr(
        huggingface.importlib.util, "find_spec", lambda module, *rest: None if module == name else found(module, *rest)
    )
    with pytest.raises(ConfigError) as caught:
        tiny("whisper", method="lora")
    assert f"the library {name}, which is not installed" in caught.value.what
    assert "trainyard[speech]" in caught.value.remedy


def in_a_process(code: str) -> str:
    """What the code prints, errors and warnings too."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=True,
    )
    return done.stdout


def test_building_one_prints_nothing_and_does_without_torchao() -> None:
    build = described("whisper")
    said = in_a_process(
        "import sys\nfrom trainyard.models import build_model\n"
        f"build_model('encoder', **{build!r})\n"
        "assert 'torchao' not in sys.modules, 'it takes seconds'\n"
        "import importlib.util; print(importlib.util.find_spec('torchao') is not None)"
    )
    assert said.strip() in ("True", "False")


def test_models_alone_load_neither_library() -> None:
    said = in_a_process(
        "import sys, trainyard.models\nprint([m for m in ('transformers', 'peft', 'torchao') if m in sys.modules])"
    )
    assert said.strip() == "[]"
