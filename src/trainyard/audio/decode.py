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
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from trainyard.errors import ConfigError

AUDIO_SUFFIXES = frozenset({".wav", ".wave", ".flac", ".ogg", ".oga", ".opus", ".mp3"})

Waveform = npt.NDArray[np.float32]

_WAV = ("WAV", "WAVEX", "RF64")
_FORMATS = (*_WAV, "FLAC", "OGG", "MP3")  # containers whose truncation can be detected
_RIFF = (b"RIFF", b"RIFX", b"RF64")
_MAGIC = (*_RIFF, b"fLaC", b"OggS", b"ID3")
_RATES = (1_000, 768_000)  # Hz; outside these a header is more likely damaged than a recording unusual
_BLOCK = 1 << 14  # frames decoded at a time, so that a false header cannot make us allocate more than the audio needs

# Recorders that write to a pipe cannot seek back to fill in the size; they leave a value from here up.
_UNKNOWN_SIZE = 0x7FFF_F000

_OGG_PAGE = struct.Struct("<4sBBqIIIB")  # magic, version, flags, granule, stream, sequence, CRC, segments
_OGG_END = 4  # the flag of a stream's last page
_NOT_AUDIO = "its content is not audio in a supported format (wav, flac, ogg, mp3)"
_REVERSED_BITS = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))

_Broken = Literal["empty file", "not audio", "container", "sample rate", "undecodable", "truncated", "damaged"]
Fault = Literal[_Broken, "no samples", "not finite", "too long", "too short", "changed"]


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


def is_audio(path: Path) -> bool:
    """Whether a file's name has an audio suffix and the file is not hidden."""
    return path.suffix.lower() in AUDIO_SUFFIXES and not path.name.startswith(".")


