"""The shipped YAML: every choice of every group builds, and says nothing that the schema says already."""

from __future__ import annotations

from importlib.resources import files
from typing import get_args

import pytest
import torch
import yaml
from hydra import compose as compose_with_hydra
from hydra import initialize_config_module
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from trainyard.audio.schema import ENCODERS, AudioData
from trainyard.config.compose import compose
from trainyard.config.fields import hints_of
from trainyard.config.recipes import compose_shipped, groups
from trainyard.config.targets import build_target, validate_target
from trainyard.config.yamlfile import YamlFile
from trainyard.models.schema import EfficientNetV2Model
from trainyard.text.schema import TEXT_ENCODERS, TextData

CHOICES = [(group, option) for group, options in groups().items() for option in options if group != "recipe"]
TEXTS = ("text", "sentences", "goemotions", "text_encoder", *TEXT_ENCODERS, "bce", "focal")


@pytest.mark.parametrize(("group", "option"), CHOICES)
def test_every_choice_composes(group: str, option: str) -> None:
    """Over sound or text, which every model and augmentation takes; a choice is called after what it chooses."""
    texts = option in TEXTS
    data = [] if group == "data" or texts else ["data=vocal_bursts"]
    made_up = option in ("digits", "vocal_bursts", "audio", "sentences")
    path = ["data.path=x"] if group == "data" and not made_up else []
    config = compose("emotions" if texts else "digits", [*data, f"{group}={option}", *path])
    if isinstance(config.data, AudioData) and group == "data":
        assert option in (config.data.source, config.data.corpus, f"audio_{config.data.corpus}")
    elif isinstance(config.data, TextData) and group == "data":
        assert option in (config.data.source, config.data.corpus)
    elif group == "data":
        assert option == config.data.source
    elif group == "model":
        assert option.startswith(config.model.name) or option == getattr(config.model, "type", None)
        assert getattr(config.model, "qat", False) == option.endswith("_qat")


def test_hydra_composes_every_choice_the_same() -> None:
    combined = [
        {"training/optimizer": "sgd", "training/scheduler": "step", "augmentations": "strong"},
        {"data": "fsdd", "model": "whisper", "training": "default", "training/criterion": "focal"},
    ]
    with initialize_config_module("trainyard.conf", version_base="1.3"):
        for chosen in [{}, *({group: option} for group, option in CHOICES), *combined]:
            oracle = compose_with_hydra("config", [f"{group}={option}" for group, option in chosen.items()])
            assert compose_shipped(chosen) == OmegaConf.to_container(oracle, resolve=False), chosen


def test_every_corpus_and_every_type_of_encoder_has_a_choice() -> None:
    corpora = {
        f"audio_{name}" if name in ("folder", "csv") else name for name in get_args(hints_of(AudioData)["corpus"])
    }
    assert corpora <= set(groups()["data"])
    assert {*ENCODERS, *TEXT_ENCODERS, "encoder"} <= set(groups()["model"])


@pytest.mark.parametrize("option", groups()["augmentations"])
def test_every_waveform_augmentation_is_allowed(option: str) -> None:
    spec = compose("digits", ["data=vocal_bursts", f"augmentations={option}"]).augmentations.waveform
    if spec is not None:
        validate_target(spec)


def test_the_documented_command() -> None:
    config = compose(
        "digits", ["data=fsdd", "data.path=x", "model=efficientnet_v2_qat", "training.distillation.enabled=false"]
    )
    assert config.model == EfficientNetV2Model(qat=True)
    assert isinstance(config.data, AudioData)
    assert (config.data.corpus, config.data.path, config.data.split.test_fraction) == ("fsdd", "x", 0.1)


@pytest.mark.parametrize("option", groups()["training/scheduler"])
def test_every_scheduler_builds(option: str) -> None:
    spec = compose("digits", [f"training/scheduler={option}"]).training.scheduler
    assert spec is not None
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=1.0)
    assert build_target(spec, optimizer).optimizer is optimizer


@pytest.mark.parametrize("option", groups()["training/optimizer"])
def test_every_optimizer_builds(option: str) -> None:
    spec = compose("digits", [f"training/optimizer={option}"]).training.optimizer
    assert isinstance(build_target(spec, [torch.nn.Parameter(torch.ones(1))], lr=0.1), torch.optim.Optimizer)


@pytest.mark.parametrize(("group", "option"), CHOICES)
def test_every_choice_opens_with_what_it_is(group: str, option: str) -> None:
    text = (files("trainyard.conf") / group / f"{option}.yaml").read_text(encoding="utf-8")
    assert text.startswith(("#", "_target_"))


scalars = st.one_of(
    st.sampled_from(
        [
            "1e-3",
            "1E5",
            "-2e+4",
            ".5",
            "-.5e3",
            "1.",
            "+1",
            "0x1f",
            "010",
            "1_000",
            "on",
            "null",
            "2024-01-01",
            "0_E0",
            "0_.5e1",
            "._5",
        ]
    ),
    st.from_regex(r"\A[-+]?[0-9._eE+-]{1,8}\Z"),
)


@settings(deadline=None)
@given(scalars)
def test_scalars_are_read_as_hydra_reads_them(text: str) -> None:
    """OmegaConf is the oracle; a plain scalar that it refuses must be refused here too."""
    document = f"key: {text}\n"
    ours = YamlFile("x", document)
    try:
        theirs = OmegaConf.to_container(OmegaConf.create(document))
    except (ValueError, yaml.YAMLError):
        assert ours.faults
        return
    assert ours.values == theirs
    assert type(ours.values["key"]) is type(theirs["key"])  # type: ignore[index,call-overload]
