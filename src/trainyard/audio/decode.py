"""Decodes one encoded recording to a mono waveform at a requested rate, or explains why it cannot.

WAV, FLAC, Ogg (Vorbis, Opus) and MP3 are decoded by libsndfile and resampled by soxr. libsndfile
silently returns what it can of a truncated file; here a container that declares more than it holds
is refused. Works on bytes: no paths, labels or caches.
"""

from __future__ import annotations

import importlib
import io
import math
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from trainyard.errors import ConfigError

AUDIO_SUFFIXES = frozenset({".wav", ".wave", ".flac", ".ogg", ".oga", ".opus", ".mp3"})

Waveform = npt.NDArray[np.float32]

_FORMATS = ("WAV", "WAVEX", "RF64", "FLAC", "OGG", "MP3")  # containers whose truncation can be detected
_MAGIC = (b"RIFF", b"RIFX", b"RF64", b"fLaC", b"OggS", b"ID3")
_RATES = (1_000, 768_000)  # Hz; outside these a header is more likely damaged than a recording unusual
_BLOCK = 1 << 14  # frames decoded at a time, so that a false header cannot make us allocate more than the audio needs

# Recorders that write to a pipe cannot seek back to fill in the size; they leave a value from here up.
_UNKNOWN_SIZE = 0x7FFF_F000

_OGG_PAGE = struct.Struct("<4sBBqIIIB")  # magic, version, flags, granule, stream, sequence, CRC, segments
_OGG_END = 4  # the flag of a stream's last page
_NOT_AUDIO = "its content is not audio in a supported format (wav, flac, ogg, mp3)"
_REVERSED_BITS = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


Fault = Literal[
    "empty file",
    "not audio",
    "container",
    "sample rate",
    "undecodable",
    "truncated",
    "damaged",
    "no samples",
    "not finite",
    "too long",
    "too short",
    "changed",
]


class UnreadableAudio(ValueError):  # noqa: N818  (a finding, collected and reported with others)
    """Bytes that are not a complete recording, or a recording outside the limits.

    Args:
        reason: for people, to follow "NAME: ".
        fault: the kind of fault, for programs.
        value: what was found: a container's name, a rate in Hz, a duration in seconds, the number of
            samples or bytes that could be read, the position of the first sample that is not finite.
    """

    def __init__(self, reason: str, fault: Fault, value: object = None) -> None:
        super().__init__(reason, fault, value)
        self.reason = reason
        self.fault: Fault = fault
        self.value = value

    def __str__(self) -> str:
        return self.reason


@dataclass(frozen=True)
class Header:
    """What a recording's header declares.

    Attributes:
        source_rate: samples a second of each channel.
        frames: samples of each channel; for an MP3 this can be an estimate.
        channels: 1 for mono.
        container: such as "WAV" or "OGG".
        subtype: such as "PCM_16", "ULAW" or "VORBIS".
    """

    source_rate: int
    frames: int
    channels: int
    container: str
    subtype: str

    @property
    def seconds(self) -> float:
        """The duration."""
        return self.frames / self.source_rate


@dataclass(frozen=True, eq=False)
class Decoded:
    """A decoded recording.

    Attributes:
        waveform: float32 [T], mono, at the requested rate. Within [-1, 1] for integer formats; float and
            lossy files may exceed that range, and resampling may exceed it slightly.
        source_rate: Hz, of the file.
        source_seconds: duration of the file.
        channels: of the file.
        subtype: of the file, such as "PCM_16".
    """

    waveform: Waveform
    source_rate: int
    source_seconds: float
    channels: int
    subtype: str


def is_audio(path: Path) -> bool:
    """Whether a file's name has an audio suffix and the file is not hidden."""
    return path.suffix.lower() in AUDIO_SUFFIXES and not path.name.startswith(".")


def probe(data: bytes) -> Header:
    """Reads the header of an encoded recording without decoding it.

    Raises:
        UnreadableAudio: when the bytes are empty, not a recording, or in an unsupported format.
    """
    with _opened(data) as (_, header):
        return header


