"""Random numbers that depend on an item, not on when it is fetched.

A stateful generator gives different numbers after a resume or with another number of workers. Here an
item's numbers are a hash of the run's seed, the epoch and its index, computed for a whole batch at once.
Integer arithmetic only, so they are the same in any version of NumPy.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Seeds = npt.NDArray[np.uint64]

# SplitMix64 (Steele, Lea & Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014) with the
# constants of Vigna's splitmix64.c (Stafford's variant 13): state += GAMMA, output = mix(state).
_GAMMA = 0x9E3779B97F4A7C15
_MASK = 2**64 - 1


def item_seeds(seed: int, epoch: int, indices: npt.ArrayLike) -> Seeds:
    """A seed for each item, uint64 [B], that depends on the run's seed, the epoch and its index alone.

    Within an epoch no two indices share a seed: the hash of the index is a bijection. Any integers will do; the seed is
    taken modulo 2**64.
    """
    step = np.array([epoch * _GAMMA & _MASK], np.uint64)
    origin = _mixed(_mixed(np.array([seed & _MASK], np.uint64)) + step)
    return _mixed(origin + _steps(np.asarray(indices, np.int64).astype(np.uint64)))


def uniforms(seeds: npt.ArrayLike, count: int) -> npt.NDArray[np.float64]:
    """Numbers in [0, 1), float64 [B, count]; row b depends on seeds[b] alone, and its first numbers not on `count`."""
    start = np.asarray(seeds, np.uint64)[:, np.newaxis]
    bits = _mixed(start + _steps(np.arange(1, count + 1, dtype=np.uint64)))
    return (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53  # the 53 significant bits of a float64 in [0, 1)


def _steps(counts: Seeds) -> Seeds:
    return counts * np.uint64(_GAMMA)  # overflow wraps around, as SplitMix64 requires


def _mixed(state: Seeds) -> Seeds:
    """The output function of SplitMix64: a bijection of 64-bit integers; each input bit affects all output bits."""
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))
