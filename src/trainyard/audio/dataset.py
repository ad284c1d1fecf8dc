"""Recordings as a dataset: files that are scanned once, or synthetic bursts.

`inputs` turns a recording into a model's input; `corpora` finds the files. Knows no models.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from trainyard.audio.augment.spectrogram import SpecAugment
from trainyard.audio.augment.waveform import WaveformAugment
from trainyard.audio.clips import is_silent
from trainyard.audio.decode import UnreadableAudio, decode
from trainyard.audio.features import VERSION
from trainyard.audio.inputs import Augmented, ClipOptions, Clips, Frontend
from trainyard.audio.recordings import BurstRecording, FileRecording, Waveform, file_digest
from trainyard.audio.vocal_bursts import KINDS
from trainyard.config.schema import SplitOptions
from trainyard.data.build import build_dataset, describe_bad
from trainyard.data.cache import FeatureCache
from trainyard.data.dataset import Dataset, View
from trainyard.data.found import ON_BAD_FILE, FoundFile
from trainyard.errors import DataError
from trainyard.wording import listed

Facts = npt.NDArray[np.float32]  # samples, and whether they are silent
_TOGETHER = 64  # recordings decoded at a time, which bounds the memory used


def file_dataset(
    name: str,
    where: str,
    classes: Sequence[str],
    files: Sequence[FoundFile],
    *,
    options: ClipOptions,
    frontend: Frontend,
    waveform: WaveformAugment | None = None,
    spectrogram: SpecAugment | None = None,
    cache_dir: Path,
    cache_mb: float,
    on_bad_file: str = "error",
    warnings: Sequence[str] = (),
    split: SplitOptions,
    **extra: Any,
) -> Dataset:
    """The dataset of the files with audio within the limits; every file is read once to check it.

    `extra` are further attributes of the `Dataset`.

    Raises:
        DataError: a file is unreadable, too short or too long and `on_bad_file` is "error"; all are silent; or
            as `build_dataset`.
    """
    if on_bad_file not in ON_BAD_FILE:
        raise DataError(
            f"data.on_bad_file is {on_bad_file!r}, which is not one of {', '.join(ON_BAD_FILE)}.",
            f"Use one of {', '.join(ON_BAD_FILE)}.",
            value=on_bad_file,
            place="data.on_bad_file",
        )
    scan = scan_files([file.path for file in files], options, frontend, cache_dir, cache_mb)
    good = [index for index, fault in enumerate(scan.faults) if not fault]
    notes = list(warnings)
    if len(good) < len(files):
        bad = [
            (f"{file.where}: {file.id}" if file.where else file.id, fault)
            for file, fault in zip(files, scan.faults, strict=True)
            if fault
        ]
        count = "1 recording" if len(bad) == 1 else f"{len(bad)} recordings"
        if on_bad_file == "error":
            raise DataError(
                f"{where}: {count} cannot be used:{describe_bad(bad)}",
                "Fix or remove them, or set data.on_bad_file=skip; data.min_seconds and data.max_seconds "
                "limit the length of a recording.",
                value=[name for name, _ in bad],
                place=where,
            )
        notes.append(f"Skipped {count}:{describe_bad(bad)}")
    silent = [files[index].id for index in good if scan.silent[index]]
    if silent and len(silent) == len(good):
        raise DataError(
            f"{where}: all {len(silent)} recordings that can be used are silent: {listed(silent, 3)}.",
            "Check how they were recorded or converted.",
            value=silent,
            place=where,
        )
    if silent:
        what = "1 recording is" if len(silent) == 1 else f"{len(silent)} recordings are"
        notes.append(f"{what} silent: {listed(silent, 3)}.")
    kept = [files[index] for index in good]
    return _assemble(
        name,
        where,
        classes,
        [file.id for file in kept],
        [file.label for file in kept],
        scan.clips.subset(np.array(good, dtype=np.int64)),
        waveform,
        spectrogram,
        official=[file.split for file in kept] if any(file.split for file in kept) else None,
        groups=[file.group for file in kept] if any(file.group for file in kept) else None,
        warnings=notes,
        split=split,
        extra=extra,
    )


@dataclass(frozen=True)
class Scan:
    """The result of reading every file once: `faults` and `silent` have one entry per file."""

    clips: Clips
    faults: list[str]
    silent: list[bool]


def scan_files(
    paths: Sequence[Path], options: ClipOptions, frontend: Frontend, cache_dir: Path, cache_mb: float
) -> Scan:
    """Reads every file: its digest, whether its audio is within the limits, and whether it is silent.

    A file whose digest is in the cache is not decoded again.
    """
    limits = [options.min_seconds, options.max_seconds]
    known = FeatureCache(
        cache_dir,
        {"what": "length and silence", "sample_rate": options.sample_rate, "limits_s": limits, "version": VERSION},
        limit_mb=cache_mb,
    )
    with ThreadPoolExecutor() as pool:
        digests = list(pool.map(file_digest, paths))
        recordings = [FileRecording(path, digest) for path, digest in zip(paths, digests, strict=True)]
        clips = Clips(recordings, options, frontend, cache_dir, cache_mb)
        seen = known.has(digests)
        faults = [""] * len(paths)
        facts = np.zeros((len(paths), 2), dtype=np.float32)
        new = np.flatnonzero(~seen).tolist()
        for start in range(0, len(new), _TOGETHER):
            part = new[start : start + _TOGETHER]
            read = dict(zip(part, pool.map(lambda index: _read(paths[index], options), part), strict=True))
            for index, found in read.items():
                faults[index] = found if isinstance(found, str) else ""
            sound = {index: found for index, found in read.items() if not isinstance(found, str)}
            clips.keep(sound)
            for index, waveform in sound.items():
                facts[index] = _facts(waveform)
            good = list(sound)
            known.get([digests[i] for i in good], partial(_picked, facts, good))
    old = np.flatnonzero(seen).tolist()
    for index, fact in zip(
        old,
        known.get(  # decodes again only if another process has emptied the cache since
            [digests[index] for index in old],
            lambda missing: [_facts(recordings[old[i]].read(options.sample_rate)) for i in missing],
        ),
        strict=True,
    ):
        facts[index] = fact
    return Scan(clips.with_lengths(facts[:, 0].astype(np.int64)), faults, facts[:, 1].astype(bool).tolist())


def burst_dataset(
    name: str,
    *,
    speakers: int,
    takes: int,
    classes: Sequence[str] | None = None,
    options: ClipOptions,
    frontend: Frontend,
    waveform: WaveformAugment | None = None,
    spectrogram: SpecAugment | None = None,
    cache_dir: Path,
    cache_mb: float,
    split: SplitOptions,
    **extra: Any,
) -> Dataset:
    """Synthetic vocal bursts: `takes` of each class by each of `speakers`, who are the groups.

    `extra` are further attributes of the `Dataset`.

    Raises:
        DataError: a class that cannot be synthesised, or as `build_dataset`.
    """
    names = list(classes) if classes is not None else list(KINDS)
    for kind in names:
        if kind not in KINDS:
            raise DataError(
                f"data.classes names {kind!r}, which is not a vocal burst.",
                f"Choose among {', '.join(KINDS)}.",
                value=kind,
                place="data.classes",
            )
    bursts = [
        BurstRecording(kind, speaker, take) for kind in names for speaker in range(speakers) for take in range(takes)
    ]
    clips = Clips(bursts, options, frontend, cache_dir, cache_mb)
    samples = [len(sound) for sound in clips.wholes(np.arange(len(bursts), dtype=np.int64))]
    return _assemble(
        name,
        "vocal_bursts",
        names,
        [f"{b.kind}/s{b.speaker:02d}_{b.take:02d}" for b in bursts],
        [names.index(burst.kind) for burst in bursts],
        clips.with_lengths(np.array(samples, dtype=np.int64)),
        waveform,
        spectrogram,
        groups=[f"s{burst.speaker:02d}" for burst in bursts],
        split=split,
        extra=extra,
    )


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
    digests = clips.digests(np.arange(len(ids)))
    dataset = build_dataset(
        name, where, classes, ids, labels, digests, clips.frontend.item_shape, clips.subset, **build
    )
    kept = dataset.fetch
    assert isinstance(kept, Clips)
    augments = waveform is not None or spectrogram is not None or clips.options.crop == "random"

    def augment(seed: int, epoch: int) -> View:
        return Augmented(kept, seed, epoch, waveform, spectrogram).view()

    return replace(
        dataset,
        finish=None if clips.frontend.kept else kept.finish,
        lengths=kept.lengths(np.arange(len(dataset), dtype=np.int64)) if clips.frontend.masked else None,
        augment=augment if augments else None,
        cache=kept.report,
    )


def _read(path: Path, options: ClipOptions) -> Waveform | str:
    """The audio, or the reason why the file is unusable."""
    try:
        return decode(
            path.read_bytes(), options.sample_rate, min_seconds=options.min_seconds, max_seconds=options.max_seconds
        ).waveform
    except UnreadableAudio as error:
        return str(error)
    except OSError as error:
        return error.strerror or str(error)


def _facts(waveform: Waveform) -> npt.NDArray[np.float32]:
    """Samples, and whether they are silent: float32 [2]; exact up to 2^24 samples."""
    return np.array([len(waveform), is_silent(waveform)], dtype=np.float32)


def _picked(
    facts: npt.NDArray[np.float32], rows: Sequence[int], missing: Sequence[int]
) -> list[npt.NDArray[np.float32]]:
    return [facts[rows[position]] for position in missing]
