import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.utils.rnn import pad_sequence

from trainyard.text.sources import Tokens

ROWS = st.lists(st.lists(st.integers(0, 2**31 - 1), max_size=9), min_size=1, max_size=12)


def tokens(rows, pad_id=-7):
    flat = np.array([token for row in rows for token in row], dtype=np.int32)
    return Tokens(flat, np.cumsum([0, *map(len, rows)]), pad_id)


@given(ROWS, st.data())
def test_a_batch_is_what_torch_pads(rows, data):
    wanted = np.array(data.draw(st.lists(st.integers(0, len(rows) - 1), min_size=1, max_size=6)), dtype=np.int64)
    got = tokens(rows)(wanted)
    padded = pad_sequence(
        [torch.tensor(rows[index], dtype=torch.int64) for index in wanted], batch_first=True, padding_value=-7
    )
    assert got.dtype == torch.int64
    assert torch.equal(got, padded if padded.shape[1] else torch.full((len(wanted), 1), -7))


@given(ROWS, st.data())
def test_a_subset_numbers_anew(rows, data):
    keep = np.flatnonzero(data.draw(st.lists(st.booleans(), min_size=len(rows), max_size=len(rows)))).astype(np.int64)
    kept = tokens(rows).subset(keep)
    assert len(kept) == len(keep)
    np.testing.assert_array_equal(kept.lengths, [len(rows[index]) for index in keep])
    if len(keep):
        assert torch.equal(kept(np.arange(len(keep))), tokens(rows)(keep))


def test_no_items_are_a_batch_of_one_column():
    assert tokens([[1, 2]])(np.empty(0, dtype=np.int64)).shape == (0, 1)


@pytest.mark.parametrize("offsets", [[0, 2], [1, 3], [0, 3, 2, 3], []])
def test_offsets_that_do_not_cut_the_tokens_are_refused(offsets):
    with pytest.raises(ValueError, match="3 tokens"):
        Tokens(np.array([1, 2, 3]), np.array(offsets, dtype=np.int64), 0)
