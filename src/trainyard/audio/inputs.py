"""From recordings to a model's input: clips, their features, and their augmentation.

Decoded audio and features are cached, so that epochs after the first neither read files nor compute features.
`features` computes features; `dataset` lists the recordings.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from trainyard.audio.augment.seeds import Seeds, item_seeds
from trainyard.audio.augment.spectrogram import SpecAugment
from trainyard.audio.augment.waveform import WaveformAugment
from trainyard.audio.clips import Waveform, fit, signal_length
from trainyard.audio.features import VERSION
from trainyard.audio.recordings import Recording
from trainyard.data.cache import FeatureCache
from trainyard.data.dataset import Indices, View


@dataclass(frozen=True)
class ClipOptions:
    """How a recording becomes a clip; see the settings of the same names."""

    sample_rate: int = 16000
    clip_seconds: float = 7.0
    crop: str = "center"
    pad: str = "end"
    min_seconds: float = 0.01
    max_seconds: float = 300.0

    @property
    def length(self) -> int:
        """Samples of a clip."""
        return max(round(self.clip_seconds * self.sample_rate), 1)


@dataclass(frozen=True)
class Frontend:
    """The features of a clip, a model's input."""

    name: str
    parameters: Mapping[str, Any]  # everything that they depend on in addition to the clip
    item_shape: tuple[int, ...]
    # float32 [B, T] and int64 [B] samples of audio -> float32 [B, *item_shape], on any device
    compute: Callable[[Tensor, Tensor], Tensor]
    kept: bool = True  # cached on disk; otherwise they are computed on the device each time
    masked: bool = False  # the model must know where the audio ends and padding begins


@dataclass(frozen=True)
class Reading:
    """How recordings become a model's input, and the cache of what was read: its directory, and its limit."""

    options: ClipOptions
    frontend: Frontend
    cache_dir: Path
    cache_mb: float  # 0 for no cache

    def cache(self, **parameters: Any) -> FeatureCache:
        """The cache of what depends on these parameters; created on first use."""
        versioned = {**parameters, "sample_rate": self.options.sample_rate, "version": VERSION}
        return FeatureCache(self.cache_dir, versioned, limit_mb=self.cache_mb)


