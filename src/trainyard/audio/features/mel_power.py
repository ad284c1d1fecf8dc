"""The power of audio in mel bands, in batches, on any device.

librosa computes the FFT in double precision, which takes twice as long as single precision. Single
precision suffices unless a value is far below the loudest part of its frame, so on a CPU only the frames
with such values are recomputed in double precision. Accelerators compute everything in double precision,
except MPS, which does not support it. The filters are computed here because importing librosa for them
takes a second. Knows no files and no caches.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch

_AMIN = 1e-10  # powers below this, -100 dB, are treated as silence
# The relative error of a power in single precision is about 1e-8 * sqrt(frame's power / power), at worst a few
# times that. At this ratio, 68 dB below the frame, the largest error measured over 100,000 tones and noises is
# 8.3e-4 dB.
_DOUBTFUL = 1.6e-7
_NOISE = 1e-5  # share of such a power: well above the rounding noise of single precision
_BAND_GROUP = 8  # filters per matrix product; each group skips the frequencies it does not cover
_THREAD_VALUES = 5 * 2**17  # samples, after framing, per work item of a thread; smaller items contend for the GIL
_CHUNK_VALUES = 2**25  # FFT values held at once on an accelerator
_Groups = list[tuple[int, int, torch.Tensor]]  # start and end in a frame's values; weights [filters, values]
_Finish = Callable[[torch.Tensor], None]


def mel_filters(
    sample_rate: float, n_fft: int, n_mels: int, fmin: float = 0.0, fmax: float | None = None
) -> npt.NDArray[np.float32]:
    """Triangular filters on Slaney's mel scale with unit area, float32 [n_mels, 1 + n_fft // 2].

    The scale is linear below 1 kHz (3 mel per 200 Hz) and logarithmic above (27 mel per factor of 6.4;
    Slaney, Auditory Toolbox, 1998). The filters cover `fmin` to `fmax` Hz (None: half the sample rate). Equal to
    `librosa.filters.mel(htk=False, norm="slaney")`.
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
    """The logarithm of the power in each mel band of waveforms, accurate even far below the loudest band.

    On a CPU a clip's values are bitwise independent of the other clips in its batch and of the number of
    threads, so it does not matter where a cached value was computed. A call on a CPU sets PyTorch's thread
    count to 1 for the whole process while it runs: call from one thread at a time.

    Args:
        filters: float32 [n_mels, 1 + n_fft // 2].
        n_fft: samples of a window (a periodic Hann window).
        hop_length: samples between windows.
        pad_mode: of the n_fft // 2 samples added on either side: "constant" (zeros) or "reflect".
        range_db: values further than this below the maximum of their clip are clamped; None: no clamping.
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
        """The number of frames of a clip of `samples` samples."""
        return 1 + (samples - self.n_fft % 2) // self.hop_length

    @torch.no_grad()
    def __call__(self, waveform: torch.Tensor, finish: _Finish | None = None) -> torch.Tensor:
        """log10 of the power, at least 1e-10, of float32 [B, T]: float32 [B, n_mels, frames] on its device.

        `finish` is applied in place to the whole result or, on a CPU, to the [n_mels, frames] of each clip.
        """
        clips, samples = waveform.shape
        count = self.frames(samples)
        out = waveform.new_empty(clips, len(self._filters), count, dtype=torch.float32)
        with torch.autocast(waveform.device.type, enabled=False):  # autocast would multiply in bfloat16
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
        """Fills `out`; threads take groups of clips from a shared iterator.

        PyTorch would split every single operation over its threads and wait for the slowest each time, which
        gains less and takes many times as long when another process keeps a core busy. Its sums would also
        depend on the number of threads.
        """
        threads, count = torch.get_num_threads(), out.shape[2]
        together = min(_THREAD_VALUES // (count * self.n_fft), math.ceil(len(out) / threads)) or 1
        if count == 1:  # the last bits of a product with a single column depend on its memory alignment
            together = 1
        parts = list(zip(waveform.split(together), out.split(together), strict=True)) if len(out) else []
        left = iter(parts)  # shared: each part goes to one thread
        try:
            torch.set_num_threads(1)  # per operation; MKL needs it set in every thread
            with ThreadPoolExecutor(threads, "log-mel", torch.set_num_threads, (1,)) as pool:
                helpers = [pool.submit(self._of_parts, left, finish) for _ in range(min(threads, len(parts)) - 1)]
                self._of_parts(left, finish)
            for helper in helpers:
                helper.result()
        finally:
            torch.set_num_threads(threads)

    @torch.inference_mode()
    def _of_parts(self, left: Iterator[tuple[torch.Tensor, torch.Tensor]], finish: _Finish | None) -> None:
        """Takes pairs of waveforms [B, T] and output [B, n_mels, frames] until none is left, and fills the output."""
        for waveform, out in left:
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
        """Recomputes in double precision those frames `at` of a clip whose error matters; whether there were any.

        `power` [n_mels, frames], of which values below `limit` [frames] may be inaccurate and values below `floor` will
        be clamped to it, is corrected in place; `frames` is [frames, n_fft].
        """
        values, limit = power.index_select(1, at), limit[at]
        # A value certainly below the floor will be clamped, so its error does not matter.
        at = at[((values < limit) & (values > floor / 2 - _NOISE * limit)).any(0)]
        if len(at):
            power.index_copy_(1, at, self._transform(frames.index_select(0, at), torch.float64)[0].float())
        return len(at) > 0

    def _floor(self, power: torch.Tensor) -> torch.Tensor:
        """The lower bound of each clip's power [..., n_mels, frames]: [..., 1, 1]."""
        floor = (power.amax((-2, -1), keepdim=True) * self._range).clamp_(min=_AMIN)
        return floor.nan_to_num_(_AMIN, math.inf)  # a NaN sample affects its own frames alone

    def _of_batch(self, frames: torch.Tensor) -> torch.Tensor:
        """The mel power of frames float32 [B, frames, n_fft]: float32 [B, n_mels, frames]."""
        power, _ = self._transform(frames, torch.float32 if frames.device.type == "mps" else torch.float64)
        return torch.maximum(power, self._floor(power)).float()

    def _framed(self, waveform: torch.Tensor) -> torch.Tensor:
        """The overlapping frames [B, frames, n_fft] of waveforms [B, T]: a view of one padded copy."""
        padded = torch.nn.functional.pad(waveform.float(), (self.n_fft // 2, self.n_fft // 2), mode=self._pad_mode)
        return padded.unfold(1, self.n_fft, self.hop_length)

    def _transform(self, frames: torch.Tensor, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
        """Mel power [..., n_mels, frames] and the sum over all frequencies [..., frames] of [..., frames, n_fft]."""
        window, groups = self._tables(frames.device, dtype)
        spectrum = torch.view_as_real(torch.fft.rfft(frames * window))
        squares = spectrum.flatten(-2).square_()  # real and imaginary parts alternate; the filters repeat each weight
        rows = sum(len(weights) for _, _, weights in groups)
        power = squares.new_empty(*squares.shape[:-2], rows, squares.shape[-2])
        for begin, (low, high, weights) in zip(range(0, rows, _BAND_GROUP), groups, strict=True):
            torch.matmul(weights, squares[..., low:high].mT, out=power[..., begin : begin + _BAND_GROUP, :])
        return power[..., : len(self._filters), :], squares.sum(-1)

    def _tables(self, device: torch.device, dtype: torch.dtype) -> tuple[torch.Tensor, _Groups]:
        """The window and the groups of filters, created once per device and precision."""
        if (device, dtype) in self._made:
            return self._made[device, dtype]
        window = torch.hann_window(self.n_fft, dtype=torch.float64).to(dtype).to(device)
        groups: _Groups = []
        for begin in range(0, len(self._filters), _BAND_GROUP):
            part = self._filters[begin : begin + _BAND_GROUP]
            if len(part) == 1:  # the last bits of a product with a single row depend on its memory alignment
                part = np.concatenate([part, np.zeros_like(part)])
            covered = np.flatnonzero(part.any(0))
            low, high = (int(covered[0]), int(covered[-1]) + 1) if covered.size else (0, 1)
            weights = torch.from_numpy(part[:, low:high].repeat(2, axis=1))
            groups.append((2 * low, 2 * high, weights.to(dtype).to(device)))
        self._made[device, dtype] = window, groups
        return window, groups
