"""Items in memory as one array: their digests, their shape, and the fetch from them.

One function converts 8-bit pixels to float32 in [0, 1], for arrays and files alike, so that an image has
the same values whichever way it is loaded. Knows no labels, splits or files.
"""

from __future__ import annotations

import hashlib

import numpy as np
import numpy.typing as npt
import torch

from trainyard.data.dataset import Indices

# Items that would exceed this size as float32 stay 8-bit in memory and are scaled batch by batch: about
# 40 µs slower per batch of 64 x 784, a quarter of the memory, the same values.
FLOAT_LIMIT_BYTES = 2**30


def to_unit(raw: torch.Tensor) -> torch.Tensor:
    """Converts a tensor to float32: uint8 is divided by 255, other types keep their values."""
    if raw.dtype == torch.uint8:
        return raw.to(torch.float32).div_(255)
    return raw.to(torch.float32)


class InMemory:
    """A fetch from one contiguous tensor.

    Args:
        items: uint8 or float32 [N, *item_shape]; uint8 is fetched as float32 in [0, 1].
        float_limit_bytes: the largest size at which items are kept as float32.
    """

    def __init__(self, items: torch.Tensor, float_limit_bytes: int = FLOAT_LIMIT_BYTES) -> None:
        small = items.numel() * 4 <= float_limit_bytes
        self.items = (to_unit(items) if small else items).contiguous()

    def __call__(self, indices: Indices) -> torch.Tensor:
        """The items at `indices` [B], float32 [B, *item_shape]."""
        return to_unit(self.items.index_select(0, torch.from_numpy(np.asarray(indices, dtype=np.int64))))

    def subset(self, keep: Indices) -> InMemory:
        """A fetch of the kept items alone, renumbered from 0."""
        if len(keep) == len(self.items):
            return self
        return InMemory(self.items[torch.from_numpy(keep)])


def row_digests(array: npt.NDArray[np.generic]) -> tuple[str, ...]:
    """The hex digest of each row's bytes, shape and type; equal rows have equal digests."""
    rows = np.ascontiguousarray(array)
    prefix = hashlib.blake2b(f"{rows.dtype.str}{rows.shape[1:]}".encode(), digest_size=16)
    digests = []
    for row in rows:
        state = prefix.copy()
        state.update(row.tobytes())
        digests.append(state.hexdigest())
    return tuple(digests)


def channels_first(array: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
    """Converts [N, H, W] to [N, 1, H, W] and [N, H, W, C] to [N, C, H, W]; [N, F] and [N, C, H, W] are unchanged.

    The smaller of the second and the last dimension of a four-dimensional array is taken as the channels,
    or the last one if they are equal.

    Raises:
        ValueError: the array has another number of dimensions.
    """
    if array.ndim == 2:
        return array
    if array.ndim == 3:
        return array[:, np.newaxis]
    if array.ndim == 4:
        return array if array.shape[1] < array.shape[3] else np.moveaxis(array, 3, 1)
    raise ValueError(f"{array.ndim} dimensions")
