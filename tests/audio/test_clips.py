import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainyard.audio.clips import CROPS, PADS, fit, is_silent, signal_length

counts = st.integers(1, 40)
draws = st.floats(0, 1, exclude_max=True)


def ramp(count):
    return np.arange(1, count + 1, dtype=np.float32)


@given(counts, counts, st.sampled_from(CROPS), st.sampled_from(PADS), draws)
def test_the_result_has_the_length_and_the_samples_in_order(count, length, crop, pad, draw):
    fitted = fit(ramp(count), length, crop, pad, draw)
    assert fitted.dtype == np.float32
    assert fitted.shape == (length,)
    signal = fitted[fitted > 0]
    if pad == "tile" and count < length:
        np.testing.assert_array_equal(fitted, (np.arange(length) % count) + 1)
    else:
        assert len(signal) == min(count, length)
        np.testing.assert_array_equal(np.diff(signal), 1)


@given(counts, counts, st.sampled_from(PADS))
def test_a_mask_of_the_signal_length_includes_all_of_the_signal_and_no_padding_after_it(count, length, pad):
    fitted = fit(ramp(count), length, "start", pad)
    allowed = signal_length(count, length, pad)
    assert not fitted[allowed:].any()
    assert fitted[allowed - 1] > 0
    if pad == "end":
        assert allowed == min(count, length)
    if pad == "tile":
        assert allowed == length


@given(counts, counts)
def test_centred_padding_and_cropping_differ_by_one_sample_at_most_on_the_two_sides(count, length):
    fitted = fit(ramp(count), length, "center", "center")
    if count < length:
        first = int(np.flatnonzero(fitted)[0])
        after = length - first - count
        assert after - first in (0, 1)
    else:
        before, after = fitted[0] - 1, count - fitted[-1]
        assert after - before in (0, 1)


@given(st.integers(1, 20), st.integers(0, 20))
def test_equal_parts_of_the_draw_are_each_place_a_random_crop_can_begin(length, spare):
    places = spare + 1
    begins = [fit(ramp(length + spare), length, "random", "end", (n + 0.5) / places)[0] - 1 for n in range(places)]
    assert begins == list(range(places))


def test_the_ends_of_the_draw_are_the_ends_of_the_recording():
    assert fit(ramp(10), 4, "random", "end", 0.0).tolist() == [1, 2, 3, 4]
    assert fit(ramp(10), 4, "random", "end", np.nextafter(1, 0)).tolist() == [7, 8, 9, 10]
    assert fit(ramp(4097), 1, "random", "end", float(np.nextafter(1, 0))).tolist() == [4097]


def test_worked_examples():
    assert fit(ramp(3), 8, pad="end").tolist() == [1, 2, 3, 0, 0, 0, 0, 0]
    assert fit(ramp(3), 8, pad="center").tolist() == [0, 0, 1, 2, 3, 0, 0, 0]
    assert fit(ramp(3), 8, pad="tile").tolist() == [1, 2, 3, 1, 2, 3, 1, 2]
    assert fit(ramp(6), 3, "start").tolist() == [1, 2, 3]
    assert fit(ramp(6), 3, "center").tolist() == [2, 3, 4]
    assert [signal_length(3, 8, pad) for pad in PADS] == [3, 5, 8]
    assert [signal_length(9, 8, pad) for pad in PADS] == [8, 8, 8]


@pytest.mark.parametrize("length", [3, 5, 8])
@pytest.mark.parametrize("pad", PADS)
def test_the_result_shares_nothing_with_the_waveform(length, pad):
    waveform = ramp(5)
    fit(waveform, length, "start", pad)[:] = 9
    np.testing.assert_array_equal(waveform, ramp(5))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((ramp(5), 3, "middle"), "crop is one of"),
        ((ramp(5), 3, "start", "front"), "pad one of"),
        ((ramp(0), 3), "cannot fit 0 samples"),
        ((ramp(5), 0), "length 0"),
        ((ramp(5), 3, "random"), "needs offset_draw"),
        ((ramp(5), 3, "random", "end", 1.0), "needs offset_draw"),
        ((ramp(5), 3, "random", "end", float("nan")), "needs offset_draw"),
    ],
)
def test_what_cannot_be_fitted_is_refused(arguments, words):
    with pytest.raises(ValueError, match=words):
        fit(*arguments)
    with pytest.raises(ValueError, match="pad='front'"):
        signal_length(5, 3, "front")


def test_silence_is_below_minus_80_dbfs_whatever_the_constant():
    rng = np.random.default_rng(0)
    noise = rng.uniform(-1, 1, 1000).astype(np.float32)
    assert is_silent(np.zeros(100, np.float32))
    assert is_silent(np.zeros(0, np.float32))
    assert is_silent(np.full(100, -1 / 128, np.float32))
    assert is_silent(0.25 + noise * 10 ** (-86 / 20))
    assert not is_silent(noise * 10 ** (-74 / 20))
    one_click = np.zeros(1000, np.float32)
    one_click[500] = 0.001
    assert not is_silent(one_click)
