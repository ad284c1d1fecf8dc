from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tiny_encoders import TYPES, a_few_steps, inputs_of, tiny

from trainyard.errors import ConfigError, UserError
from trainyard.export.peft import export_adapter, export_merged, merge
from trainyard.models import library
from trainyard.models.encoders import EncoderClassifier


def plain(model: EncoderClassifier) -> Any:
    """transformers' classifier of the same config, with the encoder before its LoRA and without our head."""
    other = tiny(model.family.type, seed=0, method="frozen").model
    base = {model.saved_name(name): tensor for name, tensor in model.state_dict().items()}
    other.load_state_dict({name: base[name] for name in other.state_dict()})
    for name in ("layer_weights", "projector.weight", "projector.bias", "classifier.weight", "classifier.bias"):
        other.get_parameter(name).data.zero_()
    return other.eval()


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
        "config.json", "model.safetensors", "preprocessor_config.json"
    ]  # fmt: skip
    with library.quiet():
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


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated")  # peft's own
@pytest.mark.parametrize("type_", TYPES)
def test_peft_puts_the_adapter_on_the_encoder(type_: str, tmp_path: Path) -> None:
    with library.without_torchao():
        from peft import PeftModel

        model = a_few_steps(tiny(type_, layers="0"))
        inputs = inputs_of(model)
        export_adapter(model, tmp_path / "adapter")
        assert sorted(path.name for path in (tmp_path / "adapter").iterdir()) == [
            "adapter_config.json", "adapter_model.safetensors", "head.safetensors", "preprocessor_config.json"
        ]  # fmt: skip
        base = plain(model)
        head = load_file(tmp_path / "adapter/head.safetensors")
        assert len(head) == 5
        base.load_state_dict(head, strict=False)
        without = logits(base, inputs)
        adapted = PeftModel.from_pretrained(base, tmp_path / "adapter").eval()
    assert not torch.allclose(without, model(inputs), atol=1e-4)
    torch.testing.assert_close(logits(adapted, inputs), model(inputs), rtol=0, atol=1e-6)


@pytest.mark.parametrize("method", ["adapter", "prompt"])
def test_parts_that_no_plain_model_has_are_not_merged(method: str, tmp_path: Path) -> None:
    model = tiny("whisper", method=method)
    for export in (export_merged, export_adapter):
        with pytest.raises(ConfigError, match=method):
            export(model, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    model = tiny("whisper")
    (tmp_path / "out").mkdir()
    for export in (export_merged, export_adapter):
        with pytest.raises(UserError, match="exists already"):
            export(model, tmp_path / "out")
    assert list(tmp_path.rglob("*")) == [tmp_path / "out"]
