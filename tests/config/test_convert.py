"""Round trips of every configuration there can be, with json and yaml as the oracles."""

from __future__ import annotations

import json
from dataclasses import fields, is_dataclass, replace
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from trainyard.audio.schema import AudioData, EncoderModel
from trainyard.config.convert import from_dict, to_dict, to_yaml
from trainyard.config.schema import (
    AugmentationsSection,
    CheckpointSection,
    Config,
    DistillationOptions,
    EarlyStopping,
    MarginOptions,
    OutputsSection,
    RunSection,
    SplitOptions,
    TrainingSection,
)
from trainyard.config.yamlfile import YamlFile
from trainyard.errors import ConfigError, UnsafeTargetError
from trainyard.images.schema import CsvData, DigitsData, ImageFolderData, NpzData
from trainyard.models.schema import CnnModel, EfficientNetV2Model, MlpModel, MobileNetV2Model, PannsCnn14Model

FAST = settings(deadline=None, max_examples=60)

text = st.text(max_size=12) | st.sampled_from(
    ["null", "1e5", "1e-3", "2024-01-01", "${run.seed}", "yes", "0x1f", "1:30", "~", "- a", "a: b", "'", "\x85\u2028"]
)
name = text.filter(bool)
path = name.filter(lambda value: value != "???")
number = st.floats(allow_nan=False, allow_infinity=False)
count = st.integers(1, 10**6)
names = st.none() | st.lists(name, min_size=2, max_size=4, unique=True).map(tuple)
size = st.tuples(count, count)
free = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**9), 10**9) | number | text,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(text.filter(lambda key: not key.startswith("_")), inner, max_size=3)
    ),
    max_leaves=6,
)
splits = st.builds(
    SplitOptions,
    val_fraction=st.floats(0.01, 0.4),
    test_fraction=st.floats(0.01, 0.5),
    seed=st.integers(0, 2**32 - 1),
    on_leak=st.sampled_from(["warn", "error", "drop"]),
)
images: dict[str, Any] = {
    "path": path,
    "dataset": st.none() | text,
    "image_size": size,
    "channels": st.sampled_from([1, 3]),
    "classes": names,
    "workers": st.integers(0, 9),
    "on_bad_file": st.sampled_from(["error", "skip"]),
    "split": splits,
}
data = (
    st.builds(DigitsData, dataset=text, split=splits)
    | st.builds(NpzData, path=path, dataset=st.none() | text, classes=names, split=splits)
    | st.builds(ImageFolderData, **images)
    | st.builds(CsvData, **images, path_column=text, group_column=st.none() | text)
    | st.builds(
        AudioData,
        corpus=st.sampled_from(["folder", "fsdd", "recanvo"]),
        path=path,
        classes=names,
        sample_rate=st.sampled_from([16000, 44100]),
        clip_seconds=st.floats(0.1, 30),
        fmax=st.none() | st.floats(1, 8000),
        top_db=st.none() | st.floats(1, 100),
        split=splits,
    )
)
dropout = st.floats(0, 1, exclude_max=True)
model = (
    st.builds(MlpModel, hidden=st.lists(count, max_size=4).map(tuple), dropout=dropout)
    | st.builds(CnnModel, channels=st.lists(count, min_size=1, max_size=4).map(tuple), dropout=dropout)
    | st.builds(EfficientNetV2Model, size=st.sampled_from(["small", "l"]), trainable_blocks=st.none() | count)
    | st.builds(PannsCnn14Model, width=count, norm=st.sampled_from(["batch", "group"]), weights=st.none() | name)
    | st.builds(MobileNetV2Model, width=st.floats(0.1, 4), norm=st.just("instance"))
)


def target(*dotted: str) -> st.SearchStrategy[dict[str, Any]]:
    keys = text.filter(lambda key: not key.startswith("_") and key != "lr")
    return st.builds(
        lambda name, extra: {"_target_": name, **extra},
        st.sampled_from(dotted),
        st.dictionaries(keys, free, max_size=3),
    )


training = st.builds(
    TrainingSection,
    epochs=count,
    learning_rate=st.floats(min_value=0, exclude_min=True, allow_infinity=False),
    optimizer=target("torch.optim.AdamW", "torch.optim.SGD"),
    scheduler=st.none() | target("torch.optim.lr_scheduler.StepLR"),
    criterion=target("torch.nn.CrossEntropyLoss"),
    class_weights=st.sampled_from(["none", "balanced"])
    | st.lists(st.floats(0.1, 9), min_size=1, max_size=3).map(tuple),
    precision=st.sampled_from(["fp32", "bf16"]),
    grad_clip=st.none() | st.floats(0.1, 10),
    monitor=st.sampled_from(["val_loss", "train_loss"]),
    use_arcface=st.sampled_from(["arcface", "circle"]),
    margin=st.builds(MarginOptions, scale=st.none() | st.floats(1, 80), margin=st.none() | st.floats(0, 1)),
    distillation=st.builds(
        DistillationOptions, enabled=st.booleans(), teacher_model_path=name, alpha=st.floats(0, 1), temperature=count
    ).map(lambda options: replace(options, temperature=float(options.temperature))),
    early_stopping=st.builds(EarlyStopping, patience=st.none() | count, min_delta=st.floats(0, 1)),
)
run = st.builds(
    RunSection,
    project=name,
    name=st.none() | text,
    seed=st.integers(0, 2**32 - 1),
    device=st.sampled_from(["auto", "cpu", "cuda:1"]),
    tags=st.lists(text, max_size=3).map(tuple),
    note=text,
)
checkpoint = st.builds(
    CheckpointSection, keep_last=st.none() | count, every_steps=st.none() | count, single_file=st.booleans()
)
configs = st.builds(
    Config,
    data=data,
    model=model,
    run=run,
    training=training,
    checkpoint=checkpoint,
    outputs=st.builds(OutputsSection, plots=st.booleans()),
    layout=name,
    tracker=st.sampled_from(["none", "tensorboard"]),
    recipe=text,
)


