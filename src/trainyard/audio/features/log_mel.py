"""Log-mel spectrograms of batches, equal to librosa's within 1e-3 dB, on any device.

Knows no files and no caches.
"""

from __future__ import annotations

from typing import Literal

import torch

from trainyard.audio.features.mel_power import MelPower, mel_filters
from trainyard.errors import ConfigError

_FLAT_DB = 1e-3  # a clip whose standard deviation is below this is treated as silent


class LogMel:
    """Log-mel spectrograms in dB.

    Equal to `librosa.power_to_db(librosa.feature.melspectrogram(y, ..., pad_mode="constant"), top_db=top_db)`
    with librosa's other defaults, within 1e-3 dB.

    Args:
        sample_rate: of the waveforms, Hz.
        n_fft: samples of a window.
        hop_length: samples between windows.
        n_mels: mel bands.
        fmin: lower edge of the first band, Hz.
        fmax: upper edge of the last band, Hz; None: half the sample rate.
        top_db: values further than this below the maximum of their clip are clamped; None: no clamping.
        normalise: "clip" scales each spectrogram as a whole to mean 0 and standard deviation 1, or to
            zeros if it is silent; "none" keeps dB.

    Raises:
        ConfigError: arguments that are invalid or do not fit together; all faults at once.
    """

    def __init__(
        self,
        sample_rate: int,
        n_fft: int = 400,
        hop_length: int = 160,
        n_mels: int = 64,
        fmin: float = 0.0,
        fmax: float | None = None,
        top_db: float | None = 80.0,
        normalise: Literal["none", "clip"] = "clip",
    ) -> None:
        highest = sample_rate / 2 if fmax is None else float(fmax)
        _check(sample_rate, n_fft, hop_length, n_mels, fmin, highest, top_db, normalise)
        filters = mel_filters(sample_rate, n_fft, n_mels, fmin, highest)
        if empty := int((filters.max(1) == 0).sum()):
            problem = (
                f"data.n_mels={n_mels} is too many for data.n_fft={n_fft} at {sample_rate} Hz: {empty} bands are "
                f"so narrow that they contain no frequency of the FFT ({sample_rate / n_fft:.1f} Hz apart)"
            )
            remedy = _remedy_for_empty(sample_rate, n_fft, n_mels, fmin, highest)
            raise ConfigError([problem], remedy, keys=("data.n_mels", "data.n_fft"))
        self._normalise = normalise == "clip"
        self._sample_rate = sample_rate
        self._power = MelPower(filters, n_fft, hop_length, pad_mode="constant", range_db=top_db)

    def frames(self, samples: int) -> int:
        """The number of frames of a clip of `samples` samples.

        Raises:
            ConfigError: the clip is shorter than one window.
        """
        n_fft = self._power.n_fft
        if samples < n_fft:
            problem = f"data.n_fft={n_fft} is longer than a clip: {samples} samples at {self._sample_rate} Hz"
            least = f"{n_fft / self._sample_rate:g}"
            remedy = f"Set data.n_fft to at most {samples}, or data.clip_seconds to at least {least}."
            raise ConfigError([problem], remedy, keys=("data.n_fft", "data.clip_seconds"))
        return self._power.frames(samples)

    def __call__(self, waveform: torch.Tensor) -> torch.Tensor:
        """Computes the spectrograms of waveforms float32 [B, T]: float32 [B, 1, n_mels, frames] on their device.

        Raises:
            ConfigError: T is shorter than one window.
        """
        self.frames(waveform.shape[1])
        return self._power(waveform, self._finish).unsqueeze(1)

    def _finish(self, log_power: torch.Tensor) -> None:
        decibels = log_power.mul_(10)
        if self._normalise:
            decibels.sub_(decibels.mean((-2, -1), keepdim=True))
            deviation = decibels.square().mean((-2, -1), keepdim=True).sqrt_()  # torch.std takes ten times as long
            decibels.mul_(torch.where(deviation < _FLAT_DB, 0.0, 1 / deviation))


def _check(
    sample_rate: int,
    n_fft: int,
    hop_length: int,
    n_mels: int,
    fmin: float,
    fmax: float,
    top_db: float | None,
    normalise: str,
) -> None:
    positive = {"sample_rate": sample_rate, "n_fft": n_fft, "hop_length": hop_length, "n_mels": n_mels}
    problems = {f"data.{name}": f"={value} must be at least 1" for name, value in positive.items() if value < 1}
    if not problems and fmax > sample_rate / 2:
        problems["data.fmax"] = (
            f"={fmax:g} is above half of data.sample_rate={sample_rate}, the highest frequency of a recording; "
            f"use at most {sample_rate / 2:g} Hz, or null"
        )
    if not 0 <= fmin < fmax:
        problems["data.fmin"] = f"={fmin:g} must be at least 0 and below fmax, {fmax:g} Hz"
    if top_db is not None and not top_db > 0:
        problems["data.top_db"] = f"={top_db:g} must be above 0, or null for the whole range"
    if normalise not in ("none", "clip"):
        problems["data.normalise"] = f"={normalise!r} is not one of none, clip"
    if problems:
        lines = [key + problem for key, problem in problems.items()]
        raise ConfigError(lines, "Fix these settings.", keys=tuple(problems))


def _remedy_for_empty(sample_rate: int, n_fft: int, n_mels: int, fmin: float, fmax: float) -> str:
    def fits(window: int, bands: int) -> bool:
        return bool((mel_filters(sample_rate, window, bands, fmin, fmax).max(1) > 0).all())

    bands = next((bands for bands in range(n_mels - 1, 0, -1) if fits(n_fft, bands)), None)
    window = next((2**bits for bits in range(n_fft.bit_length(), 17) if fits(2**bits, n_mels)), None)
    ways = [] if bands is None else [f"set data.n_mels to at most {bands}"]
    if window is not None:
        ways.append(f"set data.n_fft to {window}")
    text = ", or ".join(ways) or "use a wider range of frequencies (data.fmin, data.fmax)"
    return f"{text[0].upper()}{text[1:]}."
