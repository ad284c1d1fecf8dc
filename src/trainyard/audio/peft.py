"""Exports of a fine-tuned speech encoder for other tools: its LoRA alone, in peft's format, or one plain model.

Both are directories that are written atomically. The model is unchanged.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from trainyard import durable
from trainyard.audio.encoders import EncoderClassifier
from trainyard.audio.encoders.build import OURS, source_of
from trainyard.audio.encoders.classifier import PEFT_PREFIX
from trainyard.audio.encoders.families import SAMPLE_RATE
from trainyard.audio.encoders.methods import LORA_NAME
from trainyard.audio.encoders.pretrained import HEAD_PREFIXES
from trainyard.audio.schema import EncoderModel
from trainyard.errors import ConfigError, UserError
from trainyard.models.tensor_files import safetensors_file

# The file names that peft and transformers expect.
ADAPTER, ADAPTER_CONFIG = "adapter_model.safetensors", "adapter_config.json"
CONFIG, SAFETENSORS, HEAD, README = "config.json", "model.safetensors", "head.safetensors", "README.md"
BASE = "base"  # the folder of an encoder that is not published
_POSITIONS = "encoder.embed_positions.weight"  # of a Whisper, cut to the clip
_README = """\
# {name}

A LoRA that Trainyard trained on a speech encoder, and its head. The encoder is {where}.

| file | contents |
|---|---|
| `adapter_model.safetensors`, `adapter_config.json` | the LoRA in peft's format, and the name of its encoder |
| `head.safetensors` | layer weights, projector and classifier{positions}, under transformers' names |
| `config.json` | transformers' config of encoder and head with the labels; `{ours}` in it holds Trainyard's settings |
| `preprocessor_config.json` | the input of the encoder |

These lines load them. transformers reports weights that are new or of another size: all of them are then loaded
from `head.safetensors`.

```python
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoConfig, AutoFeatureExtractor, AutoModelForAudioClassification

folder = {name!r}  # this one
base = {base}
config = AutoConfig.from_pretrained(folder)
model = AutoModelForAudioClassification.from_pretrained(base, config=config, ignore_mismatched_sizes=True)
model.load_state_dict(load_file(f"{{folder}}/head.safetensors"), strict=False)
model = PeftModel.from_pretrained(model, folder).eval()
```

These lines compute the logits of a clip of {seconds:g} s; `sound` is float32 at {rate} Hz. Trainyard excludes the
padding of shorter clips from its mean over time, but transformers may not, so pass clips of the full length.

```python
extractor = AutoFeatureExtractor.from_pretrained(folder)
inputs = extractor(
    sound, sampling_rate={rate}, padding="max_length", max_length={samples}, truncation=True, return_tensors="pt"
)
logits = model(**inputs).logits
label = config.id2label[int(logits.argmax())]
```
"""


def base_of(config: Mapping[str, Any]) -> str | None:
    """The hub id or directory of the initial weights of the encoder of a `config.json`; None for a new encoder."""
    ours = config.get(OURS, {})
    model = EncoderModel(**{key: value for key, value in ours.items() if key in EncoderModel.__dataclass_fields__})
    if not model.pretrained:
        return None
    source = source_of(model)
    return str(Path(source).absolute()) if Path(source).is_dir() else source


def export(model: EncoderClassifier, format_: str, folder: Path, config: Mapping[str, Any], *, has_base: bool) -> str:
    """Writes one of the two formats, `adapter` or `merged`, and returns a description for people.

    `config` is the contents of the checkpoint's `config.json`; unless the model `has_base`, the encoder that it names,
    an adapter's folder includes the encoder.

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
    """Writes the trained weights without the encoder: `PeftModel.from_pretrained(base, directory)` loads the LoRA.

    The head is in `head.safetensors`, under transformers' names: the layer weights are not a module, and peft saves
    only modules in addition to its own weights. `config.json` describes the whole classifier, and README.md has the
    lines of Python that combine base, LoRA and head.

    `config` is the contents of the checkpoint's `config.json`, and `base` the hub id or directory of the encoder; None
    if there is none, and then the encoder is written to `base/` in the directory.

    Raises:
        ConfigError: the model was not trained with the method `lora`.
        UserError: the directory exists.
    """
    if model.method != "lora":
        remedy = "Export an encoder that was trained with model.method=lora."
        raise ConfigError.of("model.method", model.method, "trains no LoRA that could be exported", remedy)
    weights = _saved(model)
    adapter = {name: tensor for name, tensor in weights.items() if name.startswith(PEFT_PREFIX)}
    head = {name: tensor for name, tensor in weights.items() if name.startswith((*HEAD_PREFIXES, _POSITIONS))}
    described = _json(config)
    readme = _readme(directory.name, config, base, _POSITIONS in head)
    texts = {**model.extra_files(), CONFIG: described, README: readme}
    texts[ADAPTER_CONFIG] = _json({**json.loads(texts[ADAPTER_CONFIG]), "base_model_name_or_path": base})
    tensors = {ADAPTER: adapter, HEAD: head}
    if base is None:
        rest = {name: tensor for name, tensor in weights.items() if not name.startswith((*HEAD_PREFIXES, PEFT_PREFIX))}
        tensors[f"{BASE}/{SAFETENSORS}"], texts[f"{BASE}/{CONFIG}"] = rest, described
    _write(directory, tensors, texts)


