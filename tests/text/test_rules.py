"""Texts, their encoders and labels: what does not go together is told with every key it is about."""

from __future__ import annotations

import pytest

from trainyard.config.compose import compose
from trainyard.errors import ConfigError
from trainyard.text.schema import TextData, TextEncoderModel


@pytest.mark.parametrize(
    ("overrides", "keys"),
    [
        (["model=cnn"], ["model.name", "data.source"]),
        (["data=digits", "training/criterion=cross_entropy"], ["model.name", "data.source"]),
        (["data.corpus=table"], ["data.corpus", "data.path"]),
        (["data.path=x.csv"], ["data.path", "data.corpus"]),
        (["data=text", "data.path=x", "data.split.test_groups=[a]"], ["data.split.test_groups", "data.group_column"]),
        (["model.type=auto"], ["model.type", "model.path"]),
        (["model.size=large"], ["model.size", "model.type"]),
        (["model.pretrained=true"], ["model.size", "model.pretrained"]),
        (["model.path=x"], ["model.path", "model.pretrained"]),
        (["model=minilm", "model.hidden_size=32"], ["model.hidden_size", "model.pretrained"]),
        (["model.hidden_size=30", "model.num_heads=4"], ["model.hidden_size", "model.num_heads"]),
        (["training/criterion=cross_entropy"], ["training.criterion._target_", "data.multi_label"]),
        (["data.multi_label=false"], ["training.criterion._target_", "data.multi_label"]),
        (
            ["data.multi_label=false", "training/criterion=cross_entropy", "training.thresholds.mode=global"],
            ["training.thresholds.mode"],
        ),
        (["training.thresholds.k=3"], ["training.thresholds.k", "training.thresholds.mode"]),
        (["training.thresholds.value=2"], ["training.thresholds.value"]),
        (["training.use_arcface=arcface"], ["training.use_arcface", "model.name"]),
        (
            ["training.distillation.enabled=true", "training.distillation.teacher_model_path=x"],
            ["training.distillation.enabled", "data.source"],
        ),
        (["data.max_tokens=2"], ["data.max_tokens"]),
        (["tracker=wand"], ["tracker"]),
    ],
)
def test_what_cannot_be_is_refused_with_its_keys(overrides: list[str], keys: list[str]) -> None:
    assert compose("emotions")
    with pytest.raises(ConfigError) as caught:
        compose("emotions", overrides)
    assert set(keys) <= set(caught.value.keys)


def test_a_learning_rate_of_the_head_needs_a_model_with_a_head() -> None:
    with pytest.raises(ConfigError) as caught:
        compose("digits", ["training.head_learning_rate=0.1"])
    assert caught.value.keys == ("training.head_learning_rate", "model.name")


def test_the_recipe_with_real_comments_and_a_real_encoder() -> None:
    config = compose("emotions", ["data=goemotions", "data.path=x", "model=minilm"])
    assert config.model == TextEncoderModel(type="minilm")
    assert config.data == TextData(corpus="goemotions", path="x", dataset="goemotions", label_name="emotion")
    assert (config.training.learning_rate, config.training.head_learning_rate) == (1e-4, 1e-3)
