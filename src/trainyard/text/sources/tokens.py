"""The tokens of texts, concatenated in memory, and batches of them.

Tokenizing is left to a tokenizer. A batch is padded to its own longest text. Knows no labels, splits or
models.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from trainyard.data.dataset import Indices


class Tokens:
    """A fetch from tokens in memory.

    Args:
        ids: int32 [total], the tokens of all texts.
        offsets: int64 [N + 1]; the tokens of text n are `ids[offsets[n]:offsets[n + 1]]`.
        pad_id: the token that pads a batch.

    Raises:
        ValueError: offsets that do not partition `ids` into texts.
    """

    def __init__(self, ids: npt.NDArray[np.integer], offsets: npt.NDArray[np.integer], pad_id: int) -> None:
        self._ids = np.ascontiguousarray(ids, dtype=np.int32)
        self._offsets = np.ascontiguousarray(offsets, dtype=np.int64)
        self._pad_id = pad_id
        self.lengths: Indices = np.diff(self._offsets)
        ends = self._offsets[[0, -1]].tolist() if len(self._offsets) else []
        if ends != [0, len(self._ids)] or (self.lengths < 0).any():
            raise ValueError(f"offsets from {ends} do not partition {len(self._ids)} tokens")

    def __len__(self) -> int:
        return len(self.lengths)

    def __call__(self, indices: Indices) -> torch.Tensor:
        """The texts at `indices` [B]: int64 [B, T], where T is the length of the longest, at least 1."""
        lengths = self.lengths[indices]
        longest = max(1, int(lengths.max(initial=0)))
        padded = np.full((len(indices), longest), self._pad_id, dtype=np.int64)
        padded[np.arange(longest) < lengths[:, None]] = self._joined(indices)
        return torch.from_numpy(padded)

    def cached(self, indices: Indices) -> bool:
        """Always True: all tokens are in memory."""
        return True

    def subset(self, keep: Indices) -> Tokens:
        """A fetch of the kept texts alone, renumbered from 0."""
        return Tokens(self._joined(keep), np.concatenate([[0], np.cumsum(self.lengths[keep])]), self._pad_id)

    def _joined(self, indices: Indices) -> npt.NDArray[np.int32]:
        """The tokens of some texts, concatenated."""
        lengths = self.lengths[indices]
        # The start of each text in `ids`, minus its start in the result.
        shift = self._offsets[:-1][indices] - (np.cumsum(lengths) - lengths)
        return self._ids[np.repeat(shift, lengths) + np.arange(int(lengths.sum()))]
