"""From the settings of `data`, `model`, `augmentations` and `system` to a dataset of sound.

What a model hears depends on the model: an encoder brings its own features, every other network gets
log-mel spectrograms.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import Tensor

from trainyard.audio.augment.spectrogram import SpecAugment
from trainyard.audio.augment.waveform import WaveformAugment
from trainyard.audio.corpora import find
from trainyard.audio.dataset import burst_dataset, file_dataset
from trainyard.audio.encoders import whisper_mels
from trainyard.audio.features.log_mel import LogMel
from trainyard.audio.features.waveform import normalise_waveform
from trainyard.audio.features.whisper import WhisperFeatures
from trainyard.audio.inputs import Frontend, Listening
from trainyard.config.schema import AudioData, Config, EncoderModel
from trainyard.config.targets import build_target
from trainyard.data.dataset import Dataset
from trainyard.errors import ConfigError


def load_sound(
    config: Config, data: AudioData, split: Mapping[str, Any], *, trust: bool, heard: Sequence[int] | None = None
) -> Dataset:
    """The recordings that `data` names, as `config.model` hears them.

    Raises:
        ConfigError: features or augmentations that cannot be.
        DataError: the data cannot be read or trained on.
    """
    listening, frontend = listening_of(data), frontend_of(config, heard)
    changes = config.augmentations.spectrogram
    spectrogram = None
    if changes.time_masks or changes.freq_masks or changes.time_shift or changes.freq_stretch:
        spectrogram = SpecAugment(**asdict(changes))
    waveform = None
    if config.augmentations.waveform is not None:
        try:
            transform = build_target(config.augmentations.waveform, trust=trust)
        except ConfigError as error:
            problems = [f"`augmentations.waveform`: {problem}" for problem in error.problems]
            raise ConfigError(
                problems, error.remedy or "Name transforms of audiomentations and their arguments, or set it to null."
            ) from error
        waveform = WaveformAugment(transform, data.sample_rate)
    common: dict[str, Any] = {
        "listening": listening,
        "frontend": frontend,
        "waveform": waveform,
        "spectrogram": spectrogram,
        "cache_dir": cache_dir(config),
        "cache_mb": config.system.cache_mb,
        **split,
    }
    if data.corpus == "vocal_bursts" and data.path is None:
        return burst_dataset(
            data.dataset or data.corpus, speakers=data.speakers, takes=data.takes, classes=data.classes, **common
        )
    root = Path(data.path) if data.path else Path(config.system.audio_dir) / data.corpus
    corpus = find(
        data.corpus,
        root,
        classes=data.classes,
        path_column=data.path_column,
        label_column=data.label_column,
        group_column=data.group_column,
        split_column=data.split_column,
    )
    return file_dataset(
        data.dataset or corpus.name,
        str(root),
        corpus.classes,
        corpus.files,
        on_bad_file=data.on_bad_file,
        warnings=corpus.warnings,
        **common,
    )


def cache_dir(config: Config) -> Path:
    """Where decoded sound and features are kept; nothing is made yet."""
    if config.system.cache_dir:
        return Path(config.system.cache_dir)
    if chosen := os.environ.get("TRAINYARD_CACHE"):
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "trainyard"


def listening_of(data: AudioData) -> Listening:
    """How a recording becomes a clip."""
    return Listening(data.sample_rate, data.clip_seconds, data.crop, data.pad, data.min_seconds, data.max_seconds)


def frontend_of(config: Config, heard: Sequence[int] | None = None) -> Frontend:
    """What the model of `config` hears of a clip.

    Args:
        config: its `data` and `model`.
        heard: the shape of an item, when it is known already.

    Raises:
        ConfigError: features that cannot be computed with these settings.
    """
    data, model = config.data, config.model
    assert isinstance(data, AudioData)
    length = listening_of(data).length
    if not isinstance(model, EncoderModel):
        spectrogram = LogMel(
            data.sample_rate,
            data.n_fft,
            data.hop_length,
            data.n_mels,
            data.fmin,
            data.fmax,
            data.top_db,
            data.normalise,
        )
        depends_on = ("n_fft", "hop_length", "n_mels", "fmin", "fmax", "top_db", "normalise")
        parameters = {name: getattr(data, name) for name in depends_on}
        shape = (1, data.n_mels, spectrogram.frames(length))
        return Frontend("log-mel", parameters, shape, lambda clips, lengths: spectrogram(clips))
    if model.type == "whisper":
        mels = heard[0] if heard else whisper_mels(model.size, model.path if model.pretrained else None)
        whisper = WhisperFeatures(mels, data.clip_seconds)  # refuses numbers that no Whisper has
        return Frontend(
            "whisper", {"n_mels": mels}, (mels, whisper.frames), lambda clips, lengths: whisper(clips), masked=True
        )

    def as_it_is(clips: Tensor, lengths: Tensor) -> Tensor:
        return normalise_waveform(clips, lengths)

    return Frontend("waveform", {}, (length,), as_it_is, kept=False, masked=True)


_SAID = {
    "log-mel": "librosa.power_to_db(librosa.feature.melspectrogram(y=clip, sr=sample_rate, n_fft=n_fft, "
    "hop_length=hop_length, n_mels=n_mels, fmin=fmin, fmax=fmax, pad_mode='constant'), top_db=top_db); "
    "with normalise=clip then minus its mean, divided by its standard deviation; as [1, n_mels, frames]",
    "whisper": "transformers.WhisperFeatureExtractor(feature_size=n_mels, chunk_length=clip_seconds)",
    "waveform": "the clip minus its mean, divided by sqrt(its variance + 1e-7)",
}


def heard_by(config: Config, item_shape: Sequence[int]) -> dict[str, Any]:
    """How a recording becomes what the model hears, for programs that run the model elsewhere; JSON-able.

    Args:
        config: whose `data` is sound.
        item_shape: of an item of that data.
    """
    data = config.data
    assert isinstance(data, AudioData)
    frontend = frontend_of(config, item_shape)
    return {
        "sample_rate": data.sample_rate,
        "channels": 1,
        "clip_seconds": data.clip_seconds,
        "crop": data.crop,
        "pad": data.pad,
        "features": frontend.name,
        **frontend.parameters,
        "computed_as": _SAID[frontend.name],
    }
