"""A fine-tuned speech encoder for other tools: its LoRA alone, as peft keeps it, or one plain model.

Both are whole directories that appear at once. Nothing here trains, and the model is left as it was.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from trainyard import durable
from trainyard.errors import ConfigError, UserError
from trainyard.models.encoders import EncoderClassifier
from trainyard.models.encoders.methods import LORA_NAME
from trainyard.training.tensor_files import safetensors_file

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
ADAPTER_WEIGHTS = "adapter_model.safetensors"
ADAPTER_CONFIG = "adapter_config.json"
HEAD_WEIGHTS = "head.safetensors"
_PEFT = "base_model.model."  # what peft puts before every name
_HEAD = ("layer_weights", "projector.", "classifier.")


def export_adapter(model: EncoderClassifier, directory: Path) -> None:
    """Writes what was trained, without the encoder: `PeftModel.from_pretrained(base, directory)` takes the LoRA.

    The head lies beside it in `head.safetensors`, under transformers' names: the layer weights are no
    module, and peft keeps only modules besides its own weights.

    Args:
        model: trained with the method `lora`.
        directory: must not exist.

    Raises:
        ConfigError: the model has another method.
        UserError: the directory exists.
    """
    if model.method != "lora":
        raise ConfigError(
            [f"the encoder was trained with the method {model.method!r}, which is none of peft's"],
            "Export an encoder that was trained with model.method=lora.",
        )
    weights = _saved(model)
    adapter = {name: tensor for name, tensor in weights.items() if name.startswith(_PEFT)}
    head = {name: tensor for name, tensor in weights.items() if name.startswith(_HEAD)}
    texts = model.extra_files()
    _write(directory, {ADAPTER_WEIGHTS: adapter, HEAD_WEIGHTS: head}, texts)


def merge(model: EncoderClassifier) -> dict[str, Tensor]:
    """The weights of the plain model that computes the same, under transformers' names, on the CPU.

    Of a LoRA, W + alpha / r * B A takes the place of each W it changes (Hu et al., 2021, eq. 3).

    Raises:
        ConfigError: bottlenecks and prompts are no change of weights, and cannot be merged.
    """
    if model.method in ("adapter", "prompt"):
        raise ConfigError(
            [f"the method {model.method!r} adds parts to the encoder that no plain model of its kind has"],
            "Keep the checkpoint, or train with model.method=lora to merge.",
        )
    weights = {name: tensor for name, tensor in _saved(model).items() if not name.startswith(_PEFT)}
    for name, module in model.named_modules():
        change = getattr(module, "get_delta_weight", None)
        if change is None:
            continue
        with torch.no_grad():
            base: Any = module.get_base_layer()
            merged = base.weight + change(LORA_NAME)
        weights[model.saved_name(f"{name}.base_layer.weight")] = merged.cpu().contiguous()
    return weights


def export_merged(model: EncoderClassifier, directory: Path) -> None:
    """Writes a plain model: `AutoModelForAudioClassification.from_pretrained(directory)` loads it without peft.

    Args:
        model: trained with any method but `adapter` and `prompt`.
        directory: must not exist.

    Raises:
        ConfigError: it cannot be merged.
        UserError: the directory exists.
    """
    weights = merge(model)
    texts = {name: text for name, text in model.extra_files().items() if name != ADAPTER_CONFIG}
    _write(directory, {WEIGHTS: weights}, {CONFIG: model.model.config.to_json_string(use_diff=True), **texts})


def _saved(model: EncoderClassifier) -> dict[str, Tensor]:
    return {model.saved_name(name): tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}


def _write(directory: Path, tensors: Mapping[str, Mapping[str, Tensor]], texts: Mapping[str, str]) -> None:
    """Makes a directory of these files, all of it or nothing."""
    try:
        with durable.staging(directory) as staged:
            for name, found in tensors.items():
                safetensors_file(found)(staged / name)
            for name, text in texts.items():
                durable.write_text(staged / name, text)
    except FileExistsError as error:
        raise UserError(
            f"{directory} exists already, and nothing is overwritten.", "Name another directory."
        ) from error
