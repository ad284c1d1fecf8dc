"""The description of how recordings become a model's input: its own expressions, run by the libraries they name."""

from __future__ import annotations

import json

import librosa
import numpy as np
import pytest
import torch
import transformers

from trainyard.audio.kind import frontend_of, preprocessing
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
    described = json.loads(json.dumps(preprocessing(config)))
    samples = round(described["clip_seconds"] * described["sample_rate"])
    clip = (0.1 * np.random.default_rng(0).standard_normal(samples)).astype(np.float32)
    frontend = frontend_of(described)
    assert tuple(described["item_shape"]) == frontend.item_shape
    want = frontend.compute(torch.from_numpy(clip)[None], torch.tensor([samples]))[0].numpy()
    if described["features"] == "waveform":
        assert described["computed_as"] == "the clip minus its mean, divided by sqrt(its variance + 1e-7)"
        got = (clip - clip.mean()) / np.sqrt(clip.var() + 1e-7)
    elif described["features"] == "whisper":
        extractor = eval(described["computed_as"], {"transformers": transformers, **described})
        got = extractor(clip, sampling_rate=described["sample_rate"], return_tensors="np")["input_features"][0]
    else:
        decibels = eval(described["computed_as"].partition(";")[0], {"librosa": librosa, "clip": clip, **described})
        got = (decibels - decibels.mean()) / decibels.std() if described["normalise"] == "clip" else decibels
        got = got[None]
    assert got.shape == want.shape
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-3)


def test_the_parameters_tell_settings_apart():
    """The cache of features is keyed by them, apart from the length of the clip and its sample rate."""
    described = preprocessing(compose("spectrogram"))
    changes = {"n_fft": 512, "hop_length": 100, "n_mels": 40, "fmin": 1.0, "fmax": 7000.0, "top_db": None}
    found = [frontend_of(described | {name: value}).parameters for name, value in changes.items()]
    found += [frontend_of(described | {"normalise": "none"}).parameters, frontend_of(described).parameters]
    whisper = preprocessing(compose("vocalizations"))
    found += [frontend_of(whisper | {"n_mels": mels}).parameters for mels in (80, 128)]
    assert all(a != b for at, a in enumerate(found) for b in found[:at])
