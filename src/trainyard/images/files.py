"""Image files: recognising them, decoding them, and a fetch that caches their pixels.

Every file is read once when the data is loaded: its bytes are hashed, it is decoded to check that it can
be, and the pixels are cached as uint8 up to a limit, so that even the first epoch is fast. Results never
depend on what is cached. Knows no labels, classes or splits.
"""

from __future__ import annotations

import hashlib
import io
import mmap
import os
import struct
import zlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, UnidentifiedImageError

from trainyard.data.arrays import to_unit
from trainyard.data.dataset import Indices
from trainyard.errors import DataError

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm", ".pbm"})

# Exceptions that Pillow's decoders raise on damaged files; its plugins share no base class.
_DECODER_ERRORS = (
    *(OSError, SyntaxError, ValueError, TypeError, LookupError, EOFError, OverflowError),
    *(struct.error, zlib.error, Image.DecompressionBombError),
)

Pixels = npt.NDArray[np.uint8]
Fault = Literal["empty file", "not an image", "undecodable", "pixel type"]


class UnreadableImage(ValueError):  # noqa: N818  (a finding, collected and reported with others)
    """Bytes that are not a complete image; the reason is for people, to follow "NAME: "."""

    def __init__(self, reason: str, fault: Fault) -> None:
        super().__init__(reason, fault)
        self.reason = reason
        self.fault: Fault = fault

    def __str__(self) -> str:
        return self.reason


def is_image(path: Path) -> bool:
    """Whether a file's name has an image suffix and the file is not hidden."""
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")


def decode(data: bytes, size: tuple[int, int], channels: int) -> Pixels:
    """Decodes a file and resizes the image bilinearly to `size`, (height, width): uint8 [channels, height, width].

    One channel is grey, three are RGB. Transparency is dropped; 16-bit grey keeps its upper 8 bits.

    Raises:
        UnreadableImage: when the bytes are empty, truncated, or not an image.
    """
    if not data:
        raise UnreadableImage("the file is empty", "empty file")
    try:
        with Image.open(io.BytesIO(data)) as opened:
            image = _eight_bits(opened).convert("L" if channels == 1 else "RGB")
            if image.size != size[::-1]:
                image = image.resize(size[::-1], Image.Resampling.BILINEAR)
            pixels = np.asarray(image)
    except UnreadableImage:
        raise
    except _DECODER_ERRORS as error:
        if isinstance(error, UnidentifiedImageError):  # its text names the in-memory buffer
            raise UnreadableImage("its content is not an image", "not an image") from error
        raise UnreadableImage(str(error) or type(error).__name__, "undecodable") from error
    return np.ascontiguousarray(pixels[np.newaxis] if channels == 1 else pixels.transpose(2, 0, 1))


def _eight_bits(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):
        # Pillow's own conversion clips at 255, which would turn most of a 16-bit X-ray white.
        values = np.asarray(image)
        if values.size and (values.min() < 0 or values.max() > 65535):
            raise UnreadableImage("its pixels are 32-bit integers outside 0 … 65535", "pixel type")
        return Image.fromarray((values >> 8).astype(np.uint8))
    if image.mode == "F":
        raise UnreadableImage("its pixels are floats, which have no fixed range", "pixel type")
    if "transparency" in image.info:
        return image.convert("RGBA")  # Pillow warns when a palette with transparency is converted directly
    return image


