"""A fine-tuned speech encoder for other tools: its LoRA alone, as peft keeps it, or one plain model.

Both are whole directories that appear at once. Nothing here trains, and the model is left as it was.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from trainyard import durable
from trainyard.audio.encoders import EncoderClassifier
from trainyard.audio.encoders.build import OURS, source_of
from trainyard.audio.encoders.families import SAMPLE_RATE
from trainyard.audio.encoders.methods import LORA_NAME
from trainyard.audio.schema import EncoderModel
from trainyard.errors import ConfigError, UserError
from trainyard.models.tensor_files import safetensors_file

# The names that peft and transformers look for.
ADAPTER, ADAPTER_CONFIG = "adapter_model.safetensors", "adapter_config.json"
CONFIG, SAFETENSORS = "config.json", "model.safetensors"
HEAD = "head.safetensors"
README = "README.md"
BASE = "base"  # the folder of an encoder that is nowhere else
_PEFT = "base_model.model."  # what peft puts before every name
_HEAD = ("layer_weights", "projector.", "classifier.")
_POSITIONS = "encoder.embed_positions.weight"  # of a Whisper, cut to the clip
_README = """\
# {name}

A LoRA that Trainyard trained on a speech encoder, and its head. The encoder is {where}.

| file | holds |
|---|---|
| `{adapter}`, `{adapter_config}` | the LoRA, as peft keeps it, and the encoder it belongs to |
| `{head}` | layer weights, projector and classifier{positions}, under transformers' names |
| `{config}` | transformers' config of encoder and head with the labels; `{ours}` in it holds Trainyard's settings |
| `preprocessor_config.json` | the input of the encoder |

These lines load them. Transformers reports weights that are new or of another size: all of them are then read
from `{head}`.

```python
{lines}```

For clips of {seconds:g} s, `sound` being float32 at {rate} Hz, the logits follow. Of a shorter clip Trainyard
leaves the padding out of its mean over time, and transformers may not: cut sound to whole clips.

```python
{use}```
"""
_LINES = """\
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoConfig, AutoFeatureExtractor, AutoModelForAudioClassification