def merge(model: EncoderClassifier) -> dict[str, Tensor]:
    """The weights of the equivalent plain model, under transformers' names, on the CPU.

    For a LoRA, W + alpha / r * B A replaces each W that it changes (Hu et al., 2021, eq. 3).

    Raises:
        ConfigError: bottlenecks and prompts do not change weights and cannot be merged.
    """
    if model.method in ("adapter", "prompt"):
        why = "adds modules to the encoder that a plain model does not have"
        remedy = "Keep the checkpoint, or train with model.method=lora to merge."
        raise ConfigError.of("model.method", model.method, why, remedy)
    weights = {name: tensor for name, tensor in _saved(model).items() if not name.startswith(PEFT_PREFIX)}
    modules: Iterable[tuple[str, Any]] = model.named_modules()
    for name, module in modules:
        if hasattr(module, "get_delta_weight"):
            with torch.no_grad():
                merged = module.get_base_layer().weight + module.get_delta_weight(LORA_NAME)
            weights[model.saved_name(f"{name}.base_layer.weight")] = merged.cpu().contiguous()
    return weights


def export_merged(model: EncoderClassifier, directory: Path) -> None:
    """Writes a plain model: `AutoModelForAudioClassification.from_pretrained(directory)` loads it without peft.

    Raises:
        ConfigError: it cannot be merged, see `merge`.
        UserError: the directory exists.
    """
    weights = merge(model)
    texts = {name: text for name, text in model.extra_files().items() if name != ADAPTER_CONFIG}
    _write(directory, {SAFETENSORS: weights}, {CONFIG: model.model.config.to_json_string(use_diff=True), **texts})


def _saved(model: EncoderClassifier) -> dict[str, Tensor]:
    return {model.saved_name(name): tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}


def _readme(name: str, config: Mapping[str, Any], base: str | None, cuts: bool) -> str:
    seconds = config[OURS]["clip_seconds"]
    return _README.format(
        name=name,
        ours=OURS,
        where=f"in `{BASE}/`: it was not a published one" if base is None else f"`{base}`",
        positions=", and the encoder's positions cut to the clip" if cuts else "",
        base=f'f"{{folder}}/{BASE}"' if base is None else repr(base),
        seconds=seconds,
        rate=SAMPLE_RATE,
        samples=round(seconds * SAMPLE_RATE),
    )


def _json(value: Mapping[str, Any]) -> str:
    return json.dumps(value, indent=2) + "\n"  # unsorted: 10 would come before 2 in id2label


def _write(directory: Path, tensors: Mapping[str, Mapping[str, Tensor]], texts: Mapping[str, str]) -> None:
    """Creates a directory with these files atomically."""
    try:
        with durable.staging(directory) as staged:
            for name, found in tensors.items():
                durable.make_directories((staged / name).parent)
                safetensors_file(found)(staged / name)
            for name, text in texts.items():
                durable.write_text(staged / name, text)
    except FileExistsError as error:
        what = f"{directory} already exists and is not overwritten."
        raise UserError(what, "Choose another directory.", place=directory) from error
