"""Log-mel spectrograms of batches, equal to librosa's within 1e-3 dB, on any device.

librosa transforms in double precision, which takes twice the time of single. Single precision is
enough unless a value lies far below the loudest part of its frame, so on a CPU only the frames with
such values are computed again in double; an accelerator does it all in double (but MPS, which has
none, stays single). The filters are made here, because importing librosa for them takes a second.
Knows no files and no caches.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch

from trainyard.errors import ConfigError

_AMIN = 1e-10  # the smallest power that is told from silence: -100 dB
# In single precision a power is wrong by about 1e-8 * sqrt(frame's power / power) of itself, at worst a few times
# that. At this ratio, 71 dB below the whole frame, the largest error measured was 7.6e-4 dB.
_DOUBTFUL = 8e-8
_MADE_UP = 1e-5  # of such a power: far more than single precision makes of nothing
_BAND_GROUP = 8  # filters multiplied at once: each group skips the frequencies it does not cover
_THREAD_VALUES = 5 * 2**17  # values a thread transforms at once: with fewer, Python's lock goes to and fro too often
_CHUNK_VALUES = 2**25  # the same of an accelerator
_Groups = list[tuple[int, int, torch.Tensor]]  # values of a frame from, to; weights [filters, values]
_Finish = Callable[[torch.Tensor], None]
_FLAT_DB = 1e-3  # a clip that deviates less than this from its mean has no contrast: it is silent


def mel_filters(
    sample_rate: float, n_fft: int, n_mels: int, fmin: float = 0.0, fmax: float | None = None
) -> npt.NDArray[np.float32]:
    """Triangular filters on Slaney's mel scale with unit area, float32 [n_mels, 1 + n_fft // 2].

    The scale is linear below 1 kHz, 3 mel to 200 Hz, and logarithmic above, 27 mel to a factor of 6.4
    (Slaney, Auditory Toolbox, 1998). The same as `librosa.filters.mel(htk=False, norm="slaney")`.

    Args:
        sample_rate: Hz.
        n_fft: samples of a window.
        n_mels: how many filters.
        fmin: lower edge of the first, Hz.
        fmax: upper edge of the last, Hz; None: half the sample rate.
    """
    edges_mel = np.linspace(_mel(fmin), _mel(sample_rate / 2 if fmax is None else fmax), n_mels + 2)
    edges = np.where(edges_mel < 15, edges_mel * 200 / 3, 1000 * np.exp((edges_mel - 15) * (math.log(6.4) / 27)))
    distances = edges[:, np.newaxis] - np.fft.rfftfreq(n_fft, 1 / sample_rate)
    widths = np.diff(edges)[:, np.newaxis]
    rising, falling = -distances[:-2] / widths[:-1], distances[2:] / widths[1:]
    filters = np.maximum(0, np.minimum(rising, falling)).astype(np.float32)
    filters *= 2.0 / (edges[2:] - edges[:-2])[:, np.newaxis]
    return filters


def _mel(hertz: float) -> float:
    return hertz * 3 / 200 if hertz < 1000 else 15 + math.log(hertz / 1000) / (math.log(6.4) / 27)


class MelPower:
    """The logarithm of the power in each mel band of waveforms, exact far below the loudest.

    On a CPU a clip's values do not depend, to the last bit, on the other clips of its batch nor on the
    number of threads, so that it makes no difference where a cached one was computed.

    Args:
        filters: float32 [n_mels, 1 + n_fft // 2].
        n_fft: samples of a window (a periodic Hann window).
        hop_length: samples between windows.
        pad_mode: of the n_fft // 2 samples added on either side: "constant" (zeros) or "reflect".
        range_db: values further below the largest of their clip are raised to that; None: all stay.
    """

    def __init__(
        self,
        filters: npt.NDArray[np.float32],
        n_fft: int,
        hop_length: int,
        *,
        pad_mode: Literal["constant", "reflect"],
        range_db: float | None,
    ) -> None:
        self.n_fft = n_fft
        self.hop_length = hop_length
        self._filters = filters
        self._pad_mode = pad_mode
        self._doubtful = _DOUBTFUL * float(filters.sum(1).max())  # in units of power
        self._made: dict[tuple[torch.device, torch.dtype], tuple[torch.Tensor, _Groups]] = {}
        self._range = 0.0 if range_db is None else 10 ** (-range_db / 10)

    def frames(self, samples: int) -> int:
        """How many frames come of so many samples."""
        return 1 + (samples - self.n_fft % 2) // self.hop_length

    @torch.no_grad()
    def __call__(self, waveform: torch.Tensor, finish: _Finish | None = None) -> torch.Tensor:
        """log10 of the power, at least 1e-10, of float32 [B, T]: float32 [B, n_mels, frames] on its device.

        Args:
            waveform: the clips.
            finish: what else is done in place to the result or, on a CPU, to each clip's [n_mels, frames] of it.
        """
        clips, samples = waveform.shape
        count = self.frames(samples)
        out = waveform.new_empty(clips, len(self._filters), count, dtype=torch.float32)
        with torch.autocast(waveform.device.type, enabled=False):  # which would multiply in bfloat16
            if waveform.device.type == "cpu":
                self._on_threads(waveform, out, finish)
                return out
            step = max(1, _CHUNK_VALUES // (count * (self.n_fft + 2)))
            for begin in range(0, clips, step):
                torch.log10(self._of_batch(self._framed(waveform[begin : begin + step])), out=out[begin : begin + step])
            if finish is not None and clips:
                finish(out)
        return out

    def _on_threads(self, waveform: torch.Tensor, out: torch.Tensor, finish: _Finish | None) -> None:
        """Fills `out`, each thread with a few clips after a few others.

        PyTorch would share every single operation among its threads, and each would wait for the slowest: that
        gains less, and takes many times as long when a core is busy with something else. Its sums would also
        depend on how many threads share them.
        """
        threads = torch.get_num_threads()
        together = min(_THREAD_VALUES // (out.shape[2] * self.n_fft), math.ceil(len(out) / threads)) or 1
        parts = list(zip(waveform.split(together), out.split(together), strict=True)) if len(out) else []
        clips = iter(parts)
        try:
            torch.set_num_threads(1)  # of an operation; MKL wants to be told in each thread
            with ThreadPoolExecutor(threads, "log-mel", torch.set_num_threads, (1,)) as pool:
                helpers = [pool.submit(self._of_clips, clips, finish) for _ in range(min(threads, len(parts)) - 1)]
                self._of_clips(clips, finish)
            for helper in helpers:
                helper.result()
        finally:
            torch.set_num_threads(threads)

    @torch.inference_mode()
    def _of_clips(self, clips: Iterator[tuple[torch.Tensor, torch.Tensor]], finish: _Finish | None) -> None:
        """Fills the second, float32 [B, n_mels, frames], of each pair from the first, [B, T]."""
        for waveform, out in clips:
            frames = self._framed(waveform)
            power, whole = self._transform(frames, torch.float32)
            limit, floor = whole.mul_(self._doubtful), self._floor(power)
            doubtful = (power.amin(1) < limit).logical_and_(limit > floor[:, 0])
            for clip in doubtful.any(1).nonzero()[:, 0].tolist():
                at = doubtful[clip].nonzero()[:, 0]
                if self._refine(frames[clip], power[clip], limit[clip], float(floor[clip]), at):
                    floor[clip] = self._floor(power[clip])
            torch.maximum(power, floor, out=power)
            np.log(power.numpy(), out=out.numpy())  # a third of the time of torch.log10
            out.mul_(1 / math.log(10))
            if finish is not None:
                for decibels in out:
                    finish(decibels)

    def _refine(
        self, frames: torch.Tensor, power: torch.Tensor, limit: torch.Tensor, floor: float, at: torch.Tensor
    ) -> bool:
        """Computes those of one clip's frames `at` again whose doubt matters; whether there were any.

        Args:
            frames: [frames, n_fft].
            power: [n_mels, frames], put right in place.
            limit: [frames]; values below it are doubtful.
            floor: what lower values will be raised to.
            at: numbers of the frames with doubtful values.
        """
        values, limit = power.index_select(1, at), limit[at]
        # what is surely below the floor will be raised to it, however wrong it is
        at = at[((values < limit) & (values > floor / 2 - _MADE_UP * limit)).any(0)]
        if len(at):
            power.index_copy_(1, at, self._transform(frames.index_select(0, at), torch.float64)[0].float())
        return len(at) > 0

    def _floor(self, power: torch.Tensor) -> torch.Tensor:
        """What the values of power [..., n_mels, frames] are raised to: [..., 1, 1]."""
        return (power.amax((-2, -1), keepdim=True) * self._range).clamp_(min=_AMIN)

    def _of_batch(self, frames: torch.Tensor) -> torch.Tensor:
        """Power of float32 [B, frames, n_fft]: float32 [B, n_mels, frames]."""
        power, _ = self._transform(frames, torch.float32 if frames.device.type == "mps" else torch.float64)
        return torch.maximum(power, self._floor(power)).float()

    def _framed(self, waveform: torch.Tensor) -> torch.Tensor:
        """The windows [B, frames, n_fft] of [B, T], in one copy of it."""
        padded = torch.nn.functional.pad(waveform.float(), (self.n_fft // 2, self.n_fft // 2), mode=self._pad_mode)
        return padded.unfold(1, self.n_fft, self.hop_length)

    def _transform(self, frames: torch.Tensor, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
        """Mel power [..., n_mels, frames] and the sum over all frequencies [..., frames] of [..., frames, n_fft]."""
        window, groups = self._tables(frames.device, dtype)
        spectrum = torch.view_as_real(torch.fft.rfft(frames * window))
        squares = spectrum.flatten(-2).square_()  # real and imaginary parts in turn: the filters have each weight twice
        power = squares.new_empty(*squares.shape[:-2], len(self._filters), squares.shape[-2])
        for begin, (low, high, weights) in zip(range(0, len(self._filters), _BAND_GROUP), groups, strict=True):
            torch.matmul(weights, squares[..., low:high].mT, out=power[..., begin : begin + _BAND_GROUP, :])
        return power, squares.sum(-1)

    def _tables(self, device: torch.device, dtype: torch.dtype) -> tuple[torch.Tensor, _Groups]:
        """The window and the groups of filters, made once for a device and precision."""
        if (device, dtype) not in self._made:
            self._made[device, dtype] = self._make_tables(device, dtype)
        return self._made[device, dtype]

    def _make_tables(self, device: torch.device, dtype: torch.dtype) -> tuple[torch.Tensor, _Groups]:
        window = torch.hann_window(self.n_fft, dtype=torch.float64).to(dtype).to(device)
        groups: _Groups = []
        for begin in range(0, len(self._filters), _BAND_GROUP):
            part = self._filters[begin : begin + _BAND_GROUP]
            covered = np.flatnonzero(part.any(0))
            low, high = (int(covered[0]), int(covered[-1]) + 1) if covered.size else (0, 1)
            weights = torch.from_numpy(part[:, low:high].repeat(2, axis=1))
            groups.append((2 * low, 2 * high, weights.to(dtype).to(device)))
        return window, groups


class LogMel:
    """Log-mel spectrograms in dB.

    The same as `librosa.power_to_db(librosa.feature.melspectrogram(y, ..., pad_mode="constant"), top_db=top_db)`
    with librosa's other defaults, within 1e-3 dB.

    Args:
        sample_rate: of the waveforms, Hz.
        n_fft: samples of a window.
        hop_length: samples between windows.
        n_mels: mel bands.
        fmin: lower edge of the first band, Hz.
        fmax: upper edge of the last band, Hz; None: half the sample rate.
        top_db: values further below the largest of their own clip are raised to that; None: all stay.
        normalise: "clip" brings each spectrogram as a whole to mean 0 and deviation 1, and one without
            contrast, such as silence, to zeros; "none" leaves dB.

    Attributes:
        parameters: all of the above, for a cache's key.

    Raises:
        ConfigError: arguments that do not fit together; all faults at once.
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
            raise ConfigError(
                [
                    f"data.n_mels={n_mels} is too many for data.n_fft={n_fft} at {sample_rate} Hz: {empty} bands are "
                    f"so narrow that no frequency of the transform ({sample_rate / n_fft:.1f} Hz apart) lies in them"
                ],
                _remedy_for_empty(sample_rate, n_fft, n_mels, fmin, highest),
            )
        self.parameters: dict[str, Any] = {
            "feature": "log_mel",
            "sample_rate": sample_rate,
            "n_fft": n_fft,
            "hop_length": hop_length,
            "n_mels": n_mels,
            "fmin": float(fmin),
            "fmax": highest,
            "top_db": top_db,
            "normalise": normalise,
        }
        self.n_mels = n_mels
        self._normalise = normalise == "clip"
        self._sample_rate = sample_rate
        self._power = MelPower(filters, n_fft, hop_length, pad_mode="constant", range_db=top_db)

    def frames(self, samples: int) -> int:
        """How many frames a clip of so many samples has.

        Raises:
            ConfigError: the clip is shorter than one window.
        """
        n_fft = self._power.n_fft
        if samples < n_fft:
            raise ConfigError(
                [f"data.n_fft={n_fft} is longer than a clip: {samples} samples at {self._sample_rate} Hz"],
                f"Set data.n_fft to at most {samples}, or data.clip_seconds to at least {n_fft / self._sample_rate:g}.",
            )
        return self._power.frames(samples)

    def __call__(self, waveform: torch.Tensor) -> torch.Tensor:
        """The spectrograms of waveforms float32 [B, T]: float32 [B, 1, n_mels, frames] on their device.

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
    problems = [f"data.{name}={value}: it must be at least 1" for name, value in positive.items() if value < 1]
    if not problems and fmax > sample_rate / 2:
        problems.append(
            f"data.fmax={fmax:g} lies above half of data.sample_rate={sample_rate}, and a recording holds nothing "
            f"above {sample_rate / 2:g} Hz; use at most that, or null"
        )
    if not 0 <= fmin < fmax:
        problems.append(f"data.fmin={fmin:g}: it must be at least 0 and below fmax, {fmax:g} Hz")
    if top_db is not None and not top_db > 0:
        problems.append(f"data.top_db={top_db:g}: it must be above 0, or null for the whole range")
    if normalise not in ("none", "clip"):
        problems.append(f"data.normalise={normalise!r}: it is one of none, clip")
    if problems:
        raise ConfigError(problems)


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
