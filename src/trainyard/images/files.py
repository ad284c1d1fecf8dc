"""Image files: which files are images, how one is decoded, and a fetch that remembers pixels.

Every file is read once when the data is loaded: its bytes are hashed, it is decoded to prove that
it can be, and the pixels are kept as uint8 up to a limit, so that even the first epoch is fast.
Results never depend on what was kept. Knows no labels, classes or splits.
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
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, UnidentifiedImageError

from trainyard.data.arrays import to_unit
from trainyard.data.dataset import Indices
from trainyard.errors import DataError

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm", ".pbm"})

# What Pillow's decoders were seen to raise on damaged files; its plugins share no base class.
_DECODER_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    EOFError,
    OverflowError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)

Pixels = npt.NDArray[np.uint8]


class UnreadableImage(ValueError):  # noqa: N818  (a finding, collected and reported with others)
    """Bytes that are not a whole image; the text is the reason."""


def is_image(path: Path) -> bool:
    """Whether a file has the name of an image. Hidden files are not images."""
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")


def decode(data: bytes, size: tuple[int, int], channels: int) -> Pixels:
    """The pixels of an encoded image, resized bilinearly, uint8 [channels, height, width].

    Args:
        data: the whole file.
        size: height and width of the result.
        channels: 1 (grey) or 3 (RGB). Transparency is dropped; 16-bit greys keep their upper 8 bits.

    Raises:
        UnreadableImage: when the bytes are empty, truncated, or not an image.
    """
    if not data:
        raise UnreadableImage("the file is empty")
    try:
        with Image.open(io.BytesIO(data)) as opened:
            image = _eight_bits(opened)
            image = image.convert("L" if channels == 1 else "RGB")
            height, width = size
            if image.size != (width, height):
                image = image.resize((width, height), Image.Resampling.BILINEAR)
            pixels = np.asarray(image)
    except UnreadableImage:
        raise
    except _DECODER_ERRORS as error:
        # Pillow names the in-memory buffer, which means nothing to a reader.
        known = not isinstance(error, UnidentifiedImageError)
        raise UnreadableImage(f"{error}" if known else "its content is not an image") from error
    return np.ascontiguousarray(pixels[np.newaxis] if channels == 1 else pixels.transpose(2, 0, 1))


def _eight_bits(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):
        # Pillow's own conversion clips at 255: most of a 16-bit X-ray would be white.
        values = np.asarray(image)
        if values.size and (values.min() < 0 or values.max() > 65535):
            raise UnreadableImage("its pixels are 32-bit integers outside 0 … 65535")
        return Image.fromarray((values >> 8).astype(np.uint8))
    if image.mode == "F":
        raise UnreadableImage("its pixels are floats, which have no fixed range")
    if "transparency" in image.info:
        return image.convert("RGBA")  # Pillow warns about the direct way for palettes
    return image


class ImageFiles:
    """A fetch that decodes image files and keeps their pixels in memory up to a limit.

    The memory is shared with worker processes made by fork, so that what one decodes the others
    find. Sent to a process in another way, the fetch starts with nothing kept.

    Args:
        paths: the files.
        names: what to call each in messages.
        size: height and width of the result.
        channels: 1 or 3.
        cache_mb: megabytes of pixels to keep; 0 keeps none.
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
            DataError: when a file has become unreadable since it was loaded.
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
        """Whether all these items can be fetched without reading a file."""
        return bool(self._ready(self._slots[indices]).all())

    def subset(self, keep: Indices) -> ImageFiles:
        """The fetch of the kept items alone, renumbered, sharing the pixels kept so far."""
        part = object.__new__(ImageFiles)
        part.__dict__.update(self.__dict__)
        part._paths = tuple(self._paths[index] for index in keep)
        part._names = tuple(self._names[index] for index in keep)
        part._slots = self._slots[keep]
        return part

    def read_all(self) -> list[tuple[str, str]]:
        """Reads every file once, in threads, keeping pixels up to the limit.

        Returns:
            For each file its hex content digest and what is wrong with it ("" for a good one).
        """
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
            raise DataError(
                f"The image {self._names[index]} could be read when it was loaded and cannot be now: {error}",
                "Put the file back as it was, then resume the run.",
                place=self._paths[index],
            ) from error
        self._keep(index, pixels)
        return pixels

    def _reserve(self, count: int) -> None:
        # Anonymous shared memory is inherited by fork and takes pages only as they are written. It is
        # not bound by the size of /dev/shm, which containers keep small.
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
            self._filled[slot] = True  # last: a reader in another process must not see half an image

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_kept": len(self._filled), "_filled": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._reserve(state["_kept"])