def decode(data: bytes, sample_rate: int, *, min_seconds: float = 0.0, max_seconds: float = math.inf) -> Waveform:
    """Decodes a recording to the mean of its channels, resampled by soxr (HQ): float32 [T], mono.

    The format is detected from the content, not from the file name. The values are within [-1, 1] for integer formats;
    float and lossy files may exceed that range, and resampling may exceed it slightly.

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
    soundfile = _library("soundfile")
    if not data:
        raise UnreadableAudio("the file is empty", "empty file")
    # Checked first because libsndfile would search megabytes of arbitrary data for the start of an MP3.
    is_mpeg = len(data) > 1 and data[0] == 0xFF and data[1] & 0xE0 == 0xE0
    if not data.startswith(_MAGIC) and not is_mpeg:
        raise UnreadableAudio(_NOT_AUDIO, "not audio")
    try:
        with soundfile.SoundFile(io.BytesIO(data)) as sound:
            container, source_rate, declared = sound.format, sound.samplerate, sound.frames
            _check_header(container, source_rate, declared / max(source_rate, 1), max_seconds)
            mono = _read_mono(sound)
    except soundfile.LibsndfileError as error:
        raise _explained(data, error) from error
    if container == "OGG":
        _check_ogg(data, len(mono))
    elif container in _WAV:
        _check_wav(data)
    if len(mono) < declared:
        what = f"its header declares {declared} samples, only {len(mono)} can be read"
        raise UnreadableAudio(f"it is truncated or damaged: {what}", "truncated", len(mono))
    if not len(mono):
        raise UnreadableAudio("it has no samples", "no samples")
    bad = np.flatnonzero(~np.isfinite(mono))
    if len(bad):
        what = f"{len(bad)} of its samples are NaN or infinite, the first at {bad[0]}"
        raise UnreadableAudio(what, "not finite", int(bad[0]))
    seconds = len(mono) / source_rate
    if seconds < min_seconds:
        what = f"it lasts {seconds:.4f} s, shorter than the limit of {min_seconds:g} s"
        raise UnreadableAudio(what, "too short", seconds)
    if source_rate != sample_rate:
        mono = _library("soxr").resample(mono, source_rate, sample_rate, quality="HQ")
    if not len(mono):
        raise UnreadableAudio(f"it is shorter than one sample at {sample_rate} Hz", "too short", seconds)
    return np.ascontiguousarray(mono, dtype=np.float32)


def _check_header(container: str, source_rate: int, seconds: float, max_seconds: float) -> None:
    if container not in _FORMATS:
        what = f"its format is {container}; supported are wav, flac, ogg and mp3"
        raise UnreadableAudio(what, "container", container)
    if not _RATES[0] <= source_rate <= _RATES[1]:
        what = f"its header declares a sample rate of {source_rate} Hz"
        raise UnreadableAudio(what, "sample rate", source_rate)
    if seconds > max_seconds:
        what = f"it lasts {seconds:.1f} s, longer than the limit of {max_seconds:g} s"
        raise UnreadableAudio(what, "too long", seconds)


def _explained(data: bytes, error: Any) -> UnreadableAudio:
    reason = str(error.error_string).strip(". ")
    if data[:4] in _RIFF and data[24:28] == bytes(4):
        return UnreadableAudio("its header declares a sample rate of 0 Hz", "sample rate", 0)
    # "File does not exist" is what a failing MP3 decoder reports; it is misleading.
    if reason.startswith(("Format not recognised", "File does not exist")):
        return UnreadableAudio(_NOT_AUDIO, "not audio")
    return UnreadableAudio(f"it cannot be decoded: {reason}", "undecodable", reason)


def _read_mono(sound: Any) -> Waveform:
    parts: list[Waveform] = []
    try:
        while len(block := sound.read(_BLOCK, dtype="float32", always_2d=True)):
            parts.append(block[:, 0] if block.shape[1] == 1 else block.mean(axis=1, dtype=np.float32))
    except _library("soundfile").LibsndfileError as error:
        reason, count = str(error.error_string).removeprefix("Error : ").strip(". "), sum(map(len, parts))
        what = f"its header declares {sound.frames} samples, but decoding fails after {count} ({reason})"
        raise UnreadableAudio(f"it is truncated or damaged: {what}", "truncated", count) from error
    return np.concatenate(parts) if parts else np.empty(0, np.float32)


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
            known = size < _UNKNOWN_SIZE
            if size == 0xFFFF_FFFF and sizes_64 is not None:
                size, known = sizes_64, True
            there = len(data) - position - 8
            if known and size > there:
                what = f"its header declares {size} bytes of samples, but the file has {there}"
                raise UnreadableAudio(f"it is truncated: {what}", "truncated", there)
            return
        position += 8 + size + size % 2


def _check_ogg(data: bytes, samples: int) -> None:
    """Raises UnreadableAudio when the last page of an Ogg file is missing, or any page is damaged or missing.

    A page has a CRC-32 with polynomial 0x04C11DB7, not reflected (RFC 3533). zlib computes the reflected
    CRC, which gives the same result once the bits of every input byte and of the result are reversed.
    """
    position, ended, readable = 0, False, f"{samples} samples can be read"
    following: dict[int, int] = {}  # stream -> the number its next page must have
    while data[position : position + 4] == b"OggS" and position + _OGG_PAGE.size <= len(data):
        _, _, flags, _, stream, number, crc, segments = _OGG_PAGE.unpack_from(data, position)
        body = position + _OGG_PAGE.size + segments
        end = body + sum(data[position + _OGG_PAGE.size : body])
        if end > len(data):
            what = f"its last page ends at byte {end}, but the file has {len(data)} bytes; {readable}"
            raise UnreadableAudio(f"it is truncated: {what}", "truncated", samples)
        if number != following.get(stream, number):
            what = f"expected page {following[stream]}, found page {number}; {readable}"
            raise UnreadableAudio(f"it is damaged: {what}", "damaged", number)
        following[stream] = number + 1
        page = data[position : position + 22] + bytes(4) + data[position + 26 : end]
        reflected = zlib.crc32(page.translate(_REVERSED_BITS), 0xFFFF_FFFF) ^ 0xFFFF_FFFF
        if crc != int(f"{reflected:032b}"[::-1], 2):
            raise UnreadableAudio(f"it is damaged: the checksum of page {number} is wrong", "damaged", number)
        position, ended = end, bool(flags & _OGG_END)
    if not ended:
        raise UnreadableAudio(f"it is truncated: its last page is missing; {readable}", "truncated", samples)


def _library(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except (ImportError, OSError) as error:  # OSError: soundfile cannot load libsndfile
        problem = f"reading audio needs {name}, which cannot be imported: {error}"
        raise ConfigError([problem], "Install it with: pip install 'trainyard[audio]'") from error
