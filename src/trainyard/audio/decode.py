"""One encoded recording to one waveform: mono, at the rate that was asked for, or a reason why not.

Wav, FLAC, Ogg (Vorbis, Opus) and MP3 are decoded by libsndfile and resampled by soxr. libsndfile
reads what there is of a file that was cut short and says nothing; here a container that promises
more than it holds is refused. Knows bytes: no paths, labels or caches.
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
from typing import Any

import numpy as np
import numpy.typing as npt

from trainyard.errors import ConfigError

AUDIO_SUFFIXES = frozenset({".wav", ".wave", ".flac", ".ogg", ".oga", ".opus", ".mp3"})

Waveform = npt.NDArray[np.float32]

_FORMATS = ("WAV", "WAVEX", "RF64", "FLAC", "OGG", "MP3")  # whose truncation can be told
_MAGIC = (b"RIFF", b"RIFX", b"RF64", b"fLaC", b"OggS", b"ID3")
_RATES = (1_000, 768_000)  # Hz; below and above, the header is damaged rather than the recording odd
_BLOCK = 1 << 14  # frames decoded at a time, so that a header cannot ask for more memory than the sound takes

# Recorders that write to a pipe cannot go back to fill in the size and leave one of these.
_UNKNOWN_SIZE = 0x7FFF_F000

_OGG_PAGE = struct.Struct("<4sBBqIIIB")  # magic, version, flags, granule, stream, sequence, CRC, segments
_OGG_END = 4  # the flag of a stream's last page
_REVERSED_BITS = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


class UnreadableAudio(ValueError):  # noqa: N818  (a finding, collected and reported with others)
    """Bytes that are no whole recording, or one outside the limits; the text says why."""


@dataclass(frozen=True)
class Header:
    """What a recording says of itself, before it is decoded.

    Attributes:
        source_rate: samples a second of each channel.
        frames: samples of each channel; what an MP3 says here can be an estimate.
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
        """How long it lasts."""
        return self.frames / self.source_rate


@dataclass(frozen=True, eq=False)
class Decoded:
    """A recording.

    Attributes:
        waveform: float32 [T], mono, at the rate that was asked for. Within [-1, 1] for integer
            formats; float and lossy files may go beyond it, and resampling a little.
        source_rate: Hz, of the file.
        source_seconds: how long the file lasts.
        channels: of the file.
        subtype: of the file, such as "PCM_16".
    """

    waveform: Waveform
    source_rate: int
    source_seconds: float
    channels: int
    subtype: str


def is_audio(path: Path) -> bool:
    """Whether a file's name says that it is a recording. Hidden files are not."""
    return path.suffix.lower() in AUDIO_SUFFIXES and not path.name.startswith(".")


def probe(data: bytes) -> Header:
    """What the header of an encoded recording says; nothing is decoded.

    Raises:
        UnreadableAudio: when the bytes are empty, no recording, or of a format that is not read.
    """
    with _opened(data) as (_, header):
        return header


def decode(data: bytes, sample_rate: int, *, min_seconds: float = 0.0, max_seconds: float = math.inf) -> Decoded:
    """The sound of an encoded recording: the mean of its channels, resampled by soxr (HQ).

    The content decides how it is read, whatever the file is called.

    Args:
        data: the whole file.
        sample_rate: Hz of the result.
        min_seconds: the shortest recording that is accepted.
        max_seconds: the longest; a longer one is refused before it is decoded.

    Raises:
        UnreadableAudio: when the bytes are empty, no recording or cut short, hold no samples or some
            that are not finite, or last shorter or longer than the limits.
        ConfigError: when soundfile or soxr is not installed.
    """
    with _opened(data) as (sound, header):
        if header.seconds > max_seconds:
            raise UnreadableAudio(f"it lasts {header.seconds:.1f} s, longer than the limit of {max_seconds:g} s")
        mono = _read_mono(sound, header.frames)
    if header.container == "OGG":
        _check_ogg(data, len(mono))
    elif header.container in ("WAV", "WAVEX", "RF64"):
        _check_wav(data)
    if len(mono) < header.frames:
        raise UnreadableAudio(
            f"it is cut short or damaged: its header says {header.frames} samples, and {len(mono)} can be read"
        )
    if not len(mono):
        raise UnreadableAudio("it holds no samples")
    if not np.isfinite(mono).all():
        bad = np.flatnonzero(~np.isfinite(mono))
        raise UnreadableAudio(f"{len(bad)} of its samples are NaN or infinite, the first at {bad[0]}")
    seconds = len(mono) / header.source_rate
    if seconds < min_seconds:
        raise UnreadableAudio(f"it lasts {seconds:.4f} s, shorter than the limit of {min_seconds:g} s")
    waveform = _resampled(mono, header.source_rate, sample_rate)
    if not len(waveform):
        raise UnreadableAudio(f"it is shorter than one sample at {sample_rate} Hz")
    return Decoded(waveform, header.source_rate, seconds, header.channels, header.subtype)


