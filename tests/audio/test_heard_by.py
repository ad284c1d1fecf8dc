"""What an export says of the sound that a model hears: its own words, run by the libraries they name."""

from __future__ import annotations

import json

import librosa
import numpy as np
import pytest
import torch
import transformers

from trainyard.audio.load import frontend_of, heard_by
from trainyard.config.compose import compose


@pytest.mark.parametrize(
    "words",
    [
        ("spectrogram", "data.fmax=6000"),
        ("spectrogram", "data.normalise=none", "data.n_fft=512", "data.hop_length=100", "data.n_mels=41"),
        ("vocalizations", "data.clip_seconds=2"),
        ("vocalizations", "model=wav2vec2", "model.size=mini", "model.pretrained=false", "data.clip_seconds=1.5"),
    ],
)
def test_the_description_run_as_it_stands_gives_the_features(words):
    config = compose(words[0], words[1:])
    told = json.loads(json.dumps(heard_by(config, frontend_of(config).item_shape)))
    samples = round(told["clip_seconds"] * told["sample_rate"])
    clip = (0.1 * np.random.default_rng(0).standard_normal(samples)).astype(np.float32)
    frontend = frontend_of(config)
    want = frontend.compute(torch.from_numpy(clip)[None], torch.tensor([samples]))[0].numpy()
    if told["features"] == "waveform":
        assert told["computed_as"] == "the clip minus its mean, divided by sqrt(its variance + 1e-7)"
        got = (clip - clip.mean()) / np.sqrt(clip.var() + 1e-7)
    elif told["features"] == "whisper":
        extractor = eval(told["computed_as"], {"transformers": transformers, **told})
        got = extractor(clip, sampling_rate=told["sample_rate"], return_tensors="np")["input_features"][0]
    else:
        decibels = eval(told["computed_as"].partition(";")[0], {"librosa": librosa, "clip": clip, **told})
        got = (decibels - decibels.mean()) / decibels.std() if told["normalise"] == "clip" else decibels
        got = got[None]
    assert got.shape == want.shape
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-3)
