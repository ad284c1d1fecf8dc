"""The five families of speech encoders: their published sizes, their module names in transformers, and their configs.

A table and what is computed from it. It builds no network and loads nothing but the classes of transformers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trainyard.models.encoder_settings import Sizes
from trainyard.models.huggingface import model_classes

SAMPLE_RATE = 16_000  # Hz, of all of them
POSITIONS_PER_SECOND = 50  # vectors of Whisper per second; its features have two frames per vector
WHISPER_SECONDS = 30  # the clips that Whisper was trained on, and its limit


@dataclass(frozen=True)
class Family:
    """One family of encoders. Module names are relative to a layer."""

    type: str  # as in model.type
    stem: str  # of the names of its classes
    body: str  # attribute of the classifier of transformers that is the encoder
    layers: str  # the list of layers, in the classifier
    attention: tuple[str, ...]  # its linear maps
    ffn: tuple[str, ...]  # its linear maps
    ffn_output: str  # the module whose output is the feed-forward part's
    sizes: Mapping[str, Sizes]
    hub: Mapping[str, str]  # size to the default hub id
    attention_is_bypassed: bool = False  # its attention reads the weights and never calls the linear maps

    @property
    def is_whisper(self) -> bool:
        """Whether its input is log-mel features; that of the others is the waveform."""
        return self.type == "whisper"

    def classes(self) -> tuple[Any, Any]:
        """transformers' classes of its configs and of its classifiers."""
        task = "AudioClassification" if self.is_whisper else "SequenceClassification"
        return model_classes(f"{self.stem}Config", f"{self.stem}For{task}")


_BASE, _LARGE = Sizes(768, 12, 12, 3072), Sizes(1024, 24, 16, 4096)
_MINI = Sizes(96, 3, 4, 384)  # not published: small enough to learn from scratch in a minute
_PROJECTIONS = ("k_proj", "v_proj", "q_proj", "out_proj")


def _waveform_family(type_: str, stem: str, base: str, large: str, **more: Any) -> Family:
    return Family(
        type_,
        stem,
        type_,
        f"{type_}.encoder.layers",
        tuple(f"attention.{name}" for name in _PROJECTIONS),
        ("feed_forward.intermediate_dense", "feed_forward.output_dense"),
        "feed_forward",
        {"mini": _MINI, "base": _BASE, "large": _LARGE},
        {"base": base, "large": large},
        **more,
    )


FAMILIES: Mapping[str, Family] = {
    family.type: family
    for family in (
        Family(
            "whisper",
            "Whisper",
            "encoder",
            "encoder.layers",
            tuple(f"self_attn.{name}" for name in _PROJECTIONS),
            ("fc1", "fc2"),
            "fc2",
            {
                "mini": _MINI,
                "tiny": Sizes(384, 4, 6, 1536),
                "base": Sizes(512, 6, 8, 2048),
                "small": _BASE,
                "medium": _LARGE,
                "large": Sizes(1280, 32, 20, 5120),
            },
            {size: f"openai/whisper-{size}" for size in ("tiny", "base", "small", "medium")}
            | {"large": "openai/whisper-large-v3"},
        ),
        _waveform_family("wav2vec2", "Wav2Vec2", "facebook/wav2vec2-base", "facebook/wav2vec2-large"),
        _waveform_family("hubert", "Hubert", "facebook/hubert-base-ls960", "facebook/hubert-large-ll60k"),
        _waveform_family("wavlm", "WavLM", "microsoft/wavlm-base", "microsoft/wavlm-large", attention_is_bypassed=True),
        _waveform_family(
            "unispeech_sat", "UniSpeechSat", "microsoft/unispeech-sat-base", "microsoft/unispeech-sat-large"
        ),
    )
}


def default_mels(size: str) -> int:
    """Rows of the log-mel features of the published Whisper of a size."""
    return 128 if size == "large" else 80


def random_config(family: Family, size: str, sizes: Sizes) -> Any:
    """transformers' config of a new encoder of a family, with these sizes.

    In the waveform families, `base` normalises its first convolution over the whole clip (group norm) and `large`
    each frame separately (layer norm), like most published ones. The convolutions are not wider than the layers, so
    that a tiny encoder is tiny.
    """
    config_class, _ = family.classes()
    # transformers' default 0.02 suits a width of 1024; in a narrow encoder the positions would dominate the audio
    spread = round(0.8 / math.sqrt(sizes.hidden), 4)
    if family.is_whisper:
        return config_class(
            init_std=spread,
            d_model=sizes.hidden,
            encoder_layers=sizes.layers,
            encoder_attention_heads=sizes.heads,
            encoder_ffn_dim=sizes.ffn,
            num_mel_bins=default_mels(size),
        )
    large = size == "large"
    return config_class(
        hidden_size=sizes.hidden,
        num_hidden_layers=sizes.layers,
        num_attention_heads=sizes.heads,
        intermediate_size=sizes.ffn,
        conv_dim=(min(512, sizes.hidden),) * 7,
        conv_bias=large,
        feat_extract_norm="layer" if large else "group",
        do_stable_layer_norm=large,
        initializer_range=spread,
        num_conv_pos_embedding_groups=math.gcd(16, sizes.hidden),
    )


def fit_config(family: Family, config: Any, classes: Sequence[str], projector: int) -> None:
    """Turns an encoder's config into that of our classifier, in place.

    Dropout is the only random operation: layers are not skipped and no SpecAugment happens inside the
    encoder. Both would leave weights without a gradient, and fail on short clips.
    """
    config.use_weighted_layer_sum = True
    config.classifier_proj_size = projector
    config.id2label = dict(enumerate(classes))
    config.label2id = {label: index for index, label in enumerate(classes)}
    config.architectures = [family.classes()[1].__name__]
    config.dtype = "float32"
    config.apply_spec_augment = False
    config.mask_time_prob = config.mask_feature_prob = 0.0
    setattr(config, "encoder_layerdrop" if family.is_whisper else "layerdrop", 0.0)


def receptive_field(config: Any) -> int:
    """Samples that one vector of a waveform encoder depends on, which is also its shortest clip."""
    samples = 1
    for kernel, stride in zip(reversed(config.conv_kernel), reversed(config.conv_stride), strict=True):
        samples = (samples - 1) * stride + kernel
    return samples
