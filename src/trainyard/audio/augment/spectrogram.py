"""SpecAugment, time shift and frequency stretch of a batch of spectrograms, on its own device.

The few random numbers are drawn on the CPU from the items' seeds; the features are changed by a few
batched operations. The result for an item does not depend on the rest of its batch. Knows neither how
the features were computed nor where the seeds come from.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt
import torch

from trainyard.audio.augment.seeds import uniforms
from trainyard.errors import ConfigError

_Hidden = npt.NDArray[np.bool_]
# Makes these numbers independent of others drawn from the items' seeds, such as for a random crop.
_SALT = np.uint64(0x5370656341756721)


@dataclass(frozen=True)
class SpecAugment:
    """Masks in time and frequency (Park et al., 2019, "SpecAugment", section 2), a shift and a stretch.

    In this order: the mel axis is stretched from its lower end by a factor drawn from 1 ± `freq_stretch`,
    with linear interpolation (vocal tract length perturbation, Jaitly & Hinton 2013, with a linear warp on
    the mel axis); the frames are shifted; the masks are applied, time and frequency alternating. Masked
    values become the item's mean. Frames that a shift uncovers repeat the frame at that edge: the mean would
    add sound where the edge is silent. Time warping is left out: in the paper it contributes least.

    Unlike in the paper the union of an item's masks is bounded: a mask that would exceed the bound is
    shortened to what remains.

    Raises:
        ConfigError: a value out of its range.
    """

    time_masks: int = 0  # number of time masks; each covers 0 to `time_width` of the frames
    time_width: float = 0.1  # share of the frames
    freq_masks: int = 0  # number of frequency masks; each covers 0 to `freq_width` of the mels
    freq_width: float = 0.1  # share of the mels
    max_masked: float = 0.5  # largest share of an item's values that its masks cover together
    time_shift: float = 0.0  # largest shift in either direction, as a share of the frames
    freq_stretch: float = 0.0  # largest stretch; 0.1 for 0.9 to 1.1. The highest mel is repeated beyond the edge

    def __post_init__(self) -> None:
        problems = {}
        for field in fields(self):
            key, value = f"augmentations.spectrogram.{field.name}", getattr(self, field.name)
            if field.name.endswith("masks"):
                if value < 0:
                    problems[key] = f"{key}={value} must be 0 or more"
            elif not 0 <= value <= 1 or (field.name == "freq_stretch" and value == 1):
                top = "below 1" if field.name == "freq_stretch" else "to 1"
                problems[key] = f"{key}={value} must be a share from 0 {top}"
        if problems:
            raise ConfigError(tuple(problems.values()), "Use values in these ranges.", keys=tuple(problems))

    def __call__(self, features: torch.Tensor, seeds: npt.ArrayLike) -> torch.Tensor:
        """Augments float [B, ..., M, T], M mels and T frames, which is not modified; `seeds` are from `item_seeds`.

        The result has the same shape, type and device; it is the input tensor itself when nothing can change. All
        channels between B and M are changed alike.
        """
        item_seeds = np.asarray(seeds, np.uint64)
        if features.ndim < 3 or len(item_seeds) != len(features):
            shape = tuple(features.shape)
            raise ValueError(f"{len(item_seeds)} seeds for features of shape {shape}, expected [B, ..., M, T]")
        mels, frames = features.shape[-2:]
        longest_shift = int(self.time_shift * frames)
        widths = self._mask_widths(mels, frames)
        if features.numel() == 0 or not (widths or longest_shift or self.freq_stretch):
            return features

        draws = uniforms(item_seeds ^ _SALT, 2 + 2 * len(widths))
        hidden_frames = np.zeros((len(item_seeds), frames), np.bool_)
        hidden_mels = np.zeros((len(item_seeds), mels), np.bool_)
        self._hide(hidden_frames, hidden_mels, widths, draws[:, 2:])
        factors = 1 + self.freq_stretch * (2 * draws[:, 0] - 1) if self.freq_stretch else None
        sources = None
        if longest_shift:
            shifts = _integers(draws[:, 1], 2 * longest_shift + 1) - longest_shift
            sources = np.arange(frames) - shifts[:, np.newaxis]

        # From here on with one channel dimension, [B, C, M, T].
        whole = features.detach().reshape(len(item_seeds), -1, mels, frames)
        mean = whole.mean(dim=(1, 2, 3), keepdim=True)
        changed = _moved(whole, factors, sources)
        # Whether an axis is processed must not depend on what the rest of the batch has drawn.
        axes = {axis for axis, _ in widths}
        if "freq" in axes:
            changed = _filled(changed, mean, hidden_mels[:, np.newaxis, :, np.newaxis], in_place=changed is not whole)
        if "time" in axes:
            changed = _filled(changed, mean, hidden_frames[:, np.newaxis, np.newaxis, :], in_place=changed is not whole)
        return changed.reshape(features.shape)

    def _mask_widths(self, mels: int, frames: int) -> list[tuple[str, int]]:
        """Axis and largest width of each mask that can cover anything; the axes alternate, to share the bound."""
        pairs = []
        for index in range(max(self.time_masks, self.freq_masks)):
            if index < self.time_masks:
                pairs.append(("time", int(self.time_width * frames)))
            if index < self.freq_masks:
                pairs.append(("freq", int(self.freq_width * mels)))
        return [pair for pair in pairs if pair[1] > 0 and self.max_masked > 0]

    def _hide(
        self, frames: _Hidden, mels: _Hidden, widths: list[tuple[str, int]], draws: npt.NDArray[np.float64]
    ) -> None:
        """Draws the masks into bool [B, T] and [B, M], within the bound on the values that they cover together."""
        limit = int(self.max_masked * frames.shape[1] * mels.shape[1])
        for index, (axis, widest) in enumerate(widths):
            own, other = (frames, mels) if axis == "time" else (mels, frames)
            length = own.shape[1]
            width = _integers(draws[:, 2 * index], widest + 1)
            start = _integers(draws[:, 2 * index + 1], length + 1 - width)
            position = np.arange(length)
            fresh = (position >= start[:, np.newaxis]) & (position < (start + width)[:, np.newaxis]) & ~own
            # A new row or column covers only what the masks of the other axis left of it.
            gain = other.shape[1] - other.sum(axis=1)
            hidden = own.sum(axis=1) * gain + (other.shape[1] - gain) * length
            allowed = (limit - hidden) // np.maximum(gain, 1)
            own |= fresh & (fresh.cumsum(axis=1) <= allowed[:, np.newaxis])


def _integers(draws: npt.NDArray[np.float64], below: int | npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Integers from 0 to `below` - 1, from uniform draws in [0, 1)."""
    return np.minimum((draws * below).astype(np.int64), np.asarray(below) - 1)  # the product may round up


