"""Makes a transform of audiomentations a function of a waveform and a seed.

audiomentations draws from the global generators of Python and NumPy. Unless they are seeded, the result
for a clip depends on everything drawn before it, and the order of the batches on the clips. Here the
generators are seeded for one call and restored. Knows nothing of files, spectrograms or batches.
"""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from trainyard.errors import DataError

Waveform = npt.NDArray[np.float32]

# Transforms store their last draw and use global generators, so only one may run at a time in a process.
_turn = threading.RLock()


def _new_turn() -> None:
    global _turn
    _turn = threading.RLock()


# A forked worker inherits the lock in its current state: held for ever if another thread was augmenting.
os.register_at_fork(after_in_child=_new_turn)


@dataclass(frozen=True)
class WaveformAugment:
    """A transform whose every draw comes from the seed it is called with.

    Threads take turns. A thread that draws from the global generators at the same time would disturb
    the draws; worker processes have their own generators. Can be pickled if the transform can.
    """

    transform: Callable[[Waveform, int], Any]  # of samples float32 [T] and their rate, like audiomentations.Compose
    sample_rate: int  # Hz

    def __call__(self, waveform: Waveform, seed: int) -> Waveform:
        """Applies the transform to float32 [T], in [-1, 1], which is not modified; the result has the same length.

        A longer result is cut and a shorter one padded with silence. If the result has a NaN or an infinity,
        as after normalising silence, the clip is returned unchanged. `seed` has up to 64 bits, see `item_seeds`.

        Raises:
            DataError: the transform fails, for example because a file of background noise cannot be read, or does
                not return one channel.
        """
        if waveform.size == 0:
            return waveform
        name, key = type(self.transform).__name__, "augmentations.waveform"
        with _turn, _seeded(int(seed)):
            try:
                changed = self.transform(np.array(waveform, np.float32), self.sample_rate)
            except (OSError, RuntimeError, ValueError, AssertionError) as error:
                clip = f"a clip of {waveform.size} samples at {self.sample_rate} Hz"
                what = f"The waveform augmentation {name} fails on {clip}: {type(error).__name__}: {error}"
                remedy = f"Fix `{key}`, or disable it with {key}=null."
                raise DataError(what, remedy, value=str(error), place=key) from error
        changed = np.asarray(changed, np.float32)
        if changed.ndim != 1:
            clip = f"one channel of {waveform.size} samples"
            what = f"The waveform augmentation {name} returned an array of shape {changed.shape} for {clip}."
            raise DataError(what, f"In `{key}`, use transforms that keep one channel.", value=changed.shape, place=key)
        if not np.isfinite(changed).all():
            return waveform
        fitted = np.zeros(waveform.size, np.float32)
        np.clip(changed[: waveform.size], -1.0, 1.0, out=fitted[: changed.size])
        return fitted


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Seeds the global generators of Python and NumPy, and restores their state afterwards."""
    python, numpy = random.getstate(), np.random.get_state()
    random.seed(seed)
    # Both are Mersenne Twisters: the extra 1 keeps their streams different.
    np.random.seed([seed & 0xFFFFFFFF, seed >> 32 & 0xFFFFFFFF, 1])
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
