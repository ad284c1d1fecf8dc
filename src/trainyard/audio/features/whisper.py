"""Whisper's input features, equal to those of transformers within 1e-5.

Computed for a batch on its device, whereas transformers uses NumPy. Knows no model.
"""

from __future__ import annotations

import torch

from trainyard.audio.features.mel_power import MelPower, mel_filters
from trainyard.errors import ConfigError

SAMPLE_RATE = 16000  # Hz
_N_FFT = 400
_HOP_LENGTH = 160
_RANGE_DB = 80.0
_MAX_SECONDS = 30.0  # Whisper has no position embeddings beyond this


class WhisperFeatures:
    """Whisper's log-mel features of clips of one length.

    The log10 of the mel power, at most 8 below the clip's largest, plus 4, divided by 4
    (Radford et al., 2022, and its code). Equal to `WhisperFeatureExtractor(feature_size=n_mels,
    chunk_length=seconds)` of transformers and, on a CPU, to that computation in double precision.

    Args:
        n_mels: 80; 128 for large-v3 and its descendants.
        seconds: the length of all clips; shorter ones are padded with silence, longer ones are cut.

    Attributes:
        frames: of every clip, 100 per second.

    Raises:
        ConfigError: an unsupported number of mel bands or length.
    """

    def __init__(self, n_mels: int = 80, seconds: float = 30.0) -> None:
        problems = {}
        if n_mels not in (80, 128):
            problems["n_mels"] = f"{n_mels} mel bands: models of Whisper have 80, or 128 (large-v3)"
        pairs = seconds * 50  # the encoder halves the number of frames
        if not 1 <= pairs <= _MAX_SECONDS * 50 or abs(pairs - round(pairs)) > 1e-6:
            use = f"use a multiple of 0.02 s from 0.02 to {_MAX_SECONDS:g}"
            problems["data.clip_seconds"] = f"data.clip_seconds={seconds:g}: for Whisper, {use}"
        if problems:
            raise ConfigError(tuple(problems.values()), "Use supported values.", keys=tuple(problems))
        self.frames = 2 * round(pairs)
        self._power = MelPower(
            mel_filters(SAMPLE_RATE, _N_FFT, n_mels), _N_FFT, _HOP_LENGTH, pad_mode="reflect", range_db=_RANGE_DB
        )

    def __call__(self, waveform: torch.Tensor) -> torch.Tensor:
        """Computes the features of waveforms float32 [B, T], 16 kHz: float32 [B, n_mels, frames] on their device."""
        missing = self.frames * _HOP_LENGTH - waveform.shape[1]
        clip = torch.nn.functional.pad(waveform, (0, missing))  # a negative padding cuts
        log_power = self._power(clip)[..., :-1].contiguous()  # Whisper leaves out the frame centred on the end
        return log_power.add_(4).div_(4)