class Clips:
    """A fetch of the clips of recordings, or of their features; both are cached."""

    def __init__(self, recordings: Sequence[Recording], reading: Reading) -> None:
        self.options, self.frontend = reading.options, reading.frontend
        self._recordings = tuple(recordings)
        length, crop, pad = self.options.length, self.options.crop, self.options.pad
        # A random crop needs the whole recording; for the others the clip is cut before it is cached.
        whole = crop == "random"
        self._waves = reading.cache(what="waveform", clip=None if whole else [length, crop])
        clip = [length, "center" if whole else crop, pad]
        self._features = reading.cache(what=self.frontend.name, **self.frontend.parameters, clip=clip)

    def __call__(self, indices: Indices) -> Tensor:
        """Features float32 [B, *item_shape] if those are cached, else waveforms float32 [B, T]."""
        if not self.frontend.kept:
            return self.waveforms(indices)

        def compute(missing: Sequence[int]) -> list[npt.NDArray[np.float32]]:
            return list(self.features(self.waveforms(indices[missing]), indices[missing]).numpy())

        return _stack(self._features.get(self.digests(indices), compute), self.frontend.item_shape)

    def finish(self, fetched: Tensor, indices: Indices) -> Tensor:
        """The features of the result of `__call__`."""
        return fetched if self.frontend.kept else self.features(fetched, indices)

    def features(self, waveforms: Tensor, indices: Indices) -> Tensor:
        """The features of clips float32 [B, T], on their device."""
        return self.frontend.compute(waveforms, torch.from_numpy(self.lengths(indices)).to(waveforms.device))

    def cached(self, indices: Indices) -> bool:
        """Whether nothing needs to be read or computed for those items."""
        cache = self._features if self.frontend.kept else self._waves
        return bool(np.all(cache.has(self.digests(indices))))

    def wholes(self, indices: Indices) -> list[Waveform]:
        """The cached audio of each recording, of different lengths."""

        def read(missing: Sequence[int]) -> list[Waveform]:
            return [self._cut(self._recordings[index].read(self.options.sample_rate)) for index in indices[missing]]

        return self._waves.get(self.digests(indices), read)

    def keep(self, waveforms: Mapping[int, Waveform]) -> None:
        """Caches the audio of recordings that were just decoded."""
        indices = list(waveforms)

        def cut(missing: Sequence[int]) -> list[Waveform]:
            return [self._cut(waveforms[indices[position]]) for position in missing]

        self._waves.get(self.digests(np.array(indices, dtype=np.int64)), cut)

    def waveforms(self, indices: Indices) -> Tensor:
        """The clips for an evaluation, float32 [B, T]: for random crops, the centre."""
        crop = "center" if self.options.crop == "random" else self.options.crop
        clips = [fit(whole, self.options.length, crop, self.options.pad) for whole in self.wholes(indices)]
        return _stack(clips, (self.options.length,))

    def lengths(self, indices: Indices) -> Indices:
        """Samples of audio in each clip before its padding, int64 [B]."""
        return self._lengths[indices]

    def with_lengths(self, lengths: Indices) -> Clips:
        """Itself, with the number of samples of each recording, int64 [N], set."""
        length, pad = self.options.length, self.options.pad
        self._lengths = np.array([signal_length(int(n), length, pad) for n in lengths], dtype=np.int64)
        return self

    def subset(self, keep: Indices) -> Clips:
        """The recordings at the positions `keep`, renumbered."""
        other = object.__new__(Clips)
        other.__dict__.update(self.__dict__)
        other._recordings = tuple(self._recordings[index] for index in keep)
        other._lengths = self._lengths[keep]
        return other

    def report(self) -> dict[str, Any]:
        """Statistics of the caches, by name."""
        features = {self.frontend.name: self._features.stats()} if self.frontend.kept else {}
        return {"waveform": self._waves.stats(), **features}

    def _cut(self, waveform: Waveform) -> Waveform:
        """The part of a recording to cache: all of it for random crops, else at most one clip."""
        length, crop = self.options.length, self.options.crop
        return waveform if crop == "random" or len(waveform) <= length else fit(waveform, length, crop)

    def digests(self, indices: Indices) -> list[str]:
        """Of the recordings' content."""
        return [self._recordings[index].digest for index in indices]


@dataclass(frozen=True)
class Augmented:
    """The clips of one epoch of training; every draw depends on seed, epoch and item alone.

    `waveform` and a random crop change the waveform, and features are then computed on the device; otherwise they
    come from the cache. `spectrogram` changes features.
    """

    clips: Clips
    seed: int
    epoch: int
    waveform: WaveformAugment | None
    spectrogram: SpecAugment | None

    def view(self) -> View:
        """For `Batches`."""
        return View(self if self._changes_sound() else self.clips, self.finish)

    def __call__(self, indices: Indices) -> Tensor:
        """Augmented clips, float32 [B, T]."""
        options = self.clips.options
        clips = []
        for whole, seed in zip(self.clips.wholes(indices), self._seeds(indices).tolist(), strict=True):
            clip = fit(whole, options.length, options.crop, options.pad, offset_draw=seed / 2**64)
            clips.append(clip if self.waveform is None else self.waveform(clip, seed))
        return _stack(clips, (options.length,))

    def finish(self, fetched: Tensor, indices: Indices) -> Tensor:
        """Augmented features, float32 [B, *item_shape], on the device of `fetched`."""
        to_features = self.clips.features if self._changes_sound() else self.clips.finish
        features = to_features(fetched, indices)
        return features if self.spectrogram is None else self.spectrogram(features, self._seeds(indices, 1))

    def _changes_sound(self) -> bool:
        return self.waveform is not None or self.clips.options.crop == "random"

    def _seeds(self, indices: Indices, stream: int = 0) -> Seeds:
        return item_seeds(self.seed + stream, self.epoch, indices)


def _stack(arrays: Sequence[npt.NDArray[np.float32]], shape: tuple[int, ...]) -> Tensor:
    return torch.from_numpy(np.stack(arrays)) if arrays else torch.empty((0, *shape))