folder = {folder!r}  # this one
base = {base}
config = AutoConfig.from_pretrained(folder)
model = AutoModelForAudioClassification.from_pretrained(base, config=config, ignore_mismatched_sizes=True)
model.load_state_dict(load_file(f"{{folder}}/{head}"), strict=False)
model = PeftModel.from_pretrained(model, folder).eval()
"""
_USE = """\
extractor = AutoFeatureExtractor.from_pretrained(folder)
inputs = extractor(
    sound, sampling_rate={rate}, padding="max_length", max_length={samples}, truncation=True, return_tensors="pt"
)
logits = model(**inputs).logits
label = config.id2label[int(logits.argmax())]
"""


def base_of(config: Mapping[str, Any]) -> str | None:
    """The hub id or local directory that the weights of an encoder came from; None for a new encoder.

    Args:
        config: the contents of its checkpoint's `config.json`.
    """
    ours = config.get(OURS, {})
    model = EncoderModel(**{key: value for key, value in ours.items() if key in EncoderModel.__dataclass_fields__})
    if not model.pretrained:
        return None
    source = source_of(model)
    return str(Path(source).absolute()) if Path(source).is_dir() else source


def export(model: EncoderClassifier, format_: str, folder: Path, config: Mapping[str, Any], *, has_base: bool) -> str:
    """Writes one of the two formats and returns what it holds, for people.

    Args:
        model: trained.
        format_: `adapter` or `merged`.
        folder: must not exist.
        config: the contents of its checkpoint's `config.json`.
        has_base: whether the encoder is the one that `config` names; otherwise an adapter brings it along.

    Raises:
        ConfigError: the model's method does not allow the format.
        UserError: the folder exists.
    """
    if format_ == "merged":
        export_merged(model, folder)
        return "AutoModelForAudioClassification.from_pretrained loads it"
    base = base_of(config) if has_base else None
    export_adapter(model, folder, config, base)
    where = f"in {BASE}/ beside them" if base is None else base
    return f"peft's LoRA and {HEAD}; the encoder is {where}; {README} has the lines of Python that load all"


def export_adapter(model: EncoderClassifier, directory: Path, config: Mapping[str, Any], base: str | None) -> None:
    """Writes what was trained, without the encoder: `PeftModel.from_pretrained(base, directory)` takes the LoRA.

    The head lies beside it in `head.safetensors`, under transformers' names: the layer weights are not a
    module, and peft keeps only modules besides its own weights. `config.json` describes the whole
    classifier, and README.md has the lines of Python that put base, LoRA and head together.

    Args:
        model: trained with the method `lora`.
        directory: must not exist.
        config: the contents of its checkpoint's `config.json`.
        base: the hub id or directory of the encoder; None when it is nowhere else, and then it is written to
            `base/` in the directory.

    Raises:
        ConfigError: the model has another method.
        UserError: the directory exists.
    """
    if model.method != "lora":
        raise ConfigError(
            [f"the encoder was trained with the method {model.method!r}, not lora"],
            "Export an encoder that was trained with model.method=lora.",
            keys=["model.method"],
        )
    weights = _saved(model)
    adapter = {name: tensor for name, tensor in weights.items() if name.startswith(_PEFT)}
    head = {name: tensor for name, tensor in weights.items() if name.startswith((*_HEAD, _POSITIONS))}
    described = _json(config)
    texts = {
        **model.extra_files(),
        CONFIG: described,
        README: _readme(directory.name, config, base, _POSITIONS in head),
    }
    texts[ADAPTER_CONFIG] = _json({**json.loads(texts[ADAPTER_CONFIG]), "base_model_name_or_path": base})
    tensors = {ADAPTER: adapter, HEAD: head}
    if base is None:
        rest = {name: tensor for name, tensor in weights.items() if not name.startswith((*_HEAD, _PEFT))}
        tensors[f"{BASE}/{SAFETENSORS}"], texts[f"{BASE}/{CONFIG}"] = rest, described
    _write(directory, tensors, texts)


def merge(model: EncoderClassifier) -> dict[str, Tensor]:
    """The weights of the plain model that computes the same, under transformers' names, on the CPU.

    Of a LoRA, W + alpha / r * B A takes the place of each W it changes (Hu et al., 2021, eq. 3).

    Raises:
        ConfigError: bottlenecks and prompts are not changes of weights and cannot be merged.
    """
    if model.method in ("adapter", "prompt"):
        raise ConfigError(
            [f"the method {model.method!r} adds parts to the encoder that no plain model of its kind has"],
            "Keep the checkpoint, or train with model.method=lora to merge.",
            keys=["model.method"],
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
    _write(directory, {SAFETENSORS: weights}, {CONFIG: model.model.config.to_json_string(use_diff=True), **texts})


def _saved(model: EncoderClassifier) -> dict[str, Tensor]:
    return {model.saved_name(name): tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}


def _readme(name: str, config: Mapping[str, Any], base: str | None, cuts: bool) -> str:
    seconds = config[OURS]["clip_seconds"]
    where = f"in `{BASE}/` here: it began with random weights or those of another run" if base is None else f"`{base}`"
    source = f'f"{{folder}}/{BASE}"' if base is None else repr(base)
    return _README.format(
        name=name,
        where=where,
        adapter=ADAPTER,
        adapter_config=ADAPTER_CONFIG,
        head=HEAD,
        config=CONFIG,
        ours=OURS,
        positions=", and the encoder's positions cut to the clip" if cuts else "",
        seconds=seconds,
        rate=SAMPLE_RATE,
        lines=_LINES.format(folder=name, base=source, head=HEAD),
        use=_USE.format(rate=SAMPLE_RATE, samples=round(seconds * SAMPLE_RATE)),
    )


def _json(value: Mapping[str, Any]) -> str:
    return json.dumps(value, indent=2) + "\n"  # unsorted: 10 would come before 2 in id2label


def _write(directory: Path, tensors: Mapping[str, Mapping[str, Tensor]], texts: Mapping[str, str]) -> None:
    """Makes a directory of these files, all of it or nothing."""
    try:
        with durable.staging(directory) as staged:
            for name, found in tensors.items():
                durable.make_directories((staged / name).parent)
                safetensors_file(found)(staged / name)
            for name, text in texts.items():
                durable.write_text(staged / name, text)
    except FileExistsError as error:
        raise UserError(
            f"{directory} exists already, and nothing is overwritten.", "Name another directory.", place=directory
        ) from error