def _moved(
    features: torch.Tensor, factors: npt.NDArray[np.float64] | None, sources: npt.NDArray[np.int64] | None
) -> torch.Tensor:
    """Features [B, C, M, T] with mel m taken from mel m / factor, then frame t from frame sources[t]; None: no change.

    `factors` is [B]; `sources` is [B, T], where positions outside the item are clamped to its edge. Stretching copies
    whole rows of frames, which are contiguous in memory: one index per row, not per value.
    """
    items, channels, mels, frames = features.shape
    moved, spare = features, None
    if factors is not None:
        places = np.minimum(np.arange(mels) / factors[:, np.newaxis], mels - 1)
        lower = np.minimum(places.astype(np.int64), max(mels - 2, 0))
        first_rows = np.arange(items * channels).reshape(items, channels, 1) * mels
        rows = torch.from_numpy((first_rows + lower[:, np.newaxis]).reshape(-1)).to(features.device)
        shares = torch.from_numpy(np.repeat(places - lower, channels, axis=0).reshape(-1, 1))
        lines = features.reshape(-1, frames)
        upper = (rows + 1).clamp(max=len(lines) - 1)  # a single mel has no neighbour; its share is 0
        moved = lines.index_select(0, rows)
        spare = lines.index_select(0, upper)
        moved = moved.lerp_(spare, shares.to(features.device, features.dtype)).reshape(features.shape)
    if sources is not None:
        columns = torch.from_numpy(sources.clip(0, frames - 1)).to(features.device)
        # Reused because allocating memory of this size costs more than filling it.
        room = None if spare is None else spare.reshape(features.shape)
        moved = torch.gather(moved, 3, columns[:, None, None, :].expand_as(moved), out=room)
    return moved


def _filled(features: torch.Tensor, mean: torch.Tensor, hidden: _Hidden, *, in_place: bool) -> torch.Tensor:
    """The mean [B, 1, 1, 1] where hidden (broadcast to [B, C, M, T]), the unchanged features elsewhere.

    Three times as fast as `torch.where` on a CPU, which broadcasts slowly. Features must be finite.
    """
    covered = torch.from_numpy(hidden).to(features.device, features.dtype)
    kept = 1 - covered
    features = features.mul_(kept) if in_place else features * kept
    return features.add_(mean * covered)
