"""From settings to an encoder with a head, and to the `config.json` that can rebuild it.

`config.json` is transformers' own, with one key more, `trainyard`, that holds our settings. Building from it
needs neither a network nor the weights that training began with.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trainyard.audio.encoders import methods
from trainyard.audio.encoders.classifier import EncoderClassifier
from trainyard.audio.encoders.families import FAMILIES, SAMPLE_RATE, Family, fit_config, random_config, receptive_field
from trainyard.audio.encoders.pretrained import cut_to, pretrained_config, pretrained_model, whisper_positions
from trainyard.audio.study.layers import parse_layers
from trainyard.errors import CheckpointError, ConfigError
from trainyard.models.library import without_torchao
from trainyard.models.settings import class_problems, misfits, override_problems, sizes_of, unknown

OURS = "trainyard"  # our key in config.json


@dataclass(frozen=True)
class Settings:
    """What `build` takes besides the data, with what each is when left out."""

    type: str = "whisper"
    size: str = "base"
    method: str = "lora"
    layers: str | None = None
    pretrained: bool = True
    path: str | None = None
    projector: int = 256
    dropout: float = 0.0
    lora_rank: int = 8
    lora_alpha: float = 16.0
    lora_dropout: float = 0.0
    lora_targets: str = "both"
    adapter_size: int = 64
    prompt_length: int = 8
    hidden_size: int | None = None
    num_layers: int | None = None
    num_heads: int | None = None
    ffn_size: int | None = None

    @property
    def family(self) -> Family:
        """Of the encoder."""
        return FAMILIES[self.type]

    @property
    def source(self) -> str:
        """Where pretrained weights come from."""
        return self.path or self.family.hub[self.size]


def build(
    *, classes: Sequence[str], clip_seconds: float, item_shape: Sequence[int] | None = None, **settings: Any
) -> EncoderClassifier:
    """A speech encoder with a new head, its method applied: float32 inputs to logits float32 [B, len(classes)].

    Args:
        classes: class names, in the order of the outputs.
        clip_seconds: length of a clip; a Whisper is cut to it.
        item_shape: shape of an input, without the batch, to check: (n_mels, frames) or (samples,).
        settings: the fields of `Settings`, which are those of `model` in a config.

    Raises:
        ConfigError: settings that cannot be, weights that cannot be had or lack parts of the encoder.
    """
    chosen = _checked(settings, classes)
    config = _config(chosen, classes, clip_seconds)
    layers = parse_layers(chosen.layers, config.num_hidden_layers)  # better known before the weights are read
    _check_input(chosen.family, config, clip_seconds, item_shape)
    _, model_class = chosen.family.classes()
    if chosen.pretrained and chosen.family.is_whisper:
        positions = config.max_source_positions
        config.max_source_positions = pretrained_config(chosen.family, chosen.source).max_source_positions
        model = pretrained_model(chosen.family, chosen.source, config)
        cut_to(model, positions)
    elif chosen.pretrained:
        model = pretrained_model(chosen.family, chosen.source, config)
    else:
        model = _fresh(model_class, config)
    return _apply(model, chosen, *layers)


def describe(
    *, classes: Sequence[str], clip_seconds: float, item_shape: Sequence[int], **settings: Any
) -> dict[str, Any]:
    """The contents of `config.json` for `build` with the same arguments: plain JSON values.

    Raises:
        ConfigError: as `build`, weights apart.
    """
    chosen = _checked(settings, classes)
    config = _config(chosen, classes, clip_seconds)
    parse_layers(chosen.layers, config.num_hidden_layers)
    _check_input(chosen.family, config, clip_seconds, item_shape)
    plain: dict[str, Any] = json.loads(config.to_json_string(use_diff=True))
    ours = {"name": "encoder", "item_shape": [int(size) for size in item_shape], "clip_seconds": float(clip_seconds)}
    return {**plain, OURS: {**ours, **vars(chosen)}}


def rebuild(config: Mapping[str, Any], files: Mapping[str, str] | None = None) -> EncoderClassifier:
    """The network that `describe` described, with fresh weights, whatever its first ones were.

    Raises:
        CheckpointError: a config.json that lacks our settings.
        ConfigError: settings that cannot be.
    """
    ours = config.get(OURS)
    if not isinstance(ours, Mapping) or ours.get("type") not in FAMILIES or "id2label" not in config:
        raise CheckpointError(
            f"config.json of a {config.get('model_type')} lacks the key {OURS!r} with Trainyard's settings.",
            "Use the config.json that was saved with the weights, or load the model with transformers.",
        )
    fields = {key: value for key, value in ours.items() if key in Settings.__dataclass_fields__}
    chosen = _checked({**fields, "pretrained": False, "path": None}, list(config["id2label"].values()))
    config_class, model_class = chosen.family.classes()
    plain = config_class.from_dict({key: value for key, value in config.items() if key != OURS})
    return _apply(_fresh(model_class, plain), chosen, *parse_layers(chosen.layers, plain.num_hidden_layers))


def _fresh(model_class: Any, config: Any) -> Any:
    with without_torchao():
        return model_class(config)


def _apply(model: Any, chosen: Settings, layers: tuple[int, ...], clipped: str | None) -> EncoderClassifier:
    """The classifier with its method: what trains, and what is added."""
    family, warnings = chosen.family, [clipped] if clipped else []
    methods.merge_masks(model, family)
    methods.freeze_all_but_head(model, family)
    match chosen.method:
        case "frozen":
            if chosen.layers is not None:
                warnings = [f"model.layers={chosen.layers!r} has no effect: model.method='frozen' changes no layer."]
        case "full":
            methods.unfreeze(model, family, None if chosen.layers is None else layers)
        case "lora":
            maps, narrowed = methods.lora_targets(family, chosen.lora_targets)
            warnings += [narrowed] if narrowed else []
            methods.add_lora(
                model, family, layers, maps, rank=chosen.lora_rank, alpha=chosen.lora_alpha, dropout=chosen.lora_dropout
            )
        case "adapter":
            methods.add_bottlenecks(model, family, layers, chosen.adapter_size)
        case "prompt":
            methods.add_prompts(model, family, layers, chosen.prompt_length)
    return EncoderClassifier(model, family, method=chosen.method, dropout=chosen.dropout, warnings=warnings)


def _config(chosen: Settings, classes: Sequence[str], clip_seconds: float) -> Any:
    """transformers' config of the whole classifier, cut to the clip."""
    family = chosen.family
    if chosen.pretrained:
        config = pretrained_config(family, chosen.source)
    else:
        config = random_config(family, chosen.size, sizes_of(chosen, family.sizes[chosen.size]))
    fit_config(family, config, classes, chosen.projector)
    if family.is_whisper:
        config.max_source_positions = whisper_positions(clip_seconds, config.max_source_positions)
    return config


