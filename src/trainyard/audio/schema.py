"""The configuration of recordings and speech encoders, and the names of encoders.

An encoder's name is `{type}_{size}_{method}[_{layers}]`, as in `whisper_base_lora_012`. Imports nothing heavy.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from trainyard.config.bounds import Bound, above_zero, at_least, below_one
from trainyard.config.schema import SplitOptions
from trainyard.models.encoder_settings import MINI, SIZE_BOUNDS
from trainyard.wording import nearest, suggestion

Corpus = Literal[
    "vocal_bursts",
    "folder",
    "csv",
    "asvp_esd",
    "asvp_esd_babies",
    "cnvve",
    "nonverbal_vocalization_dataset",
    "recanvo",
    "vivae",
    "donateacry",
    "fsdd",
    "esc",
]
Method = Literal["frozen", "lora", "adapter", "prompt", "full"]


@dataclass(frozen=True)
class AudioData:
    """Recordings: a corpus in its own folders, a folder per class, a CSV, or synthetic vocal bursts."""

    source: Literal["audio"] = "audio"
    corpus: Corpus = "vocal_bursts"  # how files are named and labelled; vocal_bursts are synthetic
    path: str | None = None  # the corpus; null: the folder of its name in system.audio_dir
    dataset: str | None = None  # the name used in paths and queries; null: the corpus, the folder or the file's stem
    classes: tuple[str, ...] | None = None  # names in label order; null: those found
    speakers: int = 20  # of vocal_bursts
    takes: int = 4  # of each class by each speaker of vocal_bursts
    path_column: str = "path"  # of a csv, like the three below
    label_column: str = "label"
    group_column: str | None = None  # items of one group (a speaker) stay in one split
    split_column: str | None = None  # official splits: train, val, test
    sample_rate: int = 16000  # Hz; everything is resampled to it
    clip_seconds: float = 7.0  # the length of a model's input
    crop: Literal["start", "center", "random"] = "center"  # the part of a longer file; random in training only
    pad: Literal["end", "center", "tile"] = "end"  # a shorter file: silence after it, around it, or repeated
    min_seconds: float = 0.01  # shorter files count as bad
    max_seconds: float = 300.0  # longer files count as bad
    n_fft: int = 400  # samples of a window of the log-mel spectrogram
    hop_length: int = 160  # samples between windows
    n_mels: int = 64
    fmin: float = 0.0  # Hz
    fmax: float | None = None  # Hz; null: half the sample rate
    top_db: float | None = 80.0  # dynamic range below the maximum; null: unlimited
    normalise: Literal["none", "clip"] = "clip"  # clip: each spectrogram to mean 0 and deviation 1
    workers: int = 0  # processes that decode and augment; 0: the training process
    on_bad_file: Literal["error", "skip"] = "error"
    split: SplitOptions = SplitOptions(test_fraction=0.1)


@dataclass(frozen=True)
class EncoderModel:
    """A speech encoder of transformers, its fine-tuning method, and a head on the weighted sum of its layers."""

    takes_cosine_head = False  # not a field: training.use_arcface does not apply

    name: Literal["encoder"] = "encoder"
    type: Literal["whisper", "wav2vec2", "hubert", "wavlm", "unispeech_sat"] = "whisper"
    size: str = "base"  # whisper: tiny, base, small, medium, large; all others: base, large
    method: Method = "lora"
    layers: str | None = None  # the layers that the method changes: 012 or 7-12, from 0; null: all
    pretrained: bool = True  # false: random weights
    path: str | None = None  # a hub id or a directory; null: the size's default hub id
    projector: int = 256  # width of the head
    dropout: float = 0.0  # before the classifier
    lora_rank: int = 8
    lora_alpha: float = 16.0
    lora_dropout: float = 0.0
    lora_targets: Literal["ffn", "attention", "both"] = "both"
    adapter_size: int = 64  # width of the bottleneck
    prompt_length: int = 8  # learned vectors per layer
    hidden_size: int | None = None  # of a random encoder, replacing that of its size; with the three below
    num_layers: int | None = None
    num_heads: int | None = None
    ffn_size: int | None = None


DATA = (AudioData,)
MODELS = (EncoderModel,)
BOUNDS: tuple[Bound, ...] = (
    ("data.path", bool, "a path"),
    ("data.speakers", at_least(1), "1 or more"),
    ("data.takes", at_least(1), "1 or more"),
    ("data.sample_rate", at_least(1000), "1000 Hz or more"),
    ("data.clip_seconds", above_zero, "above 0"),
    ("data.min_seconds", at_least(0), "0 or more"),
    ("data.max_seconds", above_zero, "above 0"),
    ("data.n_fft", at_least(2), "2 samples or more"),
    ("data.hop_length", at_least(1), "1 sample or more"),
    ("data.n_mels", at_least(1), "1 or more"),
    ("data.fmin", at_least(0), "0 Hz or more"),
    ("data.fmax", above_zero, "above 0 Hz, or null for half the sample rate"),
    ("data.top_db", above_zero, "above 0 dB, or null for no limit"),
    ("data.workers", at_least(0), "0 or more"),
    ("model.path", bool, "a hub id or a directory, or null"),
    ("model.projector", at_least(1), "1 or more"),
    ("model.dropout", below_one, "0 or more and below 1"),
    ("model.lora_rank", at_least(1), "1 or more"),
    ("model.lora_alpha", above_zero, "above 0"),
    ("model.lora_dropout", below_one, "0 or more and below 1"),
    ("model.adapter_size", at_least(1), "1 or more"),
    ("model.prompt_length", at_least(1), "1 or more"),
    *SIZE_BOUNDS,
)

_USUAL = {"base": 12, "large": 24}
# The number of layers of each published encoder, by type and size.
ENCODERS: Mapping[str, Mapping[str, int]] = {
    "whisper": {"tiny": 4, "base": 6, "small": 12, "medium": 24, "large": 32},
    "wav2vec2": _USUAL,
    "hubert": _USUAL,
    "wavlm": _USUAL,
    "unispeech_sat": _USUAL,
}
METHODS: tuple[str, ...] = get_args(Method)
# Corpora that a folder of experiments may be named after: all specific datasets.
CORPORA: tuple[str, ...] = tuple(name for name in get_args(Corpus) if name not in ("folder", "csv"))

NAMES: tuple[str, ...] = ()  # names of encoders follow a grammar
DATASETS = CORPORA
# The recipe of an experiment with this data that names none, by model.name.
RECIPES: Mapping[str, str] = {
    "encoder": "vocalizations",
    "efficientnet_v2": "spectrogram",
    "panns_cnn14": "spectrogram",
    "mobilenet_v2": "spectrogram",
}
# In an experiment file, a section with this key may leave out its selector.
IMPLIED: Mapping[str, tuple[str, str]] = {"model": ("type", "encoder"), "data": ("corpus", "audio")}

_TAIL = re.compile(r"([a-z]+)_([a-z]+)(?:_([0-9]+(?:-[0-9]+)?))?")


def label(model: EncoderModel) -> str:
    """The encoder's name."""
    return "_".join([model.type, model.size, model.method, *([model.layers] if model.layers else [])])


