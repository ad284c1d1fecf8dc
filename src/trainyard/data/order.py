"""Random permutations that never change.

A run may be resumed months later with another version of NumPy, whose `Generator.permutation` may have
changed. NumPy guarantees the raw bits of PCG64, so permutations are computed from those alone. Knows
neither datasets nor epochs: callers decide what a permutation depends on.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def shuffled(count: int, *seeds: int) -> npt.NDArray[np.int64]:
    """A permutation of 0 … count-1 that depends on the seeds alone, integers of any sign and size."""
    return np.argsort(random_bits(*seeds).random_raw(count), kind="stable").astype(np.int64, copy=False)


def random_bits(*seeds: int) -> np.random.PCG64:
    """Raw random bits; different tuples of seeds give unrelated ones."""
    # SeedSequence rejects negative integers; the modulus keeps small seeds unchanged.
    return np.random.PCG64(np.random.SeedSequence([seed % 2**64 for seed in seeds]))
