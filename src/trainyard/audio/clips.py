"""A recording cut or padded to the length that a model hears.

Pure functions of arrays: where a random crop falls is decided by a number that the caller drew,
so that a resumed epoch crops alike. Knows no files, sample rates or labels.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Waveform = npt.NDArray[np.float32]

CROPS = ("start", "center", "random")
PADS = ("end", "center", "tile")

# -80 dBFS: about three steps of 16-bit sound, which is what the dither and the idle noise of a
# recorder leave. The quietest speech of the corpora lies above -60 dBFS.
SILENT_PEAK = 1e-4


def fit(
    waveform: Waveform, length: int, crop: str = "center", pad: str = "end", offset_draw: float | None = None
) -> Waveform:
    """A waveform of exactly `length` samples.

    Args:
        waveform: float32 [T], T at least 1.
        length: samples of the result, at least 1.
        crop: which part of a longer waveform: its "start", its "center", or one at "random".
        pad: what a shorter one gets: silence after it ("end") or on both sides ("center", where the
            odd sample goes after it), or itself again and again ("tile").
        offset_draw: a number in [0, 1), needed when crop is "random" and the waveform is longer:
            equal parts of [0, 1) stand for each place where the crop can begin.

    Returns:
        float32 [length]; a copy.

    Raises:
        ValueError: nothing to fit, or an argument that is no choice.
    """
    if crop not in CROPS or pad not in PADS:
        raise ValueError(f"crop={crop!r} and pad={pad!r}: crop is one of {CROPS} and pad one of {PADS}")
    count = len(waveform)
    if count < 1 or length < 1:
        raise ValueError(f"{count} samples cannot be fitted to {length}")
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
    """How many samples from the start of a fitted clip a mask must let through.

    With "end" these are the samples of the signal. With "center" the silence before it is counted
    in, because a mask that begins at the start would cut the signal's end off otherwise. With
    "tile" everything is signal.

    Args:
        count: samples before fitting.
        length: samples of the clip.
        pad: as given to `fit`.

    Raises:
        ValueError: a pad that is no choice.
    """
    if pad not in PADS:
        raise ValueError(f"pad={pad!r} is not one of {PADS}")
    if count >= length or pad == "tile":
        return length
    return count + ((length - count) // 2 if pad == "center" else 0)


def is_silent(waveform: Waveform) -> bool:
    """Whether nothing can be heard: no sample is further than -80 dBFS (1e-4) from the mean.

    The mean is taken away first: a recorder that stands still on a constant, such as the 127 of
    8-bit files, is silent however large the constant.
    """
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
    return int(offset_draw * (spare + 1))  # never spare + 1: one less than 1 by an ulp is enough