def from_name(name: str) -> dict[str, Any] | None:
    """The `model` values that an encoder's name implies, or None for another name: the inverse of `label`.

    A name without layers implies layers=None, which means all of them.
    """
    type_ = _type(name)
    found = _TAIL.fullmatch(name, len(type_) + 1) if type_ else None
    if not found or found[1] not in sizes_of(type_) or found[2] not in METHODS:
        return None
    return {"name": "encoder", "type": type_, "size": found[1], "method": found[2], "layers": found[3]}


def explain_name(name: str) -> str | None:
    """Why a name that begins like an encoder's is not one; None for any other name."""
    type_ = _type(name)
    if not type_:
        starts = {known: "_".join(name.split("_")[: known.count("_") + 1]) for known in ENCODERS}
        meant = next((known for known, start in starts.items() if nearest(start, [known])), None)
        return f"`{starts[meant]}` is not a model; did you mean `{meant}`?" if meant else None
    size, method, layers, *_ = [*name[len(type_) + 1 :].split("_", 2), "", "", ""]
    for part, what, valid in ((size, f"size of {type_}", sizes_of(type_)), (method, "method", METHODS)):
        if part not in valid:
            problem = f"`{part}` is not a {what}" if part else f"`{name}` has no {what}"
            return f"{problem}{suggestion(part, valid)}"
    return f"`{layers}` does not name layers; write them as 012 or 7-12, from 0"


def from_folder(folder: str) -> dict[str, Any] | None:
    """The `data` values that a folder of experiments implies, or None if it is not named after a corpus."""
    return {"source": "audio", "corpus": folder} if folder in CORPORA else None


def sizes_of(type_: str) -> tuple[str, ...]:
    """The sizes of a type of encoder."""
    return (MINI, *ENCODERS[type_])


def _type(name: str) -> str:
    """The type of encoder that the name begins with, or an empty string."""
    return next((known for known in ENCODERS if name == known or name.startswith(f"{known}_")), "")
