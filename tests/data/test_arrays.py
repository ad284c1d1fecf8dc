import numpy as np
import pytest
import torch

from trainyard.data.arrays import InMemory, channels_first, row_digests


@pytest.mark.parametrize(
    ("shape", "wanted"),
    [
        ((5, 8, 9), (5, 1, 8, 9)),
        ((5, 8, 9, 3), (5, 3, 8, 9)),
        ((5, 3, 8, 9), (5, 3, 8, 9)),
        ((5, 3, 8, 3), (5, 3, 3, 8)),
        ((5, 28, 28, 1), (5, 1, 28, 28)),
        ((5, 17), (5, 17)),
    ],
)
def test_channels_come_first(shape, wanted):
    assert channels_first(np.zeros(shape)).shape == wanted


def test_other_shapes_are_refused():
    with pytest.raises(ValueError, match="5 dimensions"):
        channels_first(np.zeros((1, 2, 3, 4, 5)))


def test_digests_are_equal_exactly_for_equal_rows():
    rows = np.array([[0, 1], [0, 1], [1, 0]], dtype=np.uint8)
    one, two, three = row_digests(rows)
    assert one == two != three
    assert len(one) == 32
    assert row_digests(rows.astype(np.int8))[0] != one
    assert row_digests(rows.reshape(3, 2, 1))[0] != one
    assert row_digests(np.asfortranarray(rows)) == (one, two, three)


def test_eight_bits_give_the_same_floats_kept_small_or_not():
    items = torch.arange(256, dtype=torch.uint8).reshape(64, 1, 2, 2)
    indices = np.array([3, 0, 63, 3])
    small, large = InMemory(items), InMemory(items, float_limit_bytes=0)
    assert small.items.dtype == torch.float32
    assert large.items.dtype == torch.uint8
    want = items.numpy()[indices].astype(np.float32) / np.float32(255)
    np.testing.assert_array_equal(small(indices).numpy(), want)
    np.testing.assert_array_equal(large(indices).numpy(), want)


def test_a_subset_is_numbered_anew():
    fetch = InMemory(torch.arange(10.0).reshape(10, 1))
    assert fetch.subset(np.array([7, 2]))(np.array([1, 0, 1])).flatten().tolist() == [2, 7, 2]
    assert fetch.subset(np.arange(10)) is fetch
