"""Texts as tokens, one after the other in memory, and the batches of them.

What a token means and how texts become tokens is the matter of a tokenizer; a batch is padded to its
own longest text only. Knows no labels, splits or models.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from trainyard.data.dataset import Indices


class Tokens:
    """A fetch from tokens that lie in memory.

    Args:
        ids: int32 [total], the tokens of all texts.
        offsets: int64 [N + 1]; the tokens of text n are `ids[offsets[n]:offsets[n + 1]]`.
        pad_id: what fills a batch up.

    Raises:
        ValueError: offsets that do not cut `ids` into texts.
    """

    def __init__(self, ids: npt.NDArray[np.integer], offsets: npt.NDArray[np.integer], pad_id: int) -> None:
        self._ids = np.ascontiguousarray(ids, dtype=np.int32)
        self._offsets = np.ascontiguousarray(offsets, dtype=np.int64)
        self._pad_id = pad_id
        self.lengths: Indices = np.diff(self._offsets)
        ends = self._offsets[[0, -1]].tolist() if len(self._offsets) else []
        if ends != [0, len(self._ids)] or (self.lengths < 0).any():
            raise ValueError(f"offsets from {ends} do not cut {len(self._ids)} tokens into texts")

    def __len__(self) -> int:
        return len(self.lengths)

    def __call__(self, indices: Indices) -> torch.Tensor:
        """The texts at `indices` [B], int64 [B, T], T tokens being the longest of them, and 1 at least."""
        lengths = self.lengths[indices]
        longest = max(1, int(lengths.max(initial=0)))
        padded = np.full((len(indices), longest), self._pad_id, dtype=np.int64)
        padded[np.arange(longest) < lengths[:, None]] = self._joined(indices)
        return torch.from_numpy(padded)

    def cached(self, indices: Indices) -> bool:
        """True: all are in memory."""
        return True

    def subset(self, keep: Indices) -> Tokens:
        """The fetch of the kept texts alone, numbered anew."""
        return Tokens(self._joined(keep), np.concatenate([[0], np.cumsum(self.lengths[keep])]), self._pad_id)

    def _joined(self, indices: Indices) -> npt.NDArray[np.int32]:
        """The tokens of those texts, one after the other."""
        lengths = self.lengths[indices]
        # Where each text begins in `ids`, less where it begins in the result.
        shift = self._offsets[:-1][indices] - (np.cumsum(lengths) - lengths)
        return self._ids[np.repeat(shift, lengths) + np.arange(int(lengths.sum()))]
