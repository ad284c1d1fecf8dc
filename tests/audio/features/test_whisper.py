"""Whisper's features against transformers' extractor, both of its computations."""

import numpy as np
import pytest
import torch
from transformers import WhisperFeatureExtractor

from trainyard.audio.features.whisper import WhisperFeatures
from trainyard.errors import ConfigError

TOLERANCE = 1e-5


def sounds(samples):
    time = np.arange(samples) / 16000
    noise = np.random.default_rng(0).standard_normal(samples)
    envelope = np.clip(np.sin(2 * np.pi * 3 * time), 0, 1)
    voiced = sum(np.sin(2 * np.pi * 140 * n * time) / n for n in range(1, 30))
    found = [0.1 * noise, 0 * time, 0.2 * voiced * envelope + 1e-3 * noise, np.sin(2 * np.pi * 440 * time)]
    found += [0.9 * np.sin(2 * np.pi * 50 * time) + 1e-4 * noise, np.sin(2 * np.pi * 900 * time**2), 1e-5 * noise]
    return np.stack(found).astype(np.float32)


@pytest.mark.parametrize("n_mels", [80, 128])
@pytest.mark.parametrize(("seconds", "length"), [(1, 1.0), (2, 0.7), (1, 1.5), (2, 1.00003)])
def test_every_value_is_the_extractors(n_mels, seconds, length):
    batch = sounds(int(length * 16000))
    features = WhisperFeatures(n_mels, seconds)
    got = features(torch.from_numpy(batch))
    assert got.dtype == torch.float32
    assert got.is_contiguous()
    assert got.shape == (len(batch), n_mels, features.frames) == (len(batch), n_mels, 100 * seconds)

    extractor = WhisperFeatureExtractor(feature_size=n_mels, chunk_length=seconds)
    padded = np.zeros((len(batch), seconds * 16000), np.float32)
    padded[:, : batch.shape[1]] = batch[:, : seconds * 16000]
    in_double = torch.from_numpy(extractor._np_extract_fbank_features(padded, "cpu"))
    torch.testing.assert_close(got, in_double, rtol=0, atol=TOLERANCE)

    theirs = extractor(list(batch), sampling_rate=16000, return_tensors="pt").input_features
    torch.testing.assert_close(got[:3], theirs[:3], rtol=0, atol=TOLERANCE)
    # For tones, the extractor's own single-precision result differs from its double-precision result by more.
    assert (got - theirs).abs().max() <= (theirs - in_double).abs().max() + TOLERANCE


def test_clips_of_half_a_second_more():
    features = WhisperFeatures(80, 1.5)
    assert features.frames == 150
    batch = torch.from_numpy(sounds(24000))
    torch.testing.assert_close(
        features(batch)[:1, :, :90], WhisperFeatures(80, 3)(batch)[:1, :, :90], rtol=0, atol=1e-6
    )


def test_a_clip_does_not_depend_on_its_batch():
    batch, features = torch.from_numpy(sounds(16000)), WhisperFeatures(80, 1)
    whole = features(batch)
    assert all(torch.equal(features(batch[at : at + 1])[0], whole[at]) for at in range(len(batch)))
    assert features(batch[:0]).shape == (0, 80, 100)


@pytest.mark.parametrize("seconds", [0.0, -1.0, 30.02, 0.03, 1.005, float("nan")])
def test_lengths_that_whisper_does_not_support(seconds):
    with pytest.raises(ConfigError) as raised:
        WhisperFeatures(80, seconds)
    assert raised.value.keys == ("data.clip_seconds",)
    assert "0.02" in raised.value.problems[0]


def test_other_numbers_of_bands():
    with pytest.raises(ConfigError) as raised:
        WhisperFeatures(64, 1)
    assert raised.value.keys == ("n_mels",)
