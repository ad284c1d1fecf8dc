"""Sources of sound: files whose bytes are checked each time, and bursts that are synthesised when asked for.

Each has a digest of its content, by which the cache keeps what comes of it. Knows neither clips nor features.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from trainyard.audio.decode import UnreadableAudio, decode
from trainyard.audio.vocal_bursts import VERSION, synthesise
from trainyard.errors import DataError

Waveform = npt.NDArray[np.float32]


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


def file_digest(path: Path) -> str:
    """Of a file's bytes; of its name alone when it cannot be opened."""
    try:
        return _digest(path.read_bytes())
    except OSError:
        return f"unreadable {path}"  # told with the reason when it is read


def _digest(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=16).hexdigest()