class ImageFiles:
    """A fetch that decodes image files and caches their pixels in memory up to a limit.

    Forked worker processes share the memory, so that each finds what the others decoded. A copy passed to
    another process by pickling starts with an empty cache. `names` are for messages; see `decode`.
    """

    def __init__(
        self, paths: Sequence[Path], names: Sequence[str], size: tuple[int, int], channels: int, cache_mb: float = 512
    ) -> None:
        self._paths = tuple(paths)
        self._names = tuple(names)
        self._size = size
        self._channels = channels
        self._slots = np.arange(len(self._paths), dtype=np.int64)
        self._reserve(min(len(self._paths), int(cache_mb * 2**20) // (channels * size[0] * size[1])))

    @property
    def item_shape(self) -> tuple[int, int, int]:
        """Channels, height, width."""
        return (self._channels, *self._size)

    def __call__(self, indices: Indices) -> torch.Tensor:
        """The items at `indices` [B], float32 [B, channels, height, width] in [0, 1]."""
        return to_unit(self.raw(indices))

    def raw(self, indices: Indices) -> torch.Tensor:
        """The pixels of some items, uint8 [B, channels, height, width].

        Raises:
            DataError: a file has become unreadable since it was loaded.
        """
        slots = self._slots[indices]
        ready = self._ready(slots)
        if ready.all():
            return torch.from_numpy(self._kept[slots])
        pixels = np.empty((len(indices), *self.item_shape), dtype=np.uint8)
        pixels[ready] = self._kept[slots[ready]]
        for position in np.flatnonzero(~ready):
            pixels[position] = self._decode_again(int(indices[position]))
        return torch.from_numpy(pixels)

    def cached(self, indices: Indices) -> bool:
        """Whether all the items at `indices` can be fetched without reading a file."""
        return bool(self._ready(self._slots[indices]).all())

    def subset(self, keep: Indices) -> ImageFiles:
        """A fetch of the kept items alone, renumbered from 0, sharing the cached pixels."""
        part = object.__new__(ImageFiles)
        part.__dict__.update(self.__dict__)
        part._paths = tuple(self._paths[index] for index in keep)
        part._names = tuple(self._names[index] for index in keep)
        part._slots = self._slots[keep]
        return part

    def read_all(self) -> list[tuple[str, str]]:
        """Reads every file once, in threads: its hex content digest, and what is wrong with it ("" if nothing)."""
        threads = min(16, 2 * (os.cpu_count() or 1))
        with ThreadPoolExecutor(threads, thread_name_prefix="read-images") as pool:
            return list(pool.map(self._read, range(len(self._paths))))

    def _read(self, index: int) -> tuple[str, str]:
        try:
            data = self._paths[index].read_bytes()
        except OSError as error:
            return "", error.strerror or str(error)
        digest = hashlib.blake2b(data, digest_size=16).hexdigest()
        try:
            self._keep(index, decode(data, self._size, self._channels))
        except UnreadableImage as error:
            return digest, str(error)
        return digest, ""

    def _decode_again(self, index: int) -> Pixels:
        try:
            pixels = decode(self._paths[index].read_bytes(), self._size, self._channels)
        except (OSError, UnreadableImage) as error:
            what = f"The image {self._names[index]} has become unreadable since the data was loaded: {error}."
            value, place = error.fault if isinstance(error, UnreadableImage) else error.strerror, self._paths[index]
            raise DataError(what, "Restore the file, then resume the run.", value=value, place=place) from error
        self._keep(index, pixels)
        return pixels

    def _reserve(self, count: int) -> None:
        # Anonymous shared memory is inherited by fork and allocates pages only as they are written. It is
        # not limited by the size of /dev/shm, which is small in containers.
        pixels = count * self._channels * self._size[0] * self._size[1]
        memory = mmap.mmap(-1, pixels + count) if count else bytearray()
        self._kept: Pixels = np.frombuffer(memory, np.uint8, pixels).reshape(count, *self.item_shape)
        self._filled = np.frombuffer(memory, np.bool_, count, pixels) if count else np.empty(0, np.bool_)

    def _ready(self, slots: Indices) -> npt.NDArray[np.bool_]:
        ready = slots < len(self._filled)
        ready[ready] = self._filled[slots[ready]]
        return ready

    def _keep(self, index: int, pixels: Pixels) -> None:
        slot = self._slots[index]
        if slot < len(self._filled):
            self._kept[slot] = pixels
            self._filled[slot] = True  # last: a reader in another process must not see an incomplete image

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_kept": len(self._filled), "_filled": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._reserve(state["_kept"])