def decode(data: bytes, sample_rate: int, *, min_seconds: float = 0.0, max_seconds: float = math.inf) -> Decoded:
    """Decodes a recording to the mean of its channels, resampled by soxr (HQ).

    The format is detected from the content, not from the file name.

    Args:
        data: the whole file.
        sample_rate: Hz of the result.
        min_seconds: the shortest recording that is accepted.
        max_seconds: the longest; a longer one is refused before it is decoded.

    Raises:
        UnreadableAudio: when the bytes are empty, not a recording or truncated, have no samples or
            samples that are not finite, or are shorter or longer than the limits.
        ConfigError: when soundfile or soxr is not installed.
    """
    with _opened(data) as (sound, header):
        if header.seconds > max_seconds:
            raise UnreadableAudio(
                f"it lasts {header.seconds:.1f} s, longer than the limit of {max_seconds:g} s",
                "too long",
                header.seconds,
            )
        mono = _read_mono(sound, header.frames)
    if header.container == "OGG":
        _check_ogg(data, len(mono))
    elif header.container in ("WAV", "WAVEX", "RF64"):
        _check_wav(data)
    if len(mono) < header.frames:
        raise UnreadableAudio(
            f"it is truncated or damaged: its header declares {header.frames} samples, only {len(mono)} can be read",
            "truncated",
            len(mono),
        )
    if not len(mono):
        raise UnreadableAudio("it has no samples", "no samples")
    if not np.isfinite(mono).all():
        bad = np.flatnonzero(~np.isfinite(mono))
        raise UnreadableAudio(
            f"{len(bad)} of its samples are NaN or infinite, the first at {bad[0]}", "not finite", int(bad[0])
        )
    seconds = len(mono) / header.source_rate
    if seconds < min_seconds:
        raise UnreadableAudio(
            f"it lasts {seconds:.4f} s, shorter than the limit of {min_seconds:g} s", "too short", seconds
        )
    waveform = _resampled(mono, header.source_rate, sample_rate)
    if not len(waveform):
        raise UnreadableAudio(f"it is shorter than one sample at {sample_rate} Hz", "too short", seconds)
    return Decoded(waveform, header.source_rate, seconds, header.channels, header.subtype)


@contextmanager
def _opened(data: bytes) -> Iterator[tuple[Any, Header]]:
    soundfile = _library("soundfile")
    if not data:
        raise UnreadableAudio("the file is empty", "empty file")
    # Checked first because libsndfile would search megabytes of arbitrary data for the start of an MP3.
    if not data.startswith(_MAGIC) and not _is_mpeg(data):
        raise UnreadableAudio(_NOT_AUDIO, "not audio")
    try:
        with soundfile.SoundFile(io.BytesIO(data)) as sound:
            header = Header(sound.samplerate, sound.frames, sound.channels, sound.format, sound.subtype)
            if header.container not in _FORMATS:
                raise UnreadableAudio(
                    f"its format is {header.container}; supported are wav, flac, ogg and mp3",
                    "container",
                    header.container,
                )
            if not _RATES[0] <= header.source_rate <= _RATES[1]:
                raise UnreadableAudio(
                    f"its header declares a sample rate of {header.source_rate} Hz", "sample rate", header.source_rate
                )
            yield sound, header
    except soundfile.LibsndfileError as error:
        raise _explained(data, error) from error


def _is_mpeg(data: bytes) -> bool:
    return len(data) > 1 and data[0] == 0xFF and data[1] & 0xE0 == 0xE0


def _explained(data: bytes, error: Any) -> UnreadableAudio:
    reason = str(error.error_string).strip(". ")
    if data[:4] in (b"RIFF", b"RIFX", b"RF64") and data[24:28] == bytes(4):
        return UnreadableAudio("its header declares a sample rate of 0 Hz", "sample rate", 0)
    # "File does not exist" is what a failing MP3 decoder reports; it is misleading.
    if reason.startswith(("Format not recognised", "File does not exist")):
        return UnreadableAudio(_NOT_AUDIO, "not audio")
    return UnreadableAudio(f"it cannot be decoded: {reason}", "undecodable", reason)


