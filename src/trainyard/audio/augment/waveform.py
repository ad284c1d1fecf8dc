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

    Attributes:
        transform: (samples float32 [T], sample_rate) -> samples, such as `audiomentations.Compose`.
        sample_rate: Hz.
    """

    transform: Callable[[Waveform, int], Any]
    sample_rate: int

    def __call__(self, waveform: Waveform, seed: int) -> Waveform:
        """Applies the transform: float32 [T], in [-1, 1], of the same length.

        A longer result is cut and a shorter one padded with silence. If the result has a NaN or an infinity,
        as after normalising silence, the clip is returned unchanged.

        Args:
            waveform: float32 [T], in [-1, 1]; not modified.
            seed: unsigned, up to 64 bits; the item's, from `item_seeds`.

        Raises:
            DataError: the transform fails, for example because a file of background noise cannot be read, or does
                not return one channel.
        """
        if waveform.size == 0:
            return waveform
        with _turn, _seeded(int(seed)):
            try:
                changed = self.transform(np.array(waveform, np.float32), self.sample_rate)
            except (OSError, RuntimeError, ValueError, AssertionError) as error:
                name = type(self.transform).__name__
                raise DataError(
                    f"The waveform augmentation {name} fails on a clip of {waveform.size} samples"
                    f" at {self.sample_rate} Hz: {type(error).__name__}: {error}",
                    "Fix `augmentations.waveform`, or disable it with augmentations.waveform=null.",
                    value=str(error),
                    place="augmentations.waveform",
                ) from error
        changed = np.asarray(changed, np.float32)
        if changed.ndim != 1:
            raise DataError(
                f"The waveform augmentation {type(self.transform).__name__} returned an array of shape {changed.shape}"
                f" for one channel of {waveform.size} samples.",
                "In `augmentations.waveform`, use transforms that keep one channel.",
                value=changed.shape,
                place="augmentations.waveform",
            )
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
