"""A run's checkpoints of an encoder: plain transformers loads them, ours comes back, and they are small."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tiny_encoders import SECONDS, TYPES, a_few_steps, inputs_of, settings, shape_of, tiny

from trainyard.audio.encoders import EncoderClassifier
from trainyard.audio.encoders.build import build as build_encoder
from trainyard.audio.peft import export_merged
from trainyard.checkpoints import FORMATS, commit
from trainyard.models import from_model_config, huggingface, model_config
from trainyard.retention import KeepPolicy, rotate
from trainyard.training.checkpoint.capture import Capture, Trainee, rng_state
from trainyard.training.checkpoint.read import load
from trainyard.training.checkpoint.restore import load_weights, restore
from trainyard.training.checkpoint.write import encode
from trainyard.training.progress import Progress

CPU = torch.device("cpu")
SHARED: dict[str, Any] = {"hidden_size": 64, "ffn_size": 96}  # large enough for a frozen shard of its own


def trainee_of(model: EncoderClassifier, config: dict[str, Any]) -> Trainee:
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], 0.01)
    return Trainee(model, optimizer, None, torch.amp.GradScaler("cpu", enabled=False), CPU, config, {"a": 1})


def save(run: Any, capture: Capture, step: int = 1) -> Path:
    """As training commits it."""
    files = encode(
        capture,
        capture.take(),
        Progress(step=step, epoch=step).to_dict(),
        [rng_state(CPU)],
        format_=FORMATS[run.layout.checkpoint_format],
        step=step,
        epoch=float(step),
        metrics={"val_loss": 1.0},
        best_checkpoint=None,
    )
    checkpoint = commit(
        run,
        files.writers,
        step=step,
        epoch=float(step),
        metrics={"val_loss": 1.0},
        linked=files.linked,
        expected_bytes=files.expected_bytes,
    )
    return run.yard.root / checkpoint.paths["checkpoint"]


def saved(run: Any, type_: str, **more: Any) -> tuple[EncoderClassifier, Path]:
    """A model with a few steps behind it, and its checkpoint."""
    model = a_few_steps(tiny(type_, **more))
    shape = shape_of(type_, more.get("clip_seconds", SECONDS))
    config = model_config("encoder", item_shape=shape, **settings(type_, **more))
    return model, save(run, Capture(trainee_of(model, config), run.yard.objects))


def whole_bytes(model: EncoderClassifier) -> int:
    return sum(parameter.nbytes for parameter in model.parameters())


def frozen_bytes(model: EncoderClassifier) -> int:
    return sum(parameter.nbytes for parameter in model.parameters() if not parameter.requires_grad)


def logits(model: Any, inputs: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        found = model(inputs)
    return found if isinstance(found, torch.Tensor) else found.logits


@pytest.mark.parametrize("layout", ["grouped", "files"])
@pytest.mark.parametrize(
    ("type_", "method"), [(t, m) for t in TYPES for m in ("frozen", "lora", "full") if (t, m) != ("wav2vec2", "lora")]
)
def test_plain_transformers_computes_the_same(
    type_: str, method: str, layout: str, new_run: Callable[..., Any]
) -> None:
    from transformers import AutoModelForAudioClassification

    model, path = saved(new_run(layout), type_, method=method, layers=None if method == "frozen" else "1-2", **SHARED)
    names = {file.name for file in path.iterdir()}
    assert ("adapter_config.json" in names) == ("adapter_model.safetensors" in names) == (method == "lora")
    shared = layout == "grouped" and (method != "full" or 2 * frozen_bytes(model) >= whole_bytes(model))
    assert ("model-frozen.safetensors" in names) == shared
    assert ("model.safetensors" in names) == (layout == "grouped" and not shared)
    with huggingface.errors_only(), huggingface.without_torchao():
        loaded, info = AutoModelForAudioClassification.from_pretrained(path, output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    inputs = inputs_of(model)
    for one in (model, loaded):
        one.requires_grad_(False)  # torch's attention rounds differently where weights could have a gradient
    assert torch.equal(logits(loaded.eval(), inputs), logits(model, inputs))
    assert loaded.config.id2label == {0: "cry", 1: "laugh", 2: "sigh"}


def test_transformers_takes_no_lora_beside_a_wav2vec2(new_run: Callable[..., Any], tmp_path: Path) -> None:
    """Its `load_adapter` means adapters for languages there. It says so; merged, the model loads."""
    from transformers import AutoModelForAudioClassification

    model, path = saved(new_run(), "wav2vec2", method="lora", **SHARED)
    with huggingface.errors_only(), huggingface.without_torchao():
        with pytest.raises(ValueError, match="Cannot load_adapter"):
            AutoModelForAudioClassification.from_pretrained(path)
        export_merged(model, tmp_path / "merged")
        loaded = AutoModelForAudioClassification.from_pretrained(tmp_path / "merged").eval()
    torch.testing.assert_close(logits(loaded, inputs_of(model)), logits(model, inputs_of(model)), rtol=0, atol=1e-5)


@pytest.mark.parametrize("layout", ["grouped", "shared", "files"])
@pytest.mark.parametrize("method", ["lora", "adapter", "prompt"])
@pytest.mark.parametrize("type_", TYPES)
def test_it_comes_back_from_the_files_alone(type_: str, method: str, layout: str, new_run: Callable[..., Any]) -> None:
    model, path = saved(new_run(layout), type_, method=method, layers="1-2")
    inputs = inputs_of(model)
    read = load(path)
    again = from_model_config(read.model_config)
    assert isinstance(again, EncoderClassifier)
    trainee = trainee_of(again, read.model_config)
    assert restore(trainee, read, str(path)).step == 1
    assert torch.equal(logits(again.eval(), inputs), logits(model, inputs))
    names = {n for n, p in model.named_parameters() if p.requires_grad}
    assert {n for n, p in again.named_parameters() if p.requires_grad} == names


@pytest.mark.parametrize("method", ["adapter", "prompt"])
def test_what_transformers_cannot_run_lies_beside_what_it_can(method: str, new_run: Callable[..., Any]) -> None:
    """It loads the encoder and the head, and computes without the parts that were added."""
    from transformers import AutoModelForAudioClassification

    model, path = saved(new_run(), "hubert", method=method, **SHARED)
    with huggingface.errors_only(), huggingface.without_torchao():
        loaded, info = AutoModelForAudioClassification.from_pretrained(path, output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    added = load_file(path / "adapter_model.safetensors")
    assert all("bottleneck" in name or name.endswith("prompt") for name in added)
    own = {model.saved_name(name): tensor for name, tensor in model.state_dict().items()}
    assert all(torch.equal(own[name], tensor) for name, tensor in loaded.state_dict().items())
    assert own.keys() == loaded.state_dict().keys() | added.keys()


def test_the_adapter_is_apart_and_the_head_is_not(new_run: Callable[..., Any]) -> None:
    _, path = saved(new_run(), "whisper", layers="0", **SHARED)
    adapter = load_file(path / "adapter_model.safetensors")
    assert all(name.startswith("base_model.model.encoder.layers.0.") for name in adapter)
    assert len(adapter) == 12
    trained = load_file(path / "model-trained.safetensors")
    assert set(trained) == {
        "layer_weights",
        "projector.weight",
        "projector.bias",
        "classifier.weight",
        "classifier.bias",
    }
    frozen = load_file(path / "model-frozen.safetensors")
    assert "encoder.layers.0.fc1.weight" in frozen
    assert not any("base_layer" in name or name.startswith("model.") for name in frozen)
    weight_map = json.loads((path / "model.safetensors.index.json").read_bytes())["weight_map"]
    assert weight_map.keys() == trained.keys() | frozen.keys()
    assert not set(weight_map) & set(adapter)


def test_a_whole_encoder_that_trains_is_one_file(new_run: Callable[..., Any]) -> None:
    """Its convolutions and positions are frozen, megabytes of them; little of the whole."""
    model = build_encoder(
        type="whisper", size="tiny", pretrained=False, classes=["a", "b"], clip_seconds=30.0, method="full"
    )
    assert 1 << 20 < frozen_bytes(model) < 0.2 * whole_bytes(model)
    run = new_run()
    path = save(run, Capture(trainee_of(model, {}), run.yard.objects))
    assert [file.name for file in path.glob("model*")] == ["model.safetensors"]


@pytest.mark.parametrize("type_", ["whisper", "wavlm"])
def test_transformers_knows_the_input(type_: str, new_run: Callable[..., Any]) -> None:
    from transformers import AutoFeatureExtractor

    model, path = saved(new_run(), type_, clip_seconds=1.0, **({} if type_ == "whisper" else {"size": "large"}))
    extractor = AutoFeatureExtractor.from_pretrained(path)
    sound = torch.randn(11_000).numpy()
    inputs = extractor(sound, sampling_rate=16_000, return_tensors="pt")
    assert extractor.sampling_rate == 16_000
    if type_ == "whisper":
        assert inputs.input_features.shape == (1, 80, 100)
    else:
        assert inputs.attention_mask.sum() == 11_000
        assert abs(float(inputs.input_values.mean())) < 1e-5
        assert float(inputs.input_values.std()) == pytest.approx(1, abs=1e-3)
    (values,) = (inputs[name] for name in inputs if name.startswith("input"))
    assert logits(model, values).shape == (1, 3)


def test_weights_of_another_method_do_not_fit(new_run: Callable[..., Any]) -> None:
    from trainyard.errors import CheckpointError

    _, path = saved(new_run(), "whisper", method="lora", layers="0")
    with pytest.raises(CheckpointError, match=r"unexpected \(base_model.model.encoder.layers.0"):
        load_weights(tiny("whisper", method="frozen"), load(path).model, "there")


# -- disk


def disk_bytes(*roots: Path) -> int:
    """As `du` counts: blocks, each inode once."""
    inodes = {}
    for root in roots:
        for folder, _, names in os.walk(root):
            for name in names:
                status = os.stat(Path(folder, name))
                inodes[status.st_dev, status.st_ino] = status.st_blocks * 512
    return sum(inodes.values())


def moved(capture: Capture, steps: Iterable[int], run: Any, policy: KeepPolicy) -> None:
    for step in steps:
        for group in capture.trainee.optimizer.param_groups:
            for parameter in group["params"]:
                parameter.grad = torch.full_like(parameter, 0.5)
        capture.trainee.optimizer.step()
        save(run, capture, step)
        rotate(run, policy, monitor="val_loss", mode="min")


def ten_checkpoints(run: Any, keep_optimizer: Any, **more: Any) -> float:
    """Room on disk of ten checkpoints of a whisper-base's size, by that of one."""
    torch.manual_seed(0)
    model = build_encoder(type="whisper", size="base", pretrained=False, classes=["a", "b"], clip_seconds=30.0, **more)
    whole = sum(parameter.nbytes for parameter in model.parameters())
    assert whole / 4 == pytest.approx(20.7e6, rel=0.05), "20.6 million, and a head"
    trainee = trainee_of(model, {})
    capture, policy = Capture(trainee, run.yard.objects), KeepPolicy(last=None, optimizer=keep_optimizer)
    moved(capture, [1], run, policy)
    one = disk_bytes(run.home, run.yard.own)
    assert one == pytest.approx(whole, rel=0.1)
    moved(capture, range(2, 11), run, policy)
    assert len(run.snapshot.checkpoints) == 10
    return disk_bytes(run.home, run.yard.own) / one


def test_ten_lora_checkpoints_take_little_more_than_one_model(new_run: Callable[..., Any]) -> None:
    """Of 21 million weights, 350 thousand train; superseded checkpoints lose the optimizer's state."""
    assert ten_checkpoints(new_run(), "last", layers="012") <= 1.2


def test_they_differ_by_what_was_trained(new_run: Callable[..., Any]) -> None:
    run = new_run()
    model = tiny("whisper", clip_seconds=SECONDS, **SHARED)
    capture = Capture(trainee_of(model, {}), run.yard.objects)
    paths = [save(run, capture, step) for step in (1, 2)]
    assert len({(path / "model-frozen.safetensors").stat().st_ino for path in paths}) == 1
