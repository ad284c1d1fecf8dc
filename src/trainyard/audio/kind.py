"""Recordings as a kind of data, see `config.kinds`.

Each speech encoder has its own features; every other network takes log-mel spectrograms.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np

from trainyard.audio.augment.spectrogram import SpecAugment
from trainyard.audio.augment.waveform import WaveformAugment
from trainyard.audio.corpora import find
from trainyard.audio.dataset import Options, burst_dataset, file_dataset, scan_files
from trainyard.audio.decode import is_audio
from trainyard.audio.encoders import build, describe, rebuild, whisper_mels
from trainyard.audio.features.log_mel import LogMel
from trainyard.audio.features.waveform import normalise_waveform
from trainyard.audio.features.whisper import WhisperFeatures
from trainyard.audio.inputs import ClipOptions, Frontend, Reading
from trainyard.audio.schema import AudioData, EncoderModel
from trainyard.config.kinds import Files
from trainyard.config.schema import Config
from trainyard.config.targets import build_target
from trainyard.data.build import unusable_items
from trainyard.data.cache import cache_directory
from trainyard.data.dataset import Dataset
from trainyard.data.items import Items, files_at
from trainyard.errors import ConfigError

__all__ = ["build", "describe", "export_folder", "load", "preprocessing", "read_new", "rebuild"]

_LOG_MEL = ("n_fft", "hop_length", "n_mels", "fmin", "fmax", "top_db", "normalise")
_COMPUTED_AS = {
    "log-mel": "librosa.power_to_db(librosa.feature.melspectrogram(y=clip, sr=sample_rate, n_fft=n_fft, "
    "hop_length=hop_length, n_mels=n_mels, fmin=fmin, fmax=fmax, pad_mode='constant'), top_db=top_db); "
    "with normalise=clip then minus its mean, divided by its standard deviation; as [1, n_mels, frames]",
    "whisper": "transformers.WhisperFeatureExtractor(feature_size=n_mels, chunk_length=clip_seconds)",
    "waveform": "the clip minus its mean, divided by sqrt(its variance + 1e-7)",
}


def load(
    config: Config, *, trust: bool = False, item_shape: Sequence[int] | None = None, files: Files | None = None
) -> Dataset:
    """The recordings of `config.data`, augmented in training, as inputs of `config.model`."""
    data, system = config.data, config.system
    assert isinstance(data, AudioData)
    described = preprocessing(config, item_shape)
    options = Options(
        _reading(described, cache_directory(system.cache_dir), system.cache_mb),
        data.split,
        _waveform_augmentation(config, data.sample_rate, trust),
        _spectrogram_augmentation(config),
        {"preprocessing": described, "model_arguments": {"clip_seconds": data.clip_seconds}},
    )
    name, classes = data.dataset or data.corpus, data.classes
    if data.corpus == "vocal_bursts" and data.path is None:
        return burst_dataset(name, options, speakers=data.speakers, takes=data.takes, classes=classes)
    root = Path(data.path) if data.path else Path(system.audio_dir) / data.corpus
    columns = {key: getattr(data, key) for key in ("path_column", "label_column", "group_column", "split_column")}
    corpus = find(data.corpus, root, classes=classes, **columns)
    name, notes = data.dataset or corpus.name, corpus.warnings
    return file_dataset(
        name, str(root), corpus.classes, corpus.files, options, on_bad_file=data.on_bad_file, warnings=notes
    )


def preprocessing(config: Config, item_shape: Sequence[int] | None = None) -> dict[str, Any]:
    """How a recording becomes the input of `config.model`; ConfigError where the features cannot be computed."""
    data, model = config.data, config.model
    assert isinstance(data, AudioData)
    features: dict[str, Any]
    if not isinstance(model, EncoderModel):
        features = {"features": "log-mel", **{name: getattr(data, name) for name in _LOG_MEL}}
    elif model.type == "whisper":
        mels = item_shape[0] if item_shape else whisper_mels(model.size, model.path if model.pretrained else None)
        features = {"features": "whisper", "n_mels": mels}
    else:
        features = {"features": "waveform"}
    described = {
        "kind": "audio",
        "sample_rate": data.sample_rate,
        "channels": 1,
        **{name: getattr(data, name) for name in ("clip_seconds", "crop", "pad", "min_seconds", "max_seconds")},
        **features,
        "computed_as": _COMPUTED_AS[features["features"]],
    }
    return {**described, "item_shape": list(frontend_of(described).item_shape)}


def read_new(
    path: Path, preprocessing: Mapping[str, Any], *, files: Files, cache_dir: Path, cache_mb: float, trust: bool = False
) -> Items:
    """The recordings at `path`: a recording, or a folder of recordings at any depth."""
    paths, names = files_at(path, is_audio, "recording")
    scan = scan_files(paths, _reading(preprocessing, cache_dir, cache_mb))
    clips = scan.clips
    if bad := [(name, why) for name, why in zip(names, scan.faults, strict=True) if why]:
        raise unusable_items(path, "some files cannot be used as recordings", bad)
    lengths = clips.lengths(np.arange(len(paths), dtype=np.int64)) if clips.frontend.masked else None
    return Items(tuple(names), clips, clips.finish, lengths)


def frontend_of(preprocessing: Mapping[str, Any]) -> Frontend:
    """The features of a clip.

    Raises:
        ConfigError: features that cannot be computed with these settings.
    """
    length = _clip_options(preprocessing).length
    if preprocessing["features"] == "log-mel":
        parameters = {name: preprocessing[name] for name in _LOG_MEL}
        spectrogram = LogMel(preprocessing["sample_rate"], **parameters)
        shape: tuple[int, ...] = (1, parameters["n_mels"], spectrogram.frames(length))
        return Frontend("log-mel", parameters, shape, lambda clips, lengths: spectrogram(clips))
    if preprocessing["features"] == "whisper":
        mels = preprocessing["n_mels"]
        whisper = WhisperFeatures(mels, preprocessing["clip_seconds"])  # checks that a Whisper takes such numbers
        shape = (mels, whisper.frames)
        return Frontend("whisper", {"n_mels": mels}, shape, lambda clips, lengths: whisper(clips), masked=True)
    return Frontend("waveform", {}, (length,), normalise_waveform, kept=False, masked=True)


def _clip_options(preprocessing: Mapping[str, Any]) -> ClipOptions:
    return ClipOptions(**{field.name: preprocessing[field.name] for field in fields(ClipOptions)})


def _reading(preprocessing: Mapping[str, Any], cache_dir: Path, cache_mb: float) -> Reading:
    return Reading(_clip_options(preprocessing), frontend_of(preprocessing), cache_dir, cache_mb)


def _spectrogram_augmentation(config: Config) -> SpecAugment | None:
    changes = config.augmentations.spectrogram
    changes_anything = changes.time_masks or changes.freq_masks or changes.time_shift or changes.freq_stretch
    return SpecAugment(**asdict(changes)) if changes_anything else None


def _waveform_augmentation(config: Config, sample_rate: int, trust: bool) -> WaveformAugment | None:
    if config.augmentations.waveform is None:
        return None
    try:
        transform = build_target(config.augmentations.waveform, trust=trust)
    except ConfigError as error:
        problems = [f"`augmentations.waveform`: {problem}" for problem in error.problems]
        remedy = error.remedy or "Use transforms of audiomentations with their arguments, or set it to null."
        raise ConfigError(problems, remedy, keys=["augmentations.waveform"]) from error
    return WaveformAugment(transform, sample_rate)


def export_folder(model: Any, format_: str, folder: Path, config: Mapping[str, Any], *, has_base: bool) -> str:
    """Writes a trained encoder for other libraries, atomically; see `peft.export`."""
    from trainyard.audio.peft import export  # loads peft

    return export(model, format_, folder, config, has_base=has_base)
