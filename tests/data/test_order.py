import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from trainyard.data.order import shuffled


@settings(deadline=None)
@given(st.integers(0, 200), st.lists(st.integers(-(2**70), 2**70), min_size=1, max_size=3))
def test_an_order_is_a_permutation_that_the_seeds_alone_decide(count, seeds):
    order = shuffled(count, *seeds)
    assert order.dtype == np.int64
    assert sorted(order.tolist()) == list(range(count))
    np.random.default_rng().random()
    np.testing.assert_array_equal(order, shuffled(count, *seeds))


def test_seeds_and_epochs_give_unrelated_orders():
    orders = {tuple(shuffled(50, seed, epoch).tolist()) for seed in range(8) for epoch in range(8)}
    assert len(orders) == 64


def test_the_order_is_the_rank_of_numpys_guaranteed_bit_stream():
    # The promise of NEP 19 covers the raw stream of PCG64, not Generator.permutation.
    raw = np.random.PCG64(np.random.SeedSequence([3, 5])).random_raw(10).tolist()
    assert [raw[index] for index in shuffled(10, 3, 5)] == sorted(raw)