@contextmanager
def _opened(data: bytes) -> Iterator[tuple[Any, Header]]:
    soundfile = _library("soundfile")
    if not data:
        raise UnreadableAudio("the file is empty")
    # libsndfile would search megabytes of anything for the first bytes of an MP3.
    if not data.startswith(_MAGIC) and not _is_mpeg(data):
        raise UnreadableAudio("its content is no sound that can be read (wav, flac, ogg, mp3)")
    try:
        with soundfile.SoundFile(io.BytesIO(data)) as sound:
            header = Header(sound.samplerate, sound.frames, sound.channels, sound.format, sound.subtype)
            if header.container not in _FORMATS:
                raise UnreadableAudio(f"its format is {header.container}; wav, flac, ogg and mp3 are read")
            if not _RATES[0] <= header.source_rate <= _RATES[1]:
                raise UnreadableAudio(f"its header says a sample rate of {header.source_rate} Hz")
            yield sound, header
    except soundfile.LibsndfileError as error:
        raise UnreadableAudio(_explain(data, error)) from error


def _is_mpeg(data: bytes) -> bool:
    return len(data) > 1 and data[0] == 0xFF and data[1] & 0xE0 == 0xE0


def _explain(data: bytes, error: Any) -> str:
    reason = str(error.error_string).strip(". ")
    if data[:4] in (b"RIFF", b"RIFX", b"RF64") and data[24:28] == bytes(4):
        return "its header says a sample rate of 0 Hz"
    # The second is what a failing MP3 decoder leaves behind, and is misleading.
    if reason.startswith(("Format not recognised", "File does not exist")):
        return "its content is no sound that can be read (wav, flac, ogg, mp3)"
    return f"it cannot be decoded: {reason}"


def _read_mono(sound: Any, frames: int) -> Waveform:
    parts: list[Waveform] = []
    try:
        while len(block := sound.read(_BLOCK, dtype="float32", always_2d=True)):
            parts.append(block[:, 0] if block.shape[1] == 1 else block.mean(axis=1, dtype=np.float32))
    except _library("soundfile").LibsndfileError as error:
        reason = str(error.error_string).removeprefix("Error : ").strip(". ")
        raise UnreadableAudio(
            f"it is cut short or damaged: its header says {frames} samples, and decoding fails after"
            f" {sum(map(len, parts))} ({reason})"
        ) from error
    return np.concatenate(parts) if parts else np.empty(0, np.float32)


def _resampled(mono: Waveform, source_rate: int, sample_rate: int) -> Waveform:
    if source_rate == sample_rate:
        return np.ascontiguousarray(mono)
    soxr = _library("soxr")
    return np.ascontiguousarray(soxr.resample(mono, source_rate, sample_rate, quality="HQ"), dtype=np.float32)


def _check_wav(data: bytes) -> None:
    """Refuses a RIFF, RIFX or RF64 file whose data chunk is longer than the file."""
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
                    f"it is cut short: its header says {size} bytes of samples, and {there} are there"
                )
            return
        position += 8 + size + size % 2


def _check_ogg(data: bytes, samples: int) -> None:
    """Refuses an Ogg file without its last page, or with a page that is damaged or missing.

    A page carries a CRC-32 of polynomial 0x04C11DB7 without reflection (RFC 3533); zlib computes
    the reflected one, which is the same after the bits of every byte are reversed.
    """
    position, ended = 0, False
    following: dict[int, int] = {}  # the next page's number in each stream
    while data[position : position + 4] == b"OggS" and position + _OGG_PAGE.size <= len(data):
        _, _, flags, _, stream, number, crc, segments = _OGG_PAGE.unpack_from(data, position)
        body = position + _OGG_PAGE.size + segments
        end = body + sum(data[position + _OGG_PAGE.size : body])
        if end > len(data):
            raise UnreadableAudio(
                f"it is cut short: its last page ends at byte {end}, and the file has {len(data)};"
                f" {samples} samples can be read"
            )
        if number != following.get(stream, number):
            raise UnreadableAudio(
                f"it is damaged: page {following[stream]} is followed by page {number}; {samples} samples can be read"
            )
        following[stream] = number + 1
        page = data[position : position + 22] + bytes(4) + data[position + 26 : end]
        reflected = zlib.crc32(page.translate(_REVERSED_BITS), 0xFFFF_FFFF) ^ 0xFFFF_FFFF
        if crc != int(f"{reflected:032b}"[::-1], 2):
            raise UnreadableAudio(f"it is damaged: the checksum of page {number} is wrong")
        position, ended = end, bool(flags & _OGG_END)
    if not ended:
        raise UnreadableAudio(f"it is cut short: its last page is missing; {samples} samples can be read")


def _library(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except (ImportError, OSError) as error:  # OSError: soundfile without the libsndfile it wraps
        raise ConfigError(
            [f"Reading sound needs {name}, which cannot be imported: {error}."],
            "Install it with: pip install 'trainyard[audio]'",
        ) from error