def same(left: Any, right: Any) -> bool:
    """Equal, and of the same types all the way down: 1 is not 1.0 here, nor is a list a tuple."""
    if type(left) is not type(right):
        return False
    if is_dataclass(left):
        return all(same(getattr(left, field.name), getattr(right, field.name)) for field in fields(left))
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    if isinstance(left, list | tuple):
        return len(left) == len(right) and all(map(same, left, right))
    return bool(left == right)


encoders = st.builds(
    EncoderModel,
    type=st.sampled_from(["whisper", "wavlm"]),
    size=st.sampled_from(["base", "large"]),
    method=st.sampled_from(["lora", "full"]),
    layers=st.sampled_from([None, "012", "3-5"]),
    path=st.none() | name,
    lora_alpha=st.floats(0.1, 99),
)


@FAST
@given(encoders, target("audiomentations.Compose"))
def test_round_trip_of_an_encoder_and_what_it_hears(model: EncoderModel, waveform: dict[str, Any]) -> None:
    config = Config(data=AudioData(), model=model, augmentations=AugmentationsSection(waveform=waveform))
    assert same(from_dict(json.loads(json.dumps(to_dict(config)))), config)
    assert same(from_dict(yaml.safe_load(to_yaml(config))), config)


@FAST
@given(configs)
def test_round_trip(config: Config) -> None:
    assert same(from_dict(to_dict(config)), config)


@FAST
@given(configs)
def test_round_trip_through_json(config: Config) -> None:
    assert same(from_dict(json.loads(json.dumps(to_dict(config), allow_nan=False))), config)


@FAST
@given(configs)
def test_round_trip_through_yaml(config: Config) -> None:
    written = to_yaml(config)
    assert same(from_dict(yaml.safe_load(written)), config)
    ours = YamlFile("x.yaml", written)
    assert ours.faults == []
    assert same(from_dict(ours.values), config)


def test_absent_keys_have_their_defaults() -> None:
    assert from_dict({}) == Config()
    assert from_dict({"model": {"name": "mlp"}}) == Config(model=MlpModel())


def test_a_copy_shares_nothing() -> None:
    config = Config()
    plain = to_dict(config)
    plain["training"]["optimizer"]["lr"] = 3
    assert config == Config()
    back = from_dict(to_dict(config))
    assert back.training.optimizer is not config.training.optimizer


def test_tuples_of_a_caller_are_taken() -> None:
    assert from_dict({"model": {"name": "mlp", "hidden": (3, 4)}}).model == MlpModel(hidden=(3, 4))


def test_every_fault_at_once_and_where() -> None:
    mapping = {
        "training": {"epochs": "3", "bach_size": 1},
        "model": {"name": "cnnn"},
        "run": [],
        "data": {"source": "npz"},
        "layout": "",
    }
    with pytest.raises(ConfigError) as caught:
        from_dict(mapping, where="outputs/x/config.yaml")
    told = caught.value.problems
    assert len(told) == 6
    assert all("outputs/x/config.yaml" in problem for problem in told)
    for words in ('"3"', "batch_size", "`cnn`?", "`run` is []", "`data.path` is required", "`layout`"):
        assert words in "\n".join(told)


@pytest.mark.parametrize("value", [b"x", {1, 2}, object(), float("nan"), {1: 2}, "\udcff", [float("inf")]])
def test_values_that_no_file_can_hold(value: Any) -> None:
    with pytest.raises(ConfigError, match="optimizer"):
        from_dict({"training": {"optimizer": {"_target_": "torch.optim.SGD", "x": value}}})
    with pytest.raises(ConfigError, match="note"):
        from_dict({"run": {"note": value}})


def test_huge_numbers() -> None:
    with pytest.raises(ConfigError, match="finite"):
        from_dict({"training": {"learning_rate": 10**400}})


def test_unsafe_targets() -> None:
    mapping = {"training": {"optimizer": {"_target_": "builtins.eval"}}}
    with pytest.raises(UnsafeTargetError, match=r"builtins\.eval"):
        from_dict(mapping)
    assert from_dict(mapping, trust=True).training.optimizer == {"_target_": "builtins.eval"}
