"""Texts, their encoders and labels: what does not go together is told with every key it is about."""

from __future__ import annotations

import pytest

from trainyard.config.compose import compose
from trainyard.config.schema import TextData, TextEncoderModel
from trainyard.errors import ConfigError


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["model=cnn"], ["`model.name` is cnn, which reads no text", "model=distilbert"]),
        (["data=digits", "training/criterion=cross_entropy"], ["reads text, but `data.source` is digits"]),
        (["data.corpus=table"], ["nothing says where the texts lie; add data.path"]),
        (["data.path=x.csv"], ["is made up and reads no files", "choose data=text"]),
        (["data=text", "data.path=x", "data.split.test_groups=[a]"], ["add data.group_column"]),
        (["model.type=auto"], ["`model.type` is auto", "add model.path"]),
        (["model.size=large"], ['`model.size` is "large", which distilbert has not; valid: base']),
        (["model.pretrained=true"], ["for which no weights are published", "choose base"]),
        (["model.path=x"], ["`model.pretrained` is false: nothing would be loaded from it"]),
        (["model=minilm", "model.hidden_size=32"], ["`model.hidden_size` is 32, but pretrained weights have"]),
        (["model.hidden_size=30", "model.num_heads=4"], ["cannot be shared out"]),
        (["training/criterion=cross_entropy"], ["data.multi_label is true", "training/criterion=bce or focal"]),
        (["data.multi_label=false"], ["BCEWithLogitsLoss, which is for several labels", "cross_entropy"]),
        (
            ["data.multi_label=false", "training/criterion=cross_entropy", "training.thresholds.mode=global"],
            ["`training.thresholds` is set, but each item has one label"],
        ),
        (["training.thresholds.k=3"], ["but the mode is per_class"]),
        (["training.thresholds.value=2"], ["`training.thresholds.value` is 2.0, it must be from 0 to 1"]),
        (["training.use_arcface=arcface"], ["an encoder has no cosine head"]),
        (["training.distillation.enabled=true", "training.distillation.teacher_model_path=x"], ["reads no text"]),
        (["data.max_tokens=2"], ["`data.max_tokens` is 2"]),
        (["tracker=wand"], ["did you mean `wandb`?"]),
    ],
)
def test_what_cannot_be_is_told(overrides: list[str], words: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        compose("emotions", overrides)
    for word in words:
        assert word in str(caught.value)


def test_the_head_apart_is_for_text_encoders() -> None:
    with pytest.raises(ConfigError, match="is no text encoder with a head apart"):
        compose("digits", ["training.head_learning_rate=0.1"])


def test_the_recipe_with_real_comments_and_a_real_encoder() -> None:
    config = compose("emotions", ["data=goemotions", "data.path=x", "model=minilm"])
    assert config.model == TextEncoderModel(type="minilm")
    assert config.data == TextData(corpus="goemotions", path="x", dataset="goemotions", label_name="emotion")
    assert (config.training.learning_rate, config.training.head_learning_rate) == (1e-4, 1e-3)
