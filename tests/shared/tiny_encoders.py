"""Encoders of every family that are built in milliseconds, and inputs for them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from trainyard.audio.encoders import EncoderClassifier
from trainyard.audio.encoders.build import build as build_encoder
from trainyard.audio.encoders.families import FAMILIES
from trainyard.models import huggingface

TYPES = ("whisper", "wav2vec2", "hubert", "wavlm", "unispeech_sat")
WAVEFORM = TYPES[1:]
METHODS = ("frozen", "lora", "adapter", "prompt", "full")
CLASSES = ["cry", "laugh", "sigh"]
SECONDS = 0.1
SIZES: dict[str, Any] = {"hidden_size": 16, "num_layers": 3, "num_heads": 2, "ffn_size": 24, "projector": 8}


def settings(type_: str, **more: Any) -> dict[str, Any]:
    return {"type": type_, "pretrained": False, "classes": CLASSES, "clip_seconds": SECONDS, **SIZES, **more}


def tiny(type_: str, *, seed: int = 0, **more: Any) -> EncoderClassifier:
    torch.manual_seed(seed)
    return build_encoder(**settings(type_, **more))


def theirs(type_: str, path: Path, kind: str = "Model", **more: Any) -> Any:
    """A tiny random model that transformers saves."""
    stem = FAMILIES[type_].stem
    config_class, model_class = huggingface.model_classes(f"{stem}Config", f"{stem}{kind}")
    torch.manual_seed(5)
    if type_ == "whisper":
        config = config_class(
            d_model=16,
            encoder_layers=2,
            decoder_layers=1,
            encoder_attention_heads=2,
            decoder_attention_heads=2,
            encoder_ffn_dim=24,
            decoder_ffn_dim=24,
            vocab_size=60,
            num_mel_bins=20,
            pad_token_id=0,
            **more,
        )
    else:
        config = config_class(
            hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24, conv_dim=(16,) * 7, **more
        )
    model = model_class(config).eval()
    with huggingface.errors_only():
        model.save_pretrained(path)
    return model


def shape_of(type_: str, seconds: float = SECONDS) -> tuple[int, ...]:
    return (80, round(seconds * 100)) if type_ == "whisper" else (round(seconds * 16000),)


def inputs_of(model: EncoderClassifier, items: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(7)
    shape = shape_of(model.family.type)
    if model.family.is_whisper:
        shape = (model.model.config.num_mel_bins, 2 * model.model.config.max_source_positions)
    return torch.randn(items, *shape, generator=generator)


def a_few_steps(model: EncoderClassifier, steps: int = 2) -> EncoderClassifier:
    """Trains, so that nothing stays as it was initialised; returns the model in evaluation mode."""
    torch.manual_seed(1)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], 0.05)
    model.train()
    for _ in range(steps):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(inputs_of(model)), torch.tensor([0, 1, 2])).backward()
        optimizer.step()
    return model.eval()
