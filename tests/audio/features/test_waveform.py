"""Normalised waveforms against transformers' extractor."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import Wav2Vec2FeatureExtractor

from trainyard.audio.features.waveform import normalise_waveform

EXTRACTOR = Wav2Vec2FeatureExtractor(do_normalize=True, return_attention_mask=True)


def theirs(clips, samples):
    made = EXTRACTOR(clips, sampling_rate=16000, padding="max_length", max_length=samples, return_tensors="pt")
    return made.input_values


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.integers(2, 3000), min_size=1, max_size=5),
    st.sampled_from([1e-3, 0.1, 1.0]),
    st.sampled_from([0.0, 0.5, -5.0]),
    st.integers(0, 100),
)
def test_every_value_is_the_extractors(lengths, loudness, offset, seed):
    random = np.random.default_rng(seed)
    clips = [(loudness * (random.standard_normal(n) + offset)).astype(np.float32) for n in lengths]
    batch = torch.zeros(len(clips), 3000)
    for row, clip in zip(batch, clips, strict=True):
        row[: len(clip)] = torch.from_numpy(clip)
    got = normalise_waveform(batch, torch.tensor(lengths))
    assert got.dtype == torch.float32
    torch.testing.assert_close(got, theirs(clips, 3000), rtol=0, atol=1e-5)


def test_samples_after_the_signal_are_ignored():
    batch = torch.randn(3, 100, generator=torch.Generator().manual_seed(0))
    lengths = torch.tensor([40, 100, 1])
    noisy = normalise_waveform(batch, lengths)
    silent = normalise_waveform(batch * (torch.arange(100) < lengths[:, None]), lengths)
    assert torch.equal(noisy, silent)
    assert not noisy[0, 40:].any()


def test_without_lengths_all_is_signal():
    batch = torch.randn(2, 500, generator=torch.Generator().manual_seed(0)) * 0.3 + 0.1
    got = normalise_waveform(batch)
    torch.testing.assert_close(got, theirs(list(batch.numpy()), 500), rtol=0, atol=1e-5)
    assert got.mean(1).tolist() == pytest.approx([0, 0], abs=1e-6)


def test_silence_and_nothing_stay_zero():
    batch = torch.zeros(2, 100)
    assert not normalise_waveform(batch, torch.tensor([50, 0])).any()
    assert normalise_waveform(batch[:0], torch.tensor([], dtype=torch.int64)).shape == (0, 100)
