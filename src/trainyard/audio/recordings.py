"""Sources of audio: files whose bytes are verified on every read, and vocal bursts synthesised on demand.

Each has a digest of its content, which keys what the cache stores of it. Knows neither clips nor features.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from trainyard.audio.decode import UnreadableAudio, Waveform, decode
from trainyard.audio.vocal_bursts import VERSION, synthesise
from trainyard.errors import DataError


class Recording(Protocol):
    """One source of audio."""

    @property
    def digest(self) -> str:
        """A hex digest of its content."""

    def read(self, sample_rate: int) -> Waveform:
        """The whole recording, float32 [T], mono."""


@dataclass(frozen=True)
class FileRecording:
    """A file and the digest of its bytes when the data was loaded."""

    path: Path
    digest: str

    def read(self, sample_rate: int) -> Waveform:
        """The whole file, float32 [T], mono.

        Raises:
            DataError: it can no longer be read, or its bytes have changed.
        """
        try:
            data = self.path.read_bytes()
            if _digest(data) != self.digest:
                raise UnreadableAudio("its content has changed since the data was loaded", "changed")
            return decode(data, sample_rate)
        except (OSError, UnreadableAudio) as error:
            fault = error.fault if isinstance(error, UnreadableAudio) else error.strerror
            what, remedy = f"{self.path} can no longer be read: {error}.", "Restore the file, or start a new run."
            raise DataError(what, remedy, value=fault, place=self.path) from error


@dataclass(frozen=True)
class BurstRecording:
    """A vocal burst, synthesised identically on every read."""

    kind: str
    speaker: int
    take: int

    @property
    def digest(self) -> str:
        """A hex digest of its parameters and the version of the synthesis."""
        return _digest(f"{VERSION} {self.kind} {self.speaker} {self.take}".encode())

    def read(self, sample_rate: int) -> Waveform:
        """The whole burst, float32 [T]."""
        return synthesise(self.kind, self.speaker, self.take, sample_rate=sample_rate)


def file_digest(path: Path) -> str:
    """The hex digest of a file's bytes; a placeholder with its path when it cannot be opened."""
    try:
        return _digest(path.read_bytes())
    except OSError:
        return f"unreadable {path}"  # the reason is reported when the file is decoded


def _digest(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=16).hexdigest()
