"""Recordings as a dataset: files that are scanned once, or synthetic bursts.

`inputs` turns a recording into a model's input; `corpora` finds the files. Knows no models.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from trainyard.audio.augment.spectrogram import SpecAugment
from trainyard.audio.augment.waveform import WaveformAugment
from trainyard.audio.clips import Waveform, is_silent
from trainyard.audio.corpora.corpus import counted
from trainyard.audio.decode import UnreadableAudio, decode
from trainyard.audio.inputs import Augmented, ClipOptions, Clips, Reading
from trainyard.audio.recordings import BurstRecording, FileRecording, file_digest
from trainyard.audio.vocal_bursts import KINDS
from trainyard.config.schema import SplitOptions
from trainyard.data.build import build_dataset, describe_bad
from trainyard.data.dataset import Dataset, View
from trainyard.data.found import FoundFile
from trainyard.errors import DataError
from trainyard.wording import listed

_TOGETHER = 64  # recordings decoded at a time, which bounds the memory used


@dataclass(frozen=True)
class Options:
    """What a dataset of recordings has besides its items."""

    reading: Reading
    split: SplitOptions
    waveform: WaveformAugment | None = None  # changes the clips
    spectrogram: SpecAugment | None = None  # changes their features
    extra: Mapping[str, Any] = field(default_factory=dict)  # further attributes of the `Dataset`


def file_dataset(
    name: str,
    where: str,
    classes: Sequence[str],
    files: Sequence[FoundFile],
    options: Options,
    *,
    on_bad_file: str = "error",
    warnings: Sequence[str] = (),
) -> Dataset:
    """The dataset of the files with audio within the limits; every file is read once to check it.

    Raises:
        DataError: a file is unreadable, too short or too long and `on_bad_file` is not "skip"; all are silent; or
            as `build_dataset`.
    """
    scan = scan_files([file.path for file in files], options.reading)
    notes = list(warnings)
    bad = [
        (f"{file.where}: {file.id}" if file.where else file.id, fault)
        for file, fault in zip(files, scan.faults, strict=True)
        if fault
    ]
    if bad and on_bad_file != "skip":
        raise DataError(
            f"{where}: {counted(len(bad))} cannot be used:{describe_bad(bad)}",
            "Fix or remove them, or set data.on_bad_file=skip; data.min_seconds and data.max_seconds "
            "limit the length of a recording.",
            value=[name for name, _ in bad],
            place=where,
        )
    if bad:
        notes.append(f"Skipped {counted(len(bad))}:{describe_bad(bad)}")
    good = [index for index, fault in enumerate(scan.faults) if not fault]
    silent = [files[index].id for index in good if scan.silent[index]]
    if silent and len(silent) == len(good):
        what = f"{where}: all {len(silent)} recordings that can be used are silent: {listed(silent, 3)}."
        raise DataError(what, "Check how they were recorded or converted.", value=silent, place=where)
    if silent:
        notes.append(f"{counted(len(silent))} {'is' if len(silent) == 1 else 'are'} silent: {listed(silent, 3)}.")
    kept = [files[index] for index in good]
    ids, labels = [file.id for file in kept], [file.label for file in kept]
    official = [file.split for file in kept] if any(file.split for file in kept) else None
    groups = [file.group for file in kept] if any(file.group for file in kept) else None
    clips = scan.clips.subset(np.array(good, dtype=np.int64))
    return _assemble(
        name, where, classes, ids, labels, clips, options, official=official, groups=groups, warnings=notes
    )


@dataclass(frozen=True)
class Scan:
    """The result of reading every file once: `faults` and `silent` have one entry per file."""

    clips: Clips
    faults: list[str]
    silent: list[bool]


def scan_files(paths: Sequence[Path], reading: Reading) -> Scan:
    """Reads every file: its digest, whether its audio is within the limits, and whether it is silent.

    A file whose digest is in the cache is not decoded again.
    """
    options = reading.options
    known = reading.cache(what="length and silence", limits_s=[options.min_seconds, options.max_seconds])
    faults = [""] * len(paths)
    facts = np.zeros((len(paths), 2), dtype=np.float32)
    with ThreadPoolExecutor() as pool:
        recordings = [FileRecording(*pair) for pair in zip(paths, pool.map(file_digest, paths), strict=True)]
        clips = Clips(recordings, reading)
        digests = [recording.digest for recording in recordings]

        def keep_facts(rows: Sequence[int]) -> None:
            known.get([digests[row] for row in rows], lambda missing: [facts[rows[at]] for at in missing])

        seen = known.has(digests)
        new = np.flatnonzero(~seen).tolist()
        for start in range(0, len(new), _TOGETHER):
            part = new[start : start + _TOGETHER]
            sound: dict[int, Waveform] = {}
            for index, found in zip(part, pool.map(lambda index: _read(paths[index], options), part), strict=True):
                if isinstance(found, str):
                    faults[index] = found
                else:
                    sound[index], facts[index] = found, _facts(found)
            clips.keep(sound)
            keep_facts(list(sound))
    old = np.flatnonzero(seen).tolist()

    def decoded(missing: Sequence[int]) -> list[npt.NDArray[np.float32]]:  # another process has emptied the cache
        return [_facts(recordings[old[at]].read(options.sample_rate)) for at in missing]

    for index, fact in zip(old, known.get([digests[index] for index in old], decoded), strict=True):
        facts[index] = fact
    return Scan(clips.with_lengths(facts[:, 0].astype(np.int64)), faults, facts[:, 1].astype(bool).tolist())


def burst_dataset(
    name: str, options: Options, *, speakers: int, takes: int, classes: Sequence[str] | None = None
) -> Dataset:
    """Synthetic vocal bursts: `takes` of each class by each of `speakers`, who are the groups.

    Raises:
        DataError: a class that cannot be synthesised, or as `build_dataset`.
    """
    names = list(KINDS if classes is None else classes)
    for kind in names:
        if kind not in KINDS:
            what = f"data.classes names {kind!r}, which is not a vocal burst."
            raise DataError(what, f"Choose among {', '.join(KINDS)}.", value=kind, place="data.classes")
    bursts = [
        BurstRecording(kind, speaker, take) for kind in names for speaker in range(speakers) for take in range(takes)
    ]
    clips = Clips(bursts, options.reading)
    samples = [len(sound) for sound in clips.wholes(np.arange(len(bursts), dtype=np.int64))]
    clips = clips.with_lengths(np.array(samples, dtype=np.int64))
    ids = [f"{burst.kind}/s{burst.speaker:02d}_{burst.take:02d}" for burst in bursts]
    labels, groups = [names.index(burst.kind) for burst in bursts], [f"s{burst.speaker:02d}" for burst in bursts]
    return _assemble(name, "vocal_bursts", names, ids, labels, clips, options, groups=groups)


def _assemble(
    name: str,
    where: str,
    classes: Sequence[str],
    ids: Sequence[str],
    labels: Sequence[int],
    clips: Clips,
    options: Options,
    **build: Any,
) -> Dataset:
    digests, shape = clips.digests(np.arange(len(ids))), clips.frontend.item_shape
    build |= {"split": options.split, "extra": options.extra}
    dataset = build_dataset(name, where, classes, ids, labels, digests, shape, clips.subset, **build)
    kept = dataset.fetch
    assert isinstance(kept, Clips)
    augments = options.waveform or options.spectrogram or clips.options.crop == "random"

    def augment(seed: int, epoch: int) -> View:
        return Augmented(kept, seed, epoch, options.waveform, options.spectrogram).view()

    return replace(
        dataset,
        finish=None if clips.frontend.kept else kept.finish,
        lengths=kept.lengths(np.arange(len(dataset), dtype=np.int64)) if clips.frontend.masked else None,
        augment=augment if augments else None,
        cache=kept.report,
    )


def _read(path: Path, options: ClipOptions) -> Waveform | str:
    """The audio, or the reason why the file is unusable."""
    limits = {"min_seconds": options.min_seconds, "max_seconds": options.max_seconds}
    try:
        return decode(path.read_bytes(), options.sample_rate, **limits)
    except UnreadableAudio as error:
        return str(error)
    except OSError as error:
        return error.strerror or str(error)


def _facts(waveform: Waveform) -> npt.NDArray[np.float32]:
    """Samples, and whether they are silent: float32 [2]; exact up to 2^24 samples."""
    return np.array([len(waveform), is_silent(waveform)], dtype=np.float32)
