"""What runs are called, and that a name says what it was made from; transformers' sizes are the encoders' oracle."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainyard.audio.schema import ENCODERS, METHODS, EncoderModel, sizes_of
from trainyard.config.compose import compose
from trainyard.config.names import default_run_name, explain_name, model_label, parse_name
from trainyard.config.schema import Config, RunSection
from trainyard.models.encoder_settings import MINI
from trainyard.models.schema import CnnModel, EfficientNetV2Model, MlpModel, MobileNetV2Model, PannsCnn14Model

layers = st.none() | st.sets(st.integers(0, 9), min_size=1).map(lambda found: "".join(map(str, sorted(found))))
ranges = st.tuples(st.integers(0, 31), st.integers(0, 31)).map(lambda pair: f"{min(pair)}-{max(pair)}")
encoders = st.sampled_from(sorted(ENCODERS)).flatmap(
    lambda kind: st.builds(
        EncoderModel,
        type=st.just(kind),
        size=st.sampled_from(sizes_of(kind)),
        method=st.sampled_from(METHODS),
        layers=layers | ranges,
    )
)
networks = st.one_of(
    st.just(MlpModel()),
    st.just(CnnModel()),
    st.builds(EfficientNetV2Model, size=st.sampled_from(["small", "s", "m", "l"]), qat=st.booleans()),
    st.builds(PannsCnn14Model, qat=st.booleans()),
    st.builds(MobileNetV2Model, qat=st.booleans()),
)


@pytest.mark.parametrize(
    ("model", "label"),
    [
        (CnnModel(), "cnn"),
        (MlpModel(hidden=(453,)), "mlp"),
        (EncoderModel(layers="012"), "whisper_base_lora_012"),
        (EncoderModel(size="small", layers="7-12"), "whisper_small_lora_7-12"),
        (EncoderModel(type="wav2vec2", method="frozen"), "wav2vec2_base_frozen"),
        (EncoderModel(type="hubert", size="large", method="adapter"), "hubert_large_adapter"),
        (EncoderModel(type="unispeech_sat", layers="7-12"), "unispeech_sat_base_lora_7-12"),
        (EfficientNetV2Model(), "efficientnet_v2"),
        (EfficientNetV2Model(qat=True), "efficientnet_v2_qat"),
        (EfficientNetV2Model(size="m", qat=True), "efficientnet_v2_m_qat"),
        (PannsCnn14Model(width=8), "panns_cnn14"),
        (MobileNetV2Model(qat=True), "mobilenet_v2_qat"),
    ],
)
def test_the_model_names_the_run_and_the_name_says_the_model(model: Any, label: str) -> None:
    config = Config(model=model)
    assert (model_label(config), default_run_name(config)) == (label, label)
    said = parse_name(label)
    assert said is not None
    assert {key: asdict(model)[key] for key in said} == said


@given(encoders | networks)
def test_names_are_read_as_they_are_written(model: Any) -> None:
    said = parse_name(model_label(Config(model=model)))
    assert said is not None
    assert replace(type(model)(), **{key: value for key, value in said.items() if key != "name"}) == model
    assert said["name"] == model.name


@given(
    st.text(max_size=30) | st.from_regex(r"(whisper|hubert)_(base|large)_(lora|full)(_[0-9-]{1,5})?", fullmatch=True)
)
def test_what_is_read_is_written_the_same(name: str) -> None:
    said = parse_name(name)
    if said is None:
        assert explain_name(name)
    elif said["name"] == "encoder":
        assert model_label(Config(model=EncoderModel(**said))) == name


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("whisper_bse_lora", ["`bse`", "`base`"]),
        ("wavlm_tiny_lora", ["`tiny`", "base, large"]),
        ("whispr_base_lora", ["`whispr`", "`whisper`"]),
        ("unispech_sat_base_lora", ["`unispech_sat`", "`unispeech_sat`"]),
        ("whisper_base_lra_012", ["`lra`", "`lora`"]),
        ("whisper_base_lora_0.1", ["`0.1`", "012 or 7-12"]),
        ("whisper_base_lora_", ["``", "012 or 7-12"]),
        ("whisper_base", ["method", "lora"]),
        ("whisper", ["size", "tiny"]),
        ("efficientnet_v2_qta", ["`efficientnet_v2_qat`"]),
        ("something", ["`something`"]),
    ],
)
def test_a_name_that_is_none_is_explained(name: str, words: list[str]) -> None:
    assert parse_name(name) is None
    for word in words:
        assert word in explain_name(name)


def test_the_layers_of_the_encoders_are_those_of_the_networks() -> None:
    from trainyard.audio.encoders.families import FAMILIES

    for kind, family in FAMILIES.items():
        published = {size: numbers.layers for size, numbers in family.sizes.items() if size != MINI}
        assert published == ENCODERS[kind]
    assert set(FAMILIES) == set(ENCODERS)


@pytest.mark.parametrize(
    ("recipe", "name"),
    [
        ("digits", "whisper_base_lora_012"),
        ("mine.yaml", "whisper_base_lora_012"),
        ("e/recanvo/whisper_base_lora_012.py", "whisper_base_lora_012"),
        ("e/recanvo/whisper_base_lora_345.py", "whisper_base_lora_012"),  # a model's name, but not of this one
        ("e/recanvo/my best.py", "my best"),
        ("mine.py", "mine"),
    ],
)
def test_an_experiment_file_names_its_run_unless_that_would_be_untrue(recipe: str, name: str) -> None:
    config = Config(model=EncoderModel(layers="012"), recipe=recipe)
    assert default_run_name(config) == name
    assert model_label(config) == "whisper_base_lora_012"


def test_it_can_be_part_of_a_path() -> None:
    config = Config(run=RunSection(name="a/b", project="c/d"))
    assert default_run_name(config).isidentifier()
    assert "/" not in default_run_name(compose("digits", ["model=mlp"]))
