"""Encoders of every family that are built in milliseconds, and inputs for them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from trainyard.models.encoders import EncoderClassifier, build_encoder

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


def shape_of(type_: str, seconds: float = SECONDS) -> tuple[int, ...]:
    return (80, round(seconds * 100)) if type_ == "whisper" else (round(seconds * 16000),)


def inputs_of(model: EncoderClassifier, items: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(7)
    shape = shape_of(model.family.type)
    if model.input == "whisper":
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
