from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tiny_encoders import CLASSES, SECONDS, TYPES, a_few_steps, inputs_of, settings, theirs, tiny

from trainyard.audio.encoders import EncoderClassifier
from trainyard.audio.encoders.build import build as build_encoder
from trainyard.audio.peft import base_of, export_adapter, export_merged, merge
from trainyard.errors import ConfigError, UserError
from trainyard.models import from_model_config, huggingface, model_config

PEFTS_OWN = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated")
FILES = [
    "README.md",
    "adapter_config.json",
    "adapter_model.safetensors",
    "config.json",
    "head.safetensors",
    "preprocessor_config.json",
]


def plain(model: EncoderClassifier) -> Any:
    """transformers' classifier of the same config, with the encoder before its LoRA and without our head."""
    other = tiny(model.family.type, seed=0, method="frozen").model
    base = {model.saved_name(name): tensor for name, tensor in model.state_dict().items()}
    other.load_state_dict({name: base[name] for name in other.state_dict()})
    for name in ("layer_weights", "projector.weight", "projector.bias", "classifier.weight", "classifier.bias"):
        other.get_parameter(name).data.zero_()
    return other.eval()


def described(model: EncoderClassifier, **more: Any) -> dict[str, Any]:
    """The `config.json` of its checkpoint."""
    shape = list(inputs_of(model).shape[1:])
    return model_config("encoder", **{**settings(model.family.type), "item_shape": shape, **more})


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def published(type_: str, path: Path, **more: Any) -> dict[str, Any]:
    """Has transformers save an encoder in half precision; returns what `build_encoder` takes to begin with it."""
    with huggingface.errors_only():
        theirs(type_, path, **more).half().save_pretrained(path)
    return {"type": type_, "path": str(path), "classes": CLASSES, "clip_seconds": SECONDS, "projector": 8}


def as_told(folder: Path, sound: np.ndarray[Any, Any]) -> dict[str, Any]:
    """Runs the lines of the folder's README.md as they are; returns their variables."""
    names: dict[str, Any] = {"sound": sound}
    lines = "".join(re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL))
    assert "trainyard" not in lines.replace(str(folder.parent), "")
    with huggingface.errors_only(), huggingface.without_torchao():
        exec(compile(lines, "README.md", "exec"), names)
    return names


