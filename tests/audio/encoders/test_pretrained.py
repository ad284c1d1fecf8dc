"""Encoders from a directory that transformers wrote, and from a hub that is not there."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_encoders import CLASSES, TYPES, WAVEFORM, inputs_of, theirs, tiny

from trainyard.audio.encoders import EncoderClassifier, whisper_mels
from trainyard.audio.encoders.build import build as build_encoder
from trainyard.audio.encoders.families import FAMILIES
from trainyard.errors import ConfigError
from trainyard.models import from_model_config, huggingface, model_config


def loaded(type_: str, path: Path, **more: Any) -> EncoderClassifier:
    return build_encoder(
        **{"type": type_, "path": str(path), "classes": CLASSES, "clip_seconds": 0.1, "projector": 8, **more}
    ).eval()


@pytest.mark.parametrize("method", ["frozen", "lora"])
@pytest.mark.parametrize("type_", WAVEFORM)
def test_the_encoder_is_the_one_that_was_saved(type_: str, method: str, tmp_path: Path) -> None:
    base = theirs(type_, tmp_path / "there")
    model = loaded(type_, tmp_path / "there", method=method)
    inputs = torch.randn(2, 1600)
    with torch.no_grad():
        wanted = base(inputs, output_hidden_states=True).hidden_states
        found = model._hidden_states(inputs, None)
    torch.testing.assert_close(found, wanted)
    assert len(found) == 3
    config = model.model.config
    assert (config.layerdrop, config.mask_time_prob, config.apply_spec_augment) == (0.0, 0.0, False)


@pytest.mark.parametrize("kind", ["Model", "ForConditionalGeneration", "ForAudioClassification"])
def test_a_whisper_with_decoder_or_without_is_cut_to_the_clip(kind: str, tmp_path: Path) -> None:
    base = theirs("whisper", tmp_path / "there", kind, max_source_positions=40)
    encoder = base.encoder if kind == "ForAudioClassification" else base.get_encoder()
    model = loaded("whisper", tmp_path / "there", method="full")
    own = model.model.encoder.state_dict()
    for name, tensor in encoder.state_dict().items():
        wanted = tensor[:5] if name == "embed_positions.weight" else tensor
        assert torch.equal(own[name], wanted), name
    assert model.model.config.max_source_positions == 5
    assert not model.model.encoder.embed_positions.weight.requires_grad
    assert model.model.config.num_mel_bins == whisper_mels("base", str(tmp_path / "there")) == 20
    with torch.no_grad():  # at the full length, the first layer's input is the same up to the edge of the clip
        sound = torch.randn(1, 20, 80)
        whole = loaded("whisper", tmp_path / "there", clip_seconds=0.8)
        cut, uncut = model._hidden_states(sound[..., :10], None)[0], whole._hidden_states(sound, None)[0]
        torch.testing.assert_close(cut[:, :4], uncut[:, :4])
    with pytest.raises(ConfigError, match=r"the 0.8 s"):
        loaded("whisper", tmp_path / "there", clip_seconds=1.0)


@pytest.mark.parametrize("type_", TYPES)
def test_its_config_needs_the_directory_no_more(type_: str, tmp_path: Path) -> None:
    theirs(type_, tmp_path / "there")
    model = loaded(type_, tmp_path / "there")
    shape = (20, 10) if type_ == "whisper" else (1600,)
    config = model_config(
        "encoder",
        type=type_,
        path=str(tmp_path / "there"),
        classes=CLASSES,
        clip_seconds=0.1,
        projector=8,
        item_shape=shape,
    )
    (tmp_path / "there").rename(tmp_path / "elsewhere")
    again = from_model_config(config).eval()
    again.load_state_dict(model.state_dict())
    inputs = torch.randn(2, *shape)
    assert torch.equal(again(inputs), model(inputs))


def test_a_seed_decides_the_new_head(tmp_path: Path) -> None:
    theirs("hubert", tmp_path / "there")
    heads = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        heads.append(loaded("hubert", tmp_path / "there").model.classifier.weight)
    assert torch.equal(heads[0], heads[1])
    assert not torch.equal(heads[0], heads[2])


def test_a_head_of_other_classes_makes_way(tmp_path: Path) -> None:
    theirs("hubert", tmp_path / "there", "ForSequenceClassification", num_labels=11, use_weighted_layer_sum=True)
    model = loaded("hubert", tmp_path / "there")
    assert model.model.classifier.weight.shape == (3, 8)


def test_published_mels() -> None:
    assert [whisper_mels(size) for size in FAMILIES["whisper"].hub] == [80, 80, 80, 80, 128]


# -- what cannot be loaded


def rewrite(path: Path, change: Any) -> None:
    tensors = load_file(path / "model.safetensors")
    change(tensors)
    save_file({name: t.clone() for name, t in tensors.items()}, path / "model.safetensors", metadata={"format": "pt"})


def test_missing_weights_of_the_encoder_are_named(tmp_path: Path) -> None:
    theirs("wav2vec2", tmp_path)
    rewrite(tmp_path, lambda tensors: tensors.pop("encoder.layers.1.feed_forward.output_dense.weight"))
    with pytest.raises(ConfigError) as caught:
        loaded("wav2vec2", tmp_path)
    name = "wav2vec2.encoder.layers.1.feed_forward.output_dense.weight"
    assert f"lacks 1 weights of the encoder: {name}" in caught.value.what


def test_an_encoder_saved_under_no_known_names_is_not_random_weights(tmp_path: Path) -> None:
    """transformers would go on, with a line on the terminal."""
    theirs("whisper", tmp_path)
    rewrite(tmp_path, lambda tensors: [tensors.update({f"x.{name}": tensors.pop(name)}) for name in list(tensors)])
    with pytest.raises(ConfigError, match=r"lacks \d+ weights of the encoder: encoder\.conv1\.bias"):
        loaded("whisper", tmp_path)


def test_weights_of_other_sizes_are_named(tmp_path: Path) -> None:
    theirs("wavlm", tmp_path)
    rewrite(tmp_path, lambda tensors: tensors.update({"encoder.layer_norm.weight": torch.zeros(5)}))
    with pytest.raises(
        ConfigError, match=r"has other shapes for 1 weights of the encoder: wavlm.encoder.layer_norm.weight"
    ):
        loaded("wavlm", tmp_path)


def test_another_family_is_reported(tmp_path: Path) -> None:
    theirs("unispeech_sat", tmp_path)
    with pytest.raises(ConfigError) as caught:
        loaded("whisper", tmp_path)
    assert "holds a model of type 'unispeech-sat'" in caught.value.what
    assert "model.type=unispeech_sat" in caught.value.remedy


@pytest.mark.parametrize("damage", ["empty", "no weights", "torn weights", "torn config", "no config"])
def test_a_directory_without_a_model_is_reported(damage: str, tmp_path: Path) -> None:
    theirs("hubert", tmp_path / "there")
    config, weights = tmp_path / "there/config.json", tmp_path / "there/model.safetensors"
    if damage == "empty":
        config.unlink(), weights.unlink()
    elif damage == "no weights":
        weights.unlink()
    elif damage == "torn weights":
        weights.write_bytes(weights.read_bytes()[:1000])
    elif damage == "torn config":
        config.write_text(config.read_text()[:30])
    else:
        config.unlink()
    with pytest.raises(ConfigError) as caught:
        loaded("hubert", tmp_path / "there")
    assert (caught.value.keys, str(caught.value.value)) == (("model.path",), str(tmp_path / "there"))
    assert "model.pretrained=false" in caught.value.remedy


def test_a_lora_checkpoint_is_not_built_on(tmp_path: Path) -> None:
    theirs("hubert", tmp_path)
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(ConfigError) as caught:
        loaded("hubert", tmp_path)
    assert caught.value.keys == ("model.path",)
    assert "run.checkpoint_path" in caught.value.remedy


# -- the hub


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """No network, and an empty cache."""
    import huggingface_hub
    from huggingface_hub import errors

    asked: list[str] = []

    def unreachable(self: Any, source: str, **_: Any) -> None:
        asked.append(source)
        raise errors.HTTPError("no route")

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", unreachable)
    return asked


def test_without_a_network_a_hub_id_fails_in_seconds_and_says_what_to_do(hub: list[str]) -> None:
    huggingface.model_classes("WhisperConfig", "WhisperForAudioClassification")
    start = time.perf_counter()
    for use in (build_encoder, lambda **k: model_config("encoder", item_shape=(80, 10), **k)):
        with pytest.raises(ConfigError) as caught:
            use(type="whisper", path="trainyard-tests/none", classes=CLASSES, clip_seconds=0.1)
        assert (caught.value.keys, caught.value.value) == (("model.path",), "trainyard-tests/none")
        assert "hub" in caught.value.what
        assert "model.pretrained=false" in caught.value.remedy
    assert time.perf_counter() - start < 3
    assert hub == ["trainyard-tests/none"] * 2, "asked once each"


def test_offline_mode_is_respected(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ConfigError) as caught:
        build_encoder(type="hubert", path="trainyard-tests/none", classes=CLASSES, clip_seconds=0.1)
    assert caught.value.value == "trainyard-tests/none"
    assert "HF_HUB_OFFLINE" in caught.value.what


@pytest.mark.parametrize("path", ["./no/such/dir", "/no/such", "a b", "a/b/c"])
def test_a_path_where_nothing_exists_is_reported(path: str) -> None:
    with pytest.raises(ConfigError, match="neither a directory that exists nor a hub id"):
        build_encoder(type="hubert", path=path, classes=CLASSES, clip_seconds=0.1)


def test_usual_hub_ids() -> None:
    assert FAMILIES["whisper"].hub["base"] == "openai/whisper-base"
    assert all({"mini", *family.hub} == family.sizes.keys() for family in FAMILIES.values())
    with pytest.raises(ConfigError) as caught:
        build_encoder(type="whisper", size="mini", classes=["a", "b"], clip_seconds=1.0)
    assert caught.value.keys == ("model.size", "model.pretrained")


def test_what_is_loaded_can_be_trained(tmp_path: Path) -> None:
    for type_ in TYPES:
        theirs(type_, tmp_path / type_)
        model = loaded(type_, tmp_path / type_).train()
        model(inputs_of(model)).sum().backward()
    assert tiny("hubert").train()
