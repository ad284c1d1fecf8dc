import dataclasses
import time

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trainyard.audio.augment.seeds import item_seeds
from trainyard.audio.augment.spectrogram import SpecAugment
from trainyard.config.schema import SpectrogramAugmentations
from trainyard.errors import ConfigError

EVERYTHING = SpecAugment(time_masks=2, freq_masks=2, time_shift=0.2, freq_stretch=0.15)
share = st.floats(0, 1)


def features(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def seeds(count, epoch=0):
    return item_seeds(0, epoch, np.arange(count))


def hidden(changed, given):
    """Values changed by masks alone; random features never equal their mean."""
    return changed != given


def test_its_settings_are_those_of_the_configuration():
    ours = {field.name: field.default for field in dataclasses.fields(SpecAugment)}
    assert ours == dataclasses.asdict(SpectrogramAugmentations())


@pytest.mark.parametrize(
    "nothing",
    [
        SpecAugment(),
        SpecAugment(time_masks=3, time_width=0.0, freq_masks=3, freq_width=0.01),  # narrower than one value
        SpecAugment(time_masks=3, freq_masks=3, max_masked=0.0),
        SpecAugment(time_shift=0.01),
    ],
)
def test_nothing_to_change_gives_the_same_tensor(nothing):
    given = features(2, 1, 16, 20)
    assert nothing(given, seeds(2)) is given


def test_an_empty_batch_stays():
    given = features(0, 1, 16, 20)
    assert EVERYTHING(given, seeds(0)) is given


@settings(deadline=None, max_examples=150)
@given(
    st.integers(0, 4),
    share,
    st.integers(0, 4),
    share,
    share,
    st.integers(1, 24),
    st.integers(1, 30),
    st.integers(0, 2**64 - 1),
)
def test_masks_never_hide_more_than_the_bound(n_time, time_width, n_freq, freq_width, bound, mels, frames, seed):
    change = SpecAugment(n_time, time_width, n_freq, freq_width, max_masked=bound)
    given = features(3, 1, mels, frames).double()
    changed = change(given, np.array([seed, seed ^ 1, 7], np.uint64))
    for before, after in zip(given[:, 0], changed[:, 0], strict=True):
        masked = hidden(after, before)
        assert int(masked.sum()) <= bound * mels * frames
        # Whole rows and whole columns, and nothing else.
        rows, columns = masked.all(dim=1), masked.all(dim=0)
        assert torch.equal(masked, rows[:, None] | columns)
        if not n_freq or not n_time:
            assert int(rows.sum()) <= n_freq * freq_width * mels or bool(columns.all())
            assert int(columns.sum()) <= n_time * time_width * frames or bool(rows.all())


def test_the_bound_is_used_up_where_masks_would_pass_it():
    given = features(200, 1, 20, 50)
    changed = SpecAugment(time_masks=3, time_width=1.0, freq_masks=3, freq_width=1.0, max_masked=0.3)(given, seeds(200))
    shares = hidden(changed, given).flatten(1).double().mean(dim=1)
    assert float(shares.max()) <= 0.3
    assert float(shares.median()) > 0.27


def test_without_the_bound_in_the_way_widths_and_places_are_uniform():
    count, frames = 4000, 40
    given = features(count, 1, 2, frames)
    masked = hidden(SpecAugment(time_masks=1, time_width=0.25, max_masked=1.0)(given, seeds(count)), given)[:, 0, 0]
    widths = masked.sum(dim=1)
    counts = np.bincount(widths.numpy(), minlength=11)
    assert len(counts) == 11  # 0 to 10 frames
    assert ((counts - count / 11) ** 2 / (count / 11)).sum() < 35  # chi-square with 10 degrees: 1 in 8,000
    widest = masked[widths == 10].int()
    starts = np.bincount(widest.argmax(dim=1).numpy(), minlength=31)
    assert len(starts) == 31  # to the last place where it fits
    assert (starts > 0).all()
    edges = (masked[:, 1:] != masked[:, :-1]).sum(dim=1)
    assert int(edges.max()) <= 2  # in one piece


def test_masked_cells_get_the_mean_of_their_item():
    given = features(6, 1, 16, 30) + torch.arange(6.0).reshape(6, 1, 1, 1)
    changed = SpecAugment(time_masks=2, time_width=0.4, freq_masks=2, freq_width=0.4)(given, seeds(6))
    masked = hidden(changed, given)
    assert masked.flatten(1).any(dim=1).all()
    means = given.mean(dim=(1, 2, 3), keepdim=True).expand_as(given)
    torch.testing.assert_close(changed[masked], means[masked])


def test_a_time_shift_moves_frames_and_repeats_those_at_the_edge():
    given = features(40, 1, 4, 20)
    changed = SpecAugment(time_shift=0.25)(given, seeds(40))
    found = set()
    for before, after in zip(given[:, 0].numpy(), changed[:, 0].numpy(), strict=True):
        fits = []
        for shift in range(-5, 6):
            middle = before[:, max(-shift, 0) : 20 - max(shift, 0)]
            wanted = np.pad(middle, ((0, 0), (max(shift, 0), max(-shift, 0))), mode="edge")
            if np.allclose(wanted, after, atol=1e-6):
                fits.append(shift)
        assert len(fits) == 1
        found.add(fits[0])
    assert len(found) > 8  # of 11


def test_a_stretch_interpolates_along_the_mels_around_the_lowest():
    mels = 32
    ramp = torch.arange(mels, dtype=torch.float64).reshape(1, 1, mels, 1).expand(50, 1, mels, 7)
    factors = []
    for after in SpecAugment(freq_stretch=0.2)(ramp, seeds(50))[:, 0].numpy():
        # On a ramp of mel indices, mel m has the index it was taken from: m / factor.
        factor = 1 / after[1, 0]
        assert 0.8 <= factor <= 1.2
        np.testing.assert_allclose(after, np.minimum(np.arange(mels) / factor, mels - 1)[:, np.newaxis].repeat(7, 1))
        factors.append(factor)
    assert min(factors) < 0.85
    assert max(factors) > 1.15

    given = features(50, 1, mels, 7).double()
    changed = SpecAugment(freq_stretch=0.2)(given, seeds(50))
    for before, after, factor in zip(given[:, 0].numpy(), changed[:, 0].numpy(), factors, strict=True):
        for frame in range(7):
            places = np.arange(mels) / factor
            np.testing.assert_allclose(after[:, frame], np.interp(places, np.arange(mels), before[:, frame]))


@pytest.mark.parametrize("shape", [(1, 16, 30), (16, 30), (3, 16, 30)], ids=["spectrogram", "whisper", "channels"])
def test_an_item_becomes_the_same_in_any_batch(shape):
    given = features(9, *shape)
    together = EVERYTHING(given, seeds(9))
    assert together.shape == given.shape
    order = torch.tensor([4, 0, 8])
    assert torch.equal(EVERYTHING(given[order], seeds(9)[order.numpy()]), together[order])
    for index in range(9):
        assert torch.equal(EVERYTHING(given[index : index + 1], seeds(9)[index : index + 1])[0], together[index])
    assert not torch.equal(EVERYTHING(given, seeds(9, epoch=1)), together)


def test_whisper_features_change_as_spectrograms_do():
    given = features(5, 16, 30)
    assert torch.equal(EVERYTHING(given, seeds(5)), EVERYTHING(given[:, None], seeds(5))[:, 0])


def test_channels_change_alike():
    one = features(5, 1, 16, 30)
    both = EVERYTHING(one.expand(5, 2, 16, 30), seeds(5))
    assert torch.equal(both[:, 0], both[:, 1])


@pytest.mark.parametrize(
    "change",
    [
        EVERYTHING,
        SpecAugment(time_masks=1),
        SpecAugment(freq_masks=1),
        SpecAugment(time_shift=0.2),
        SpecAugment(freq_stretch=0.2),
    ],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_the_input_is_not_changed(change, dtype):
    given = features(4, 1, 16, 30).to(dtype)
    before = given.clone()
    changed = change(given, seeds(4))
    assert torch.equal(given, before)
    assert changed.dtype == dtype
    assert changed.data_ptr() != given.data_ptr()


def test_one_mel_and_one_frame_survive():
    for shape in ((2, 1, 1, 1), (2, 1, 1, 9), (2, 1, 9, 1)):
        wild = SpecAugment(2, 1.0, 2, 1.0, max_masked=1.0, time_shift=1.0, freq_stretch=0.5)
        assert torch.isfinite(wild(features(*shape), seeds(2))).all()


def test_no_gradient_is_kept():
    given = features(2, 1, 16, 20).requires_grad_()
    assert not EVERYTHING(given, seeds(2)).requires_grad


def test_every_value_out_of_range_is_named():
    with pytest.raises(ConfigError) as caught:
        SpecAugment(time_masks=-1, max_masked=1.5, freq_stretch=1.0, time_width=float("nan"))
    assert [key.removeprefix("augmentations.spectrogram.") for key in caught.value.keys] == [
        "time_masks",
        "time_width",
        "max_masked",
        "freq_stretch",
    ]


def test_a_seed_for_each_item_is_needed():
    with pytest.raises(ValueError, match="3 seeds for features of shape"):
        EVERYTHING(features(2, 1, 16, 20), seeds(3))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_makes_the_same_of_it():
    given = features(4, 1, 16, 30)
    on_gpu = EVERYTHING(given.cuda(), seeds(4))
    assert on_gpu.is_cuda
    torch.testing.assert_close(on_gpu.cpu(), EVERYTHING(given, seeds(4)))


def test_it_is_cheap():
    given, own = features(64, 1, 64, 100), seeds(64)
    took_s = []
    for _ in range(30):
        start = time.perf_counter()
        EVERYTHING(given, own)
        took_s.append(time.perf_counter() - start)
    assert min(took_s) < 5e-3  # 0.8 ms on an idle core; a loop over the items takes 20