def logits(model: Any, inputs: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return model(inputs).logits


@pytest.mark.parametrize("layers", [None, "1-2"])
@pytest.mark.parametrize("type_", TYPES)
def test_merged_equals_unmerged_and_loads_without_peft(
    type_: str, layers: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import AutoFeatureExtractor, AutoModelForAudioClassification

    model = a_few_steps(tiny(type_, layers=layers, lora_alpha=32.0))
    inputs = inputs_of(model)
    before = model(inputs)
    export_merged(model, tmp_path / "merged")
    assert torch.equal(model(inputs), before), "the model is as it was"
    assert sorted(path.name for path in (tmp_path / "merged").iterdir()) == [
        "config.json",
        "model.safetensors",
        "preprocessor_config.json",
    ]
    with huggingface.errors_only():
        loaded, info = AutoModelForAudioClassification.from_pretrained(tmp_path / "merged", output_loading_info=True)
        AutoFeatureExtractor.from_pretrained(tmp_path / "merged")
    assert not any(info.values())
    assert not any("lora" in name for name in loaded.state_dict())
    torch.testing.assert_close(logits(loaded.eval(), inputs), before, rtol=0, atol=1e-5)
    base = plain(model)
    base.load_state_dict(merge(model))
    torch.testing.assert_close(logits(base, inputs), before, rtol=0, atol=1e-5)


@pytest.mark.parametrize("method", ["frozen", "full"])
def test_without_a_lora_the_merged_model_is_the_model(method: str, tmp_path: Path) -> None:
    model = a_few_steps(tiny("hubert", method=method))
    weights = merge(model)
    assert all(torch.equal(weights[name.removeprefix("model.")], t) for name, t in model.state_dict().items())
    export_merged(model, tmp_path / "out")


LAYER_NORM = {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True}


@PEFTS_OWN
@pytest.mark.filterwarnings("ignore:Support for mismatched key_padding_mask")  # transformers' WavLM, given a mask
@pytest.mark.parametrize(
    ("type_", "more"), [*((type_, {}) for type_ in TYPES), ("wav2vec2", LAYER_NORM), ("wavlm", LAYER_NORM)]
)
def test_the_lines_of_the_readme_put_it_on_the_published_encoder(
    type_: str, more: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    begun = published(type_, Path("there"), **more)
    model = a_few_steps(build_encoder(**begun, method="lora"))
    config = model_config("encoder", item_shape=list(inputs_of(model).shape[1:]), **begun, method="lora")
    assert base_of(config) == str(tmp_path / "there"), "of a path within the folder at hand, too"
    export_adapter(model, tmp_path / "out", config, base_of(config))
    assert names_in(tmp_path / "out") == FILES
    settings = json.loads(Path("out/adapter_config.json").read_text())
    assert settings["base_model_name_or_path"] == str(tmp_path / "there")
    sound = np.random.default_rng(0).standard_normal(1600).astype(np.float32)
    told = as_told(tmp_path / "out", sound)
    (values,) = (value for name, value in told["inputs"].items() if name.startswith("input_"))
    with torch.no_grad():
        torch.testing.assert_close(told["logits"].detach(), model(values), rtol=0, atol=1e-5)
        torch.testing.assert_close(told["model"](inputs_of(model)).logits, model(inputs_of(model)), rtol=0, atol=1e-5)
    assert told["label"] in CLASSES
    assert told["config"].id2label == dict(enumerate(CLASSES))


@PEFTS_OWN
@pytest.mark.parametrize("type_", ["whisper", "wav2vec2"])
def test_an_encoder_that_is_nowhere_else_lies_in_it(
    type_: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    model = a_few_steps(tiny(type_))
    config = described(model)
    assert base_of(config) is None
    export_adapter(model, tmp_path / "out", config, None)
    assert names_in(tmp_path / "out") == sorted([*FILES, "base"])
    assert json.loads(Path("out/adapter_config.json").read_text())["base_model_name_or_path"] is None
    assert not any("lora" in name or "projector" in name for name in load_file("out/base/model.safetensors"))
    Path("out").rename("moved")
    readme = Path("moved/README.md")
    readme.write_text(readme.read_text().replace("folder = 'out'", "folder = 'moved'"))
    told = as_told(Path("moved"), np.zeros(1600, np.float32))
    torch.testing.assert_close(logits(told["model"], inputs_of(model)), model(inputs_of(model)), rtol=0, atol=1e-5)


def test_its_config_rebuilds_the_whole_model_and_keeps_the_labels_in_order(tmp_path: Path) -> None:
    classes = [f"c{number}" for number in range(12)]
    model = tiny("hubert", classes=classes)
    config = described(model, classes=classes)
    export_adapter(model, tmp_path / "out", config, "someone/hubert")
    kept = json.loads((tmp_path / "out/config.json").read_text())
    assert list(kept["id2label"].values()) == classes
    assert kept["trainyard"]["clip_seconds"] == SECONDS
    again = from_model_config(kept)
    assert again.state_dict().keys() == model.state_dict().keys()


@pytest.mark.parametrize(("size", "base"), [("base", "openai/whisper-base"), ("large", "openai/whisper-large-v3")])
def test_a_published_encoder_is_named_by_its_hub_id(size: str, base: str) -> None:
    assert base_of({"trainyard": {"type": "whisper", "size": size, "pretrained": True, "path": None}}) == base


@PEFTS_OWN
@pytest.mark.parametrize("type_", TYPES)
def test_peft_puts_the_adapter_on_the_encoder(type_: str, tmp_path: Path) -> None:
    with huggingface.without_torchao():
        from peft import PeftModel

        model = a_few_steps(tiny(type_, layers="0"))
        inputs = inputs_of(model)
        export_adapter(model, tmp_path / "adapter", described(model, layers="0"), "someone/encoder")
        assert names_in(tmp_path / "adapter") == FILES
        base = plain(model)
        head = load_file(tmp_path / "adapter/head.safetensors")
        assert len(head) == (6 if type_ == "whisper" else 5), "a Whisper's positions are cut to the clip"
        base.load_state_dict(head, strict=False)
        without = logits(base, inputs)
        adapted = PeftModel.from_pretrained(base, tmp_path / "adapter").eval()
    assert not torch.allclose(without, model(inputs), atol=1e-4)
    torch.testing.assert_close(logits(adapted, inputs), model(inputs), rtol=0, atol=1e-6)


@pytest.mark.parametrize("method", ["adapter", "prompt"])
def test_parts_that_no_plain_model_has_are_not_merged(method: str, tmp_path: Path) -> None:
    model = tiny("whisper", method=method)
    with pytest.raises(ConfigError, match=method):
        export_merged(model, tmp_path / "out")
    with pytest.raises(ConfigError, match=method):
        export_adapter(model, tmp_path / "out", described(model, method=method), None)
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    model = tiny("whisper")
    (tmp_path / "out").mkdir()
    with pytest.raises(UserError, match="already exists"):
        export_merged(model, tmp_path / "out")
    with pytest.raises(UserError, match="already exists"):
        export_adapter(model, tmp_path / "out", described(model), None)
    assert list(tmp_path.rglob("*")) == [tmp_path / "out"]
