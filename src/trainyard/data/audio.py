"""Recordings as a dataset: what is read, what is kept, what training changes, what a model hears.

A recording becomes a clip of one length, a clip becomes features. Decoded sound and features are kept
in `cache`, so that an epoch after the first one reads neither files nor computes. Which files there
are is the matter of `corpora`; how features are computed, of `features`. Knows no models.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from trainyard.data.augment.seeds import item_seeds
from trainyard.data.augment.spectrogram import SpecAugment
from trainyard.data.augment.waveform import WaveformAugment
from trainyard.data.build import build_dataset, listed
from trainyard.data.cache import FeatureCache
from trainyard.data.clips import fit, is_silent, signal_length
from trainyard.data.dataset import Dataset, Indices, View
from trainyard.data.decode import UnreadableAudio, decode
from trainyard.data.files import ON_BAD_FILE, FoundFile
from trainyard.data.images import describe_bad
from trainyard.data.vocal_bursts import KINDS, VERSION, synthesise
from trainyard.errors import DataError

Waveform = npt.NDArray[np.float32]
_TOGETHER = 64  # recordings decoded before the next are read: what lies in memory at once


@dataclass(frozen=True)
class Listening:
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
    """What a model hears of a clip.

    Attributes:
        name: of the features.
        parameters: everything that they depend on besides the clip.
        item_shape: of one item.
        compute: float32 [B, T] and int64 [B] samples of sound -> float32 [B, *item_shape], on any device.
        kept: whether they are worth keeping on disk; otherwise they are computed on the device each time.
        masked: whether the model must know where sound ends and padding begins.
    """

    name: str
    parameters: Mapping[str, Any]
    item_shape: tuple[int, ...]
    compute: Callable[[Tensor, Tensor], Tensor]
    kept: bool = True
    masked: bool = False


class Recording(Protocol):
    """One source of sound."""

    @property
    def digest(self) -> str:
        """Of its content."""

    def read(self, sample_rate: int) -> Waveform:
        """The whole of it, float32 [T], mono."""


@dataclass(frozen=True)
class FileRecording:
    """A file, and what its bytes were when the data was loaded."""

    path: Path
    digest: str

    def read(self, sample_rate: int) -> Waveform:
        """The whole file, float32 [T], mono.

        Raises:
            DataError: it can no longer be read, or its bytes are others than they were.
        """
        try:
            data = self.path.read_bytes()
            if _digest(data) != self.digest:
                raise UnreadableAudio("its bytes are not those that the data was loaded with")
            return decode(data, sample_rate).waveform
        except (OSError, UnreadableAudio) as error:
            raise DataError(
                f"{self.path} cannot be read any more: {error}.", "Put it back, or start the run again."
            ) from error


@dataclass(frozen=True)
class BurstRecording:
    """A vocal burst that is synthesised when it is asked for; always the same one."""

    kind: str
    speaker: int
    take: int

    @property
    def digest(self) -> str:
        """Of what it is made from, the version of the synthesis included."""
        return _digest(f"{VERSION} {self.kind} {self.speaker} {self.take}".encode())

    def read(self, sample_rate: int) -> Waveform:
        """The whole of it, float32 [T]."""
        return synthesise(self.kind, self.speaker, self.take, sample_rate=sample_rate)


class Clips:
    """A fetch of clips or of their features; both are kept in the cache.

    Args:
        recordings: one an item.
        listening: how they become clips.
        frontend: what a model hears.
        cache_dir: where the cache lies; made when something is put there.
        cache_mb: its limit; 0 for none.
    """

    def __init__(
        self,
        recordings: Sequence[Recording],
        listening: Listening,
        frontend: Frontend,
        cache_dir: Path,
        cache_mb: float,
    ) -> None:
        self.listening, self.frontend = listening, frontend
        self._recordings = tuple(recordings)
        # A random crop needs the whole; any other is cut before it is kept.
        whole = listening.crop == "random"
        heard = {"sample_rate": listening.sample_rate, "clip": None if whole else [listening.length, listening.crop]}
        self._waves = FeatureCache(cache_dir, {"what": "waveform", **heard}, limit_mb=cache_mb)
        self._features = FeatureCache(
            cache_dir,
            {
                "what": frontend.name, **frontend.parameters, "sample_rate": listening.sample_rate,
                "clip": [listening.length, "center" if whole else listening.crop, listening.pad],
            },
            limit_mb=cache_mb,
        )  # fmt: skip

    def __call__(self, indices: Indices) -> Tensor:
        """Features float32 [B, *item_shape] where those are kept, waveforms float32 [B, T] otherwise."""
        if not self.frontend.kept:
            return self.waveforms(indices)
        found = self._features.get(self._digests(indices), lambda missing: self._compute(indices[missing]))
        return _stack(found, self.frontend.item_shape)

    def finish(self, fetched: Tensor, indices: Indices) -> Tensor:
        """The features of what `__call__` fetched."""
        return fetched if self.frontend.kept else self.hear(fetched, indices)

    def hear(self, waveforms: Tensor, indices: Indices) -> Tensor:
        """The features of clips float32 [B, T], on their device."""
        return self.frontend.compute(waveforms, torch.from_numpy(self.lengths(indices)).to(waveforms.device))

    def cached(self, indices: Indices) -> bool:
        """Whether nothing needs to be read or computed for those items."""
        cache = self._features if self.frontend.kept else self._waves
        return bool(np.all(cache.has(self._digests(indices))))

    def wholes(self, indices: Indices) -> list[Waveform]:
        """The sound that is kept of each recording, of different lengths."""

        def read(missing: Sequence[int]) -> list[Waveform]:
            return [self._cut(self._recordings[index].read(self.listening.sample_rate)) for index in indices[missing]]

        return self._waves.get(self._digests(indices), read)

    def keep(self, waveforms: Mapping[int, Waveform]) -> None:
        """Puts the sound of recordings that were just read into the cache."""
        indices = list(waveforms)
        self._waves.get(
            self._digests(np.array(indices, dtype=np.int64)),
            lambda missing: [self._cut(waveforms[indices[position]]) for position in missing],
        )

    def waveforms(self, indices: Indices) -> Tensor:
        """The clips as evaluation hears them, float32 [B, T]: of a random crop, the centre."""
        crop = "center" if self.listening.crop == "random" else self.listening.crop
        clips = [fit(whole, self.listening.length, crop, self.listening.pad) for whole in self.wholes(indices)]
        return _stack(clips, (self.listening.length,))

    def lengths(self, indices: Indices) -> Indices:
        """Samples of sound in each clip before its padding, int64 [B]."""
        return self._lengths[indices]

    def with_lengths(self, lengths: Indices) -> Clips:
        """Itself, knowing the samples of each recording, int64 [N]."""
        length, pad = self.listening.length, self.listening.pad
        self._lengths = np.array([signal_length(int(n), length, pad) for n in lengths], dtype=np.int64)
        return self

    def subset(self, keep: Indices) -> Clips:
        """The kept recordings alone, numbered anew."""
        other = object.__new__(Clips)
        other.__dict__.update(self.__dict__)
        other._recordings = tuple(self._recordings[index] for index in keep)
        other._lengths = self._lengths[keep]
        return other

    def report(self) -> dict[str, Any]:
        """What the caches hold and did so far, by name."""
        caches = {"waveform": self._waves, **({self.frontend.name: self._features} if self.frontend.kept else {})}
        return {name: cache.stats() for name, cache in caches.items()}

    def _cut(self, waveform: Waveform) -> Waveform:
        """What is kept of a recording: all of it for random crops, else no more than a clip."""
        length, crop = self.listening.length, self.listening.crop
        if crop == "random" or len(waveform) <= length:
            return waveform
        return fit(waveform, length, crop, self.listening.pad)

    def _compute(self, indices: Indices) -> list[npt.NDArray[np.float32]]:
        return list(self.hear(self.waveforms(indices), indices).numpy())

    def _digests(self, indices: Indices) -> list[str]:
        return [self._recordings[index].digest for index in indices]


@dataclass(frozen=True)
class Augmented:
    """What training sees of clips in one epoch; every draw depends on seed, epoch and item alone.

    `waveform` and a random crop change the sound, and features are then computed on the device;
    otherwise they come from the cache. `spectrogram` changes features.
    """

    clips: Clips
    seed: int
    epoch: int
    waveform: WaveformAugment | None
    spectrogram: SpecAugment | None

    @property
    def changes_sound(self) -> bool:
        """Whether features have to be computed anew."""
        return self.waveform is not None or self.clips.listening.crop == "random"

    def view(self) -> View:
        """For `Batches`."""
        return View(self if self.changes_sound else self.clips, self.finish)

    def __call__(self, indices: Indices) -> Tensor:
        """Changed clips, float32 [B, T]."""
        listening = self.clips.listening
        seeds = item_seeds(self.seed, self.epoch, indices)
        clips = []
        for whole, seed in zip(self.clips.wholes(indices), seeds.tolist(), strict=True):
            clip = fit(whole, listening.length, listening.crop, listening.pad, offset_draw=seed / 2**64)
            clips.append(clip if self.waveform is None else self.waveform(clip, seed))
        return _stack(clips, (listening.length,))

    def finish(self, fetched: Tensor, indices: Indices) -> Tensor:
        """Changed features, float32 [B, *item_shape], on the device of `fetched`."""
        features = self.clips.hear(fetched, indices) if self.changes_sound else self.clips.finish(fetched, indices)
        if self.spectrogram is None:
            return features
        return self.spectrogram(features, item_seeds(self.seed + 1, self.epoch, indices))


def file_dataset(
    name: str,
    where: str,
    classes: Sequence[str],
    files: Sequence[FoundFile],
    *,
    listening: Listening,
    frontend: Frontend,
    waveform: WaveformAugment | None = None,
    spectrogram: SpecAugment | None = None,
    cache_dir: Path,
    cache_mb: float,
    on_bad_file: str = "error",
    warnings: Sequence[str] = (),
    val_fraction: float = 0.1,
    test_fraction: float = 0.1,
    seed: int = 0,
    on_leak: str = "warn",
    test_groups: Sequence[str] = (),
    by_group: bool = True,
) -> Dataset:
    """The dataset of the files that hold sound within the limits; every file is read once to see.

    Raises:
        DataError: a file is unreadable, too short or too long and `on_bad_file` is "error", or what
            `build_dataset` refuses.
    """
    if on_bad_file not in ON_BAD_FILE:
        raise DataError(f"on_bad_file is {on_bad_file!r}, which is no choice.", f"Use one of {', '.join(ON_BAD_FILE)}.")
    looked = look_at([file.path for file in files], listening, frontend, cache_dir, cache_mb)
    good = [index for index, fault in enumerate(looked.faults) if not fault]
    notes = list(warnings)
    if len(good) < len(files):
        bad = [
            (f"{file.where}: {file.id}" if file.where else file.id, fault)
            for file, fault in zip(files, looked.faults, strict=True)
            if fault
        ]
        count = "1 recording" if len(bad) == 1 else f"{len(bad)} recordings"
        if on_bad_file == "error":
            raise DataError(
                f"{where}: {count} cannot be used:{describe_bad(bad)}",
                "Mend or remove them, or set data.on_bad_file=skip; data.min_seconds and data.max_seconds "
                "say how long a recording may be.",
            )
        notes.append(f"Skipped {count}:{describe_bad(bad)}")
    silent = [files[index].id for index in good if looked.silent[index]]
    if silent:
        what = "1 recording is" if len(silent) == 1 else f"{len(silent)} recordings are"
        notes.append(f"{what} silent: {listed(silent, 3)}.")
    kept = [files[index] for index in good]
    return _assemble(
        name, where, classes, [file.id for file in kept], [file.label for file in kept],
        looked.clips.subset(np.array(good, dtype=np.int64)), waveform, spectrogram,
        official=[file.split for file in kept] if any(file.split for file in kept) else None,
        groups=[file.group for file in kept] if any(file.group for file in kept) else None,
        warnings=notes, val_fraction=val_fraction, test_fraction=test_fraction, seed=seed, on_leak=on_leak,
        test_groups=test_groups, by_group=by_group,
    )  # fmt: skip


@dataclass(frozen=True)
class Looked:
    """What reading every file once told: `faults` and `silent` have one entry a file."""

    clips: Clips
    faults: list[str]
    silent: list[bool]


def look_at(
    paths: Sequence[Path], listening: Listening, frontend: Frontend, cache_dir: Path, cache_mb: float
) -> Looked:
    """Reads every file: its digest, whether it is sound within the limits, whether it is silent.

    A file whose bytes were seen before is not decoded again.
    """
    limits = [listening.min_seconds, listening.max_seconds]
    known = FeatureCache(
        cache_dir, {"what": "length and silence", "sample_rate": listening.sample_rate, "limits_s": limits},
        limit_mb=cache_mb,
    )  # fmt: skip
    with ThreadPoolExecutor() as pool:
        digests = list(pool.map(_file_digest, paths))
        recordings = [FileRecording(path, digest) for path, digest in zip(paths, digests, strict=True)]
        clips = Clips(recordings, listening, frontend, cache_dir, cache_mb)
        seen = known.has(digests)
        faults = [""] * len(paths)
        facts = np.zeros((len(paths), 2), dtype=np.float32)
        new = np.flatnonzero(~seen).tolist()
        for start in range(0, len(new), _TOGETHER):
            part = new[start : start + _TOGETHER]
            read = dict(zip(part, pool.map(lambda index: _read(paths[index], listening), part), strict=True))
            for index, found in read.items():
                faults[index] = found if isinstance(found, str) else ""
            sound = {index: found for index, found in read.items() if not isinstance(found, str)}
            clips.keep(sound)
            for index, waveform in sound.items():
                facts[index] = _facts(waveform)
            good = list(sound)
            known.get([digests[i] for i in good], lambda missing, good=good: [facts[good[i]] for i in missing])  # type: ignore[misc]
    old = np.flatnonzero(seen).tolist()
    for index, fact in zip(
        old,
        known.get(  # read once more only if another process emptied the cache since
            [digests[index] for index in old],
            lambda missing: [_facts(recordings[old[i]].read(listening.sample_rate)) for i in missing],
        ),
        strict=True,
    ):
        facts[index] = fact
    return Looked(clips.with_lengths(facts[:, 0].astype(np.int64)), faults, facts[:, 1].astype(bool).tolist())


def burst_dataset(
    name: str,
    *,
    speakers: int,
    takes: int,
    classes: Sequence[str] | None = None,
    listening: Listening,
    frontend: Frontend,
    waveform: WaveformAugment | None = None,
    spectrogram: SpecAugment | None = None,
    cache_dir: Path,
    cache_mb: float,
    val_fraction: float = 0.1,
    test_fraction: float = 0.1,
    seed: int = 0,
    on_leak: str = "warn",
    test_groups: Sequence[str] = (),
    by_group: bool = True,
) -> Dataset:
    """Synthetic vocal bursts: `takes` of each class by each of `speakers`, who are the groups.

    Raises:
        DataError: a class that cannot be synthesised, or what `build_dataset` refuses.
    """
    names = list(classes) if classes is not None else list(KINDS)
    for kind in names:
        if kind not in KINDS:
            raise DataError(
                f"data.classes names {kind!r}, which is no vocal burst.", f"Choose among {', '.join(KINDS)}."
            )
    bursts = [
        BurstRecording(kind, speaker, take) for kind in names for speaker in range(speakers) for take in range(takes)
    ]
    clips = Clips(bursts, listening, frontend, cache_dir, cache_mb)
    samples = [len(sound) for sound in clips.wholes(np.arange(len(bursts), dtype=np.int64))]
    return _assemble(
        name, "vocal_bursts", names, [f"{b.kind}/s{b.speaker:02d}_{b.take:02d}" for b in bursts],
        [names.index(burst.kind) for burst in bursts], clips.with_lengths(np.array(samples, dtype=np.int64)),
        waveform, spectrogram, groups=[f"s{burst.speaker:02d}" for burst in bursts],
        val_fraction=val_fraction, test_fraction=test_fraction, seed=seed, on_leak=on_leak,
        test_groups=test_groups, by_group=by_group,
    )  # fmt: skip


def _assemble(
    name: str,
    where: str,
    classes: Sequence[str],
    ids: Sequence[str],
    labels: Sequence[int],
    clips: Clips,
    waveform: WaveformAugment | None,
    spectrogram: SpecAugment | None,
    **build: Any,
) -> Dataset:
    digests = clips._digests(np.arange(len(ids)))
    dataset = build_dataset(
        name, where, classes, ids, labels, digests, clips.frontend.item_shape, clips.subset, **build
    )  # fmt: skip
    kept = dataset.fetch
    assert isinstance(kept, Clips)
    augments = waveform is not None or spectrogram is not None or clips.listening.crop == "random"

    def augment(seed: int, epoch: int) -> View:
        return Augmented(kept, seed, epoch, waveform, spectrogram).view()

    return replace(
        dataset,
        finish=None if clips.frontend.kept else kept.finish,
        lengths=kept.lengths(np.arange(len(dataset), dtype=np.int64)) if clips.frontend.masked else None,
        augment=augment if augments else None,
        cache=kept.report,
    )


def _read(path: Path, listening: Listening) -> Waveform | str:
    """The sound, or what is wrong with the file."""
    try:
        return decode(
            path.read_bytes(), listening.sample_rate, min_seconds=listening.min_seconds,
            max_seconds=listening.max_seconds,
        ).waveform  # fmt: skip
    except UnreadableAudio as error:
        return str(error)
    except OSError as error:
        return error.strerror or str(error)


def _facts(waveform: Waveform) -> npt.NDArray[np.float32]:
    """Samples, and whether they are silent: float32 [2]; exact up to 2^24 samples."""
    return np.array([len(waveform), is_silent(waveform)], dtype=np.float32)


def _file_digest(path: Path) -> str:
    try:
        return _digest(path.read_bytes())
    except OSError:
        return f"unreadable {path}"  # told with the reason when it is read


def _digest(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def _stack(arrays: Sequence[npt.NDArray[np.float32]], shape: tuple[int, ...]) -> Tensor:
    if not arrays:
        return torch.empty((0, *shape))
    return torch.from_numpy(np.stack(arrays))
