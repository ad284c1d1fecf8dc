"""From settings to an encoder with a head, and to the `config.json` that can rebuild it.

`config.json` is transformers' own, with an additional key `trainyard` for our settings. Rebuilding from it needs
neither a network connection nor the initial weights.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from trainyard.audio.encoders import methods
from trainyard.audio.encoders.classifier import EncoderClassifier
from trainyard.audio.encoders.families import FAMILIES, SAMPLE_RATE, Family, fit_config, random_config, receptive_field
from trainyard.audio.encoders.pretrained import pretrained_config, pretrained_model, whisper_positions
from trainyard.audio.schema import ENCODERS, EncoderModel
from trainyard.audio.study.layers import parse_layers
from trainyard.config.faults import raise_all
from trainyard.errors import CheckpointError, ConfigError
from trainyard.models.encoder_settings import class_faults, head_faults, read_encoder, sizes_of
from trainyard.models.huggingface import without_torchao

OURS = "trainyard"  # our key in config.json


def source_of(model: EncoderModel) -> str:
    """The directory or hub id of the pretrained weights."""
    return model.path or FAMILIES[model.type].hub[model.size]


def build(
    *,
    classes: Sequence[str],
    clip_seconds: float,
    item_shape: Sequence[int] | None = None,
    trust: bool = False,
    **settings: Any,
) -> EncoderClassifier:
    """A speech encoder with a new head, its method applied: float32 inputs to logits float32 [B, len(classes)].

    Args:
        classes: class names, in the order of the outputs.
        clip_seconds: length of a clip; a Whisper is cut to it.
        item_shape: shape of an input, without the batch, to check: (n_mels, frames) or (samples,).
        trust: not used.
        settings: the fields of `EncoderModel`.

    Raises:
        ConfigError: invalid settings, or weights that are unavailable or lack parts of the encoder.
    """
    chosen, family, config = _described(settings, classes, clip_seconds, item_shape)
    layers = parse_layers(chosen.layers, config.num_hidden_layers)  # fails before the weights are read
    model = pretrained_model(family, source_of(chosen), config) if chosen.pretrained else _fresh(family, config)
    return _apply(model, chosen, *layers)


def describe(
    *, classes: Sequence[str], clip_seconds: float, item_shape: Sequence[int], **settings: Any
) -> dict[str, Any]:
    """The contents of `config.json` for `build` with the same arguments: plain JSON values.

    Raises:
        ConfigError: as `build`, except for weights.
    """
    chosen, _, config = _described(settings, classes, clip_seconds, item_shape)
    parse_layers(chosen.layers, config.num_hidden_layers)
    plain: dict[str, Any] = json.loads(config.to_json_string(use_diff=True))
    ours = {"item_shape": [int(size) for size in item_shape], "clip_seconds": float(clip_seconds)}
    return {**plain, OURS: {"name": chosen.name, **ours, **vars(chosen)}}


def rebuild(
    config: Mapping[str, Any], files: Mapping[str, str] | None = None, *, trust: bool = False
) -> EncoderClassifier:
    """The network that `describe` described, with new random weights; `files` and `trust` are not used.

    Raises:
        CheckpointError: a config.json that lacks our settings.
        ConfigError: invalid settings.
    """
    ours, type_ = config.get(OURS), config.get("model_type")
    if not isinstance(ours, Mapping) or ours.get("type") not in FAMILIES or "id2label" not in config:
        what = f"config.json of a {type_} lacks the key {OURS!r} with Trainyard's settings."
        remedy = "Use the config.json that was saved with the weights, or load the model with transformers."
        raise CheckpointError(what, remedy, value=type_, place="config.json")
    fields = {key: value for key, value in ours.items() if key in EncoderModel.__dataclass_fields__}
    chosen, family = _checked({**fields, "pretrained": False, "path": None}, list(config["id2label"].values()))
    config_class, _ = family.classes()
    plain = config_class.from_dict({key: value for key, value in config.items() if key != OURS})
    return _apply(_fresh(family, plain), chosen, *parse_layers(chosen.layers, plain.num_hidden_layers))


def _fresh(family: Family, config: Any) -> Any:
    with without_torchao():
        return family.classes()[1](config)


def _apply(model: Any, chosen: EncoderModel, layers: tuple[int, ...], clipped: str | None) -> EncoderClassifier:
    """The classifier with its method applied: trainable weights, and added modules."""
    family, warnings = FAMILIES[chosen.type], [clipped] if clipped else []
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
            rank, alpha, dropout = chosen.lora_rank, chosen.lora_alpha, chosen.lora_dropout
            methods.add_lora(model, family, layers, maps, rank=rank, alpha=alpha, dropout=dropout)
        case "adapter":
            methods.add_bottlenecks(model, family, layers, chosen.adapter_size)
        case "prompt":
            methods.add_prompts(model, family, layers, chosen.prompt_length)
    return EncoderClassifier(model, family, method=chosen.method, dropout=chosen.dropout, warnings=warnings)


def _described(
    settings: Mapping[str, Any], classes: Sequence[str], clip_seconds: float, item_shape: Sequence[int] | None
) -> tuple[EncoderModel, Family, Any]:
    """The checked settings, their family, and transformers' config of the whole classifier, cut to the clip."""
    chosen, family = _checked(settings, classes)
    if chosen.pretrained:
        config = pretrained_config(family, source_of(chosen))
    else:
        config = random_config(family, chosen.size, sizes_of(chosen, family.sizes[chosen.size]))
    fit_config(family, config, classes, chosen.projector)
    if family.is_whisper:
        config.max_source_positions = whisper_positions(clip_seconds, config.max_source_positions)
        wanted: tuple[int, ...] = (config.num_mel_bins, 2 * config.max_source_positions)
    else:
        wanted, shortest = (round(clip_seconds * SAMPLE_RATE),), receptive_field(config)
        if wanted[0] < shortest:
            problem = f"data.clip_seconds={clip_seconds:g} is too short for {family.type}"
            remedy = f"It takes clips of {shortest / SAMPLE_RATE:g} s or more."
            raise ConfigError([problem], remedy, keys=["data.clip_seconds", "model.type"])
    if item_shape is not None and tuple(item_shape) != wanted:
        problem = f"{family.type} takes items of shape {wanted}, but the data's are {tuple(item_shape)}"
        same = f"data.sample_rate={SAMPLE_RATE} and the same data.clip_seconds for data and model"
        raise ConfigError([problem], f"Use data=… with audio, {same}.", keys=["data", "model.type"])
    return chosen, family, config


def _checked(settings: Mapping[str, Any], classes: Sequence[str]) -> tuple[EncoderModel, Family]:
    """The encoder's section, and its family; all faults are raised together."""
    model, faults = read_encoder("encoder", settings, ENCODERS)
    if not faults:
        sizes = sizes_of(model, FAMILIES[model.type].sizes[model.size])
        faults += head_faults(sizes.hidden, sizes.heads)
    raise_all([*faults, *class_faults(classes)])
    return model, FAMILIES[model.type]