def _check_input(family: Family, config: Any, clip_seconds: float, item_shape: Sequence[int] | None) -> None:
    if family.is_whisper:
        wanted: tuple[int, ...] = (config.num_mel_bins, 2 * config.max_source_positions)
    else:
        wanted = (round(clip_seconds * SAMPLE_RATE),)
        shortest = receptive_field(config)
        if wanted[0] < shortest:
            raise ConfigError(
                [f"data.clip_seconds={clip_seconds:g} is too short for {family.type}"],
                f"It takes clips of {shortest / SAMPLE_RATE:g} s or more.",
            )
    if item_shape is not None and tuple(item_shape) != wanted:
        raise ConfigError(
            [f"{family.type} takes items of shape {wanted}, the data's are {tuple(item_shape)}"],
            f"Use data=… with sound, data.sample_rate={SAMPLE_RATE} and one data.clip_seconds for data and model.",
        )


def _checked(settings: Mapping[str, Any], classes: Sequence[str]) -> Settings:
    """The settings, if they can be; all faults are told at once."""
    known = Settings.__dataclass_fields__
    problems = [unknown(key, known, "model=encoder has no parameter") for key in settings if key not in known]
    chosen = Settings(**{key: value for key, value in settings.items() if key in known})
    valid: dict[str, Sequence[str]] = {
        "type": tuple(FAMILIES),
        "method": methods.METHODS,
        "lora_targets": methods.TARGETS,
    }
    if chosen.type in FAMILIES:
        valid["size"] = tuple(chosen.family.sizes)
    for key, values in valid.items():
        if getattr(chosen, key) not in values:
            problems.append(unknown(str(getattr(chosen, key)), values, f"model.{key} has no choice"))
    for key in ("projector", "lora_rank", "adapter_size", "prompt_length"):
        value = getattr(chosen, key)
        if not (type(value) is int and value > 0):
            problems.append(f"model.{key}={value!r} is not a whole number above 0")
    for key in ("dropout", "lora_dropout"):
        value = getattr(chosen, key)
        if not (isinstance(value, int | float) and 0 <= value < 1):
            problems.append(f"model.{key}={value!r} is not in [0, 1)")
    alpha: Any = chosen.lora_alpha
    if not (isinstance(alpha, int | float) and math.isfinite(alpha) and alpha > 0):
        problems.append(f"model.lora_alpha={alpha!r} is not a number above 0")
    problems += [*override_problems(chosen), *class_problems(classes)]
    if not problems and chosen.pretrained and chosen.path is None and chosen.size not in chosen.family.hub:
        problems.append(
            f"there are no published weights of a {chosen.type} of size {chosen.size!r}; "
            f"there are of {', '.join(chosen.family.hub)} (or set model.pretrained=false, or model.path)"
        )
    problems = problems or misfits(chosen, chosen.family.sizes[chosen.size])
    if problems:
        raise ConfigError(problems)
    return chosen
