"""Random orders that stay the same for ever.

A run may be resumed months later under another NumPy, whose `Generator.permutation` may have
changed. NumPy guarantees the raw bits of PCG64, so orders are made from those and from nothing
else. This module knows neither datasets nor epochs: callers say what an order depends on.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def shuffled(count: int, *seeds: int) -> npt.NDArray[np.int64]:
    """A permutation of 0 … count-1 that depends on the seeds alone, in any version of NumPy.

    Args:
        count: how many numbers to order.
        seeds: integers of any sign and size; another tuple gives an unrelated order.
    """
    # SeedSequence takes no negative integers; folding keeps small seeds as they are.
    entropy = [seed % 2**64 for seed in seeds]
    bits = np.random.PCG64(np.random.SeedSequence(entropy))
    return np.argsort(bits.random_raw(count), kind="stable").astype(np.int64, copy=False)
