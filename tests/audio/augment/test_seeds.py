import numpy as np
import pytest

from trainyard.audio.augment.seeds import item_seeds, uniforms

# The first outputs of Vigna's splitmix64.c from the state 1234567.
PUBLISHED = (6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431, 16408922859458223821)


def test_the_numbers_of_a_seed_are_those_of_splitmix64():
    assert uniforms([1234567], 5).tolist() == [[(output >> 11) / 2**53 for output in PUBLISHED]]


def test_a_seed_depends_on_neither_order_nor_company():
    indices = np.arange(50)
    together = item_seeds(3, 7, indices)
    assert together.dtype == np.uint64
    assert together.shape == (50,)
    order = np.random.default_rng(0).permutation(50)
    np.testing.assert_array_equal(item_seeds(3, 7, indices[order]), together[order])
    assert [int(item_seeds(3, 7, [index])[0]) for index in indices] == together.tolist()


def test_seeds_of_a_large_grid_are_distinct():
    grid = [item_seeds(seed, epoch, np.arange(5000)) for seed in (-1, 0, 1, 2, 2**31) for epoch in range(40)]
    # A million 64-bit numbers: by chance two of them are equal once in 37 million grids.
    assert len(np.unique(np.concatenate(grid))) == 5 * 40 * 5000


@pytest.mark.parametrize("seed", [0, -5, 2**63, 2**64 - 1, 2**80 + 1])
def test_any_integer_is_a_seed(seed):
    assert len(set(item_seeds(seed, 0, np.arange(10)).tolist())) == 10


def test_seeds_of_an_empty_batch():
    assert item_seeds(0, 0, []).shape == (0,)
    assert uniforms([], 3).shape == (0, 3)


@pytest.mark.parametrize("varied", ["index", "epoch", "seed"])
def test_every_bit_is_a_fair_coin_whatever_counts_up(varied):
    count = 20_000
    if varied == "index":
        seeds = item_seeds(0, 0, np.arange(count))
    elif varied == "epoch":
        seeds = np.concatenate([item_seeds(0, epoch, [0]) for epoch in range(count)])
    else:
        seeds = np.concatenate([item_seeds(seed, 0, [0]) for seed in range(count)])
    bits = (seeds[:, np.newaxis] >> np.arange(64, dtype=np.uint64)) & np.uint64(1)
    deviation = np.sqrt(count) / 2
    assert np.abs(bits.sum(axis=0).astype(float) - count / 2).max() < 4.5 * deviation  # of 64 coins, 1 in 2,000
    # Neighbours differ in half of their bits, too.
    flips = (bits[1:] != bits[:-1]).sum(axis=0)
    assert np.abs(flips - (count - 1) / 2).max() < 4.5 * deviation


def test_uniforms_fill_the_interval_evenly_and_without_correlation():
    numbers = uniforms(item_seeds(1, 2, np.arange(50_000)), 4)
    assert numbers.min() >= 0
    assert numbers.max() < 1
    for column in numbers.T:
        counts = np.histogram(column, bins=20, range=(0, 1))[0]
        assert ((counts - 2500) ** 2 / 2500).sum() < 50  # chi-square with 19 degrees: 1 in 7,000
    assert np.abs(np.corrcoef(numbers.T) - np.eye(4)).max() < 0.02


def test_a_row_of_uniforms_does_not_depend_on_how_many_are_asked_for():
    seeds = item_seeds(0, 0, np.arange(5))
    np.testing.assert_array_equal(uniforms(seeds, 9)[:, :4], uniforms(seeds, 4))
    np.testing.assert_array_equal(uniforms(seeds, 4)[3:], uniforms(seeds[3:], 4))