def _read_mono(sound: Any, frames: int) -> Waveform:
    parts: list[Waveform] = []
    try:
        while len(block := sound.read(_BLOCK, dtype="float32", always_2d=True)):
            parts.append(block[:, 0] if block.shape[1] == 1 else block.mean(axis=1, dtype=np.float32))
    except _library("soundfile").LibsndfileError as error:
        reason = str(error.error_string).removeprefix("Error : ").strip(". ")
        count = sum(map(len, parts))
        raise UnreadableAudio(
            f"it is truncated or damaged: its header declares {frames} samples, but decoding fails after"
            f" {count} ({reason})",
            "truncated",
            count,
        ) from error
    return np.concatenate(parts) if parts else np.empty(0, np.float32)


def _resampled(mono: Waveform, source_rate: int, sample_rate: int) -> Waveform:
    if source_rate == sample_rate:
        return np.ascontiguousarray(mono)
    soxr = _library("soxr")
    return np.ascontiguousarray(soxr.resample(mono, source_rate, sample_rate, quality="HQ"), dtype=np.float32)


def _check_wav(data: bytes) -> None:
    """Raises UnreadableAudio when the data chunk of a RIFF, RIFX or RF64 file is longer than the file."""
    order = ">" if data.startswith(b"RIFX") else "<"
    sizes_64: int | None = None
    position = 12  # after "RIFF", the size and "WAVE"
    while position + 8 <= len(data):
        name = data[position : position + 4]
        size = int(struct.unpack_from(f"{order}I", data, position + 4)[0])
        if name == b"ds64" and position + 24 <= len(data):
            sizes_64 = int(struct.unpack_from("<Q", data, position + 16)[0])
        if name == b"data":
            if size == 0xFFFF_FFFF and sizes_64 is not None:
                size = sizes_64
            elif size >= _UNKNOWN_SIZE:
                return
            there = len(data) - position - 8
            if size > there:
                raise UnreadableAudio(
                    f"it is truncated: its header declares {size} bytes of samples, but the file has {there}",
                    "truncated",
                    there,
                )
            return
        position += 8 + size + size % 2


def _check_ogg(data: bytes, samples: int) -> None:
    """Raises UnreadableAudio when the last page of an Ogg file is missing, or any page is damaged or missing.

    A page has a CRC-32 with polynomial 0x04C11DB7, not reflected (RFC 3533). zlib computes the reflected
    CRC, which gives the same result once the bits of every input byte and of the result are reversed.
    """
    position, ended = 0, False
    following: dict[int, int] = {}  # stream -> the number its next page must have
    while data[position : position + 4] == b"OggS" and position + _OGG_PAGE.size <= len(data):
        _, _, flags, _, stream, number, crc, segments = _OGG_PAGE.unpack_from(data, position)
        body = position + _OGG_PAGE.size + segments
        end = body + sum(data[position + _OGG_PAGE.size : body])
        if end > len(data):
            raise UnreadableAudio(
                f"it is truncated: its last page ends at byte {end}, but the file has {len(data)} bytes;"
                f" {samples} samples can be read",
                "truncated",
                samples,
            )
        if number != following.get(stream, number):
            raise UnreadableAudio(
                f"it is damaged: expected page {following[stream]}, found page {number}; {samples} samples can be read",
                "damaged",
                number,
            )
        following[stream] = number + 1
        page = data[position : position + 22] + bytes(4) + data[position + 26 : end]
        reflected = zlib.crc32(page.translate(_REVERSED_BITS), 0xFFFF_FFFF) ^ 0xFFFF_FFFF
        if crc != int(f"{reflected:032b}"[::-1], 2):
            raise UnreadableAudio(f"it is damaged: the checksum of page {number} is wrong", "damaged", number)
        position, ended = end, bool(flags & _OGG_END)
    if not ended:
        raise UnreadableAudio(
            f"it is truncated: its last page is missing; {samples} samples can be read", "truncated", samples
        )


def _library(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except (ImportError, OSError) as error:  # OSError: soundfile cannot load libsndfile
        raise ConfigError(
            [f"reading audio needs {name}, which cannot be imported: {error}"],
            "Install it with: pip install 'trainyard[audio]'",
        ) from error
