"""Crops or pads a recording to the clip length of a model.

Pure functions of arrays: the caller draws the number that places a random crop, so that a resumed
epoch repeats its crops. Knows no files, sample rates or labels.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Waveform = npt.NDArray[np.float32]

CROPS = ("start", "center", "random")
PADS = ("end", "center", "tile")

# -80 dBFS: about three quantisation steps of 16-bit audio, the level of dither and of a recorder's idle
# noise. The quietest speech in the supported corpora is above -60 dBFS.
SILENT_PEAK = 1e-4


def fit(
    waveform: Waveform, length: int, crop: str = "center", pad: str = "end", offset_draw: float | None = None
) -> Waveform:
    """Crops or pads a waveform to exactly `length` samples: float32 [length], a copy.

    Args:
        waveform: float32 [T], T at least 1.
        length: samples of the result, at least 1.
        crop: which part of a longer waveform to keep: its "start", its "center", or a "random" part.
        pad: how to extend a shorter one: silence after it ("end") or on both sides ("center"; an odd
            sample goes after it), or by repeating it ("tile").
        offset_draw: a number in [0, 1), needed when crop is "random" and the waveform is longer: equal
            parts of [0, 1) map to each possible start of the crop.

    Raises:
        ValueError: an empty waveform, or an argument that is not one of its choices.
    """
    if crop not in CROPS or pad not in PADS:
        raise ValueError(f"crop={crop!r} and pad={pad!r}: crop is one of {CROPS} and pad one of {PADS}")
    count = len(waveform)
    if count < 1 or length < 1:
        raise ValueError(f"cannot fit {count} samples to length {length}")
    if count >= length:
        begin = _crop_begin(count - length, crop, offset_draw)
        return waveform[begin : begin + length].astype(np.float32)
    if pad == "tile":
        return np.resize(waveform, length).astype(np.float32, copy=False)
    fitted = np.zeros(length, np.float32)
    begin = (length - count) // 2 if pad == "center" else 0
    fitted[begin : begin + count] = waveform
    return fitted


def signal_length(count: int, length: int, pad: str = "end") -> int:
    """How many samples of a fitted clip, counted from its start, an attention mask must include.

    Of the `count` samples before fitting. With "end" these are the samples of the signal. With "center" the silence
    before the signal counts too, because a mask that begins at the start would otherwise cut off the signal's end.
    With "tile" everything is signal.

    Raises:
        ValueError: `pad` is not one of PADS.
    """
    if pad not in PADS:
        raise ValueError(f"pad={pad!r} is not one of {PADS}")
    if count >= length or pad == "tile":
        return length
    return count + ((length - count) // 2 if pad == "center" else 0)


def is_silent(waveform: Waveform) -> bool:
    """Whether no sample is further than -80 dBFS (1e-4) from the mean: a constant offset, however large, is silence."""
    if not len(waveform):
        return True
    middle = waveform.mean(dtype=np.float64)
    return bool(max(waveform.max() - middle, middle - waveform.min()) < SILENT_PEAK)


def _crop_begin(spare: int, crop: str, offset_draw: float | None) -> int:
    if crop == "start" or not spare:
        return 0
    if crop == "center":
        return spare // 2
    if offset_draw is None or not 0 <= offset_draw < 1:
        raise ValueError(f"a random crop needs offset_draw in [0, 1), not {offset_draw}")
    return int(offset_draw * (spare + 1))  # at most spare, even for the largest float below 1
