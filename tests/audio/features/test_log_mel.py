"""Log-mel spectrograms against librosa, for all parameters."""

import threading
import warnings

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from trainyard.audio.features.log_mel import LogMel
from trainyard.audio.features.mel_power import MelPower, mel_filters
from trainyard.errors import ConfigError

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # deprecations in librosa's imports
    import librosa

TOLERANCE_DB = 1e-3


def librosa_db(waveform, sample_rate, n_fft, hop_length, n_mels, fmin=0.0, fmax=None, top_db=80.0):
    power = librosa.feature.melspectrogram(
        y=waveform,
        sr=sample_rate,
        n_fft=n_fft,
        hop_length=hop_length,
        n_mels=n_mels,
        fmin=fmin,
        fmax=fmax,
        center=True,
        pad_mode="constant",
        power=2.0,
        htk=False,
        norm="slaney",
    )
    return librosa.power_to_db(power, ref=1.0, amin=1e-10, top_db=top_db)


def sounds(sample_rate, seconds=0.5):
    """Sounds that tax the precision: silence, full-scale hum over faint noise, tones in and out of the bands."""
    time = np.arange(int(sample_rate * seconds)) / sample_rate
    noise = np.random.default_rng(0).standard_normal(len(time))
    found = {
        "noise": 0.1 * noise,
        "silence": 0 * time,
        "click": np.eye(1, len(time), 1000)[0],
        "hum over faint noise": 0.9 * np.sin(2 * np.pi * 50 * time) + 1e-4 * noise,
        "tone": np.sin(2 * np.pi * 440 * time),
        "high tone": np.sin(2 * np.pi * 0.47 * sample_rate * time),
        "sweep": np.sin(2 * np.pi * (50 + 0.2 * sample_rate / seconds * time) * time),
        "decay": np.sin(2 * np.pi * 300 * time) * np.exp(-20 * time),
        "offset": 0.5 + 1e-4 * noise,
        "faint": 1e-5 * noise,
        "too loud": 300 * noise,
        "half silence": noise * (time < seconds / 2),
        "16 bits": np.round(100 * np.sin(2 * np.pi * 200 * time) + noise) / 32768,
    }
    return {name: sound.astype(np.float32) for name, sound in found.items()}


SETTINGS = [
    (16000, 400, 160, 64, 0.0, None, 80.0),
    (16000, 400, 160, 64, 0.0, None, None),
    (16000, 512, 128, 40, 300.0, 3400.0, 80.0),
    (16000, 1024, 320, 128, 50.0, 8000.0, 80.0),
    (16000, 2048, 512, 128, 0.0, None, 60.0),
    (16000, 401, 100, 20, 0.0, None, 80.0),
    (16000, 400, 600, 16, 1000.0, 5000.0, None),
    (8000, 256, 80, 40, 0.0, None, 80.0),
    (8000, 200, 80, 23, 20.0, 3900.0, None),
    (22050, 2048, 512, 128, 0.0, None, 80.0),
    (22050, 1024, 256, 80, 0.0, 8000.0, None),
]


@pytest.mark.parametrize("parameters", SETTINGS)
def test_every_value_is_librosas(parameters):
    sample_rate, n_fft, hop_length, n_mels, fmin, fmax, top_db = parameters
    log_mel = LogMel(sample_rate, n_fft, hop_length, n_mels, fmin, fmax, top_db, "none")
    named = sounds(sample_rate)
    batch = torch.from_numpy(np.stack(list(named.values())))
    got = log_mel(batch)
    assert got.dtype == torch.float32
    assert got.shape == (len(named), 1, n_mels, log_mel.frames(batch.shape[1]))
    for (name, sound), ours in zip(named.items(), got[:, 0].numpy(), strict=True):
        want = librosa_db(sound, *parameters)
        np.testing.assert_allclose(ours, want, rtol=0, atol=TOLERANCE_DB, err_msg=name)


def test_single_precision_alone_would_not_do(monkeypatch):
    """The frames that are recomputed are those that the tolerance needs."""
    monkeypatch.setattr("trainyard.audio.features.mel_power._DOUBTFUL", 0.0)
    sound = sounds(16000)["hum over faint noise"]
    got = LogMel(16000, normalise="none", fmin=300.0, n_fft=1024)(torch.from_numpy(sound)[None])[0, 0].numpy()
    assert np.abs(got - librosa_db(sound, 16000, 1024, 160, 64, 300.0)).max() > TOLERANCE_DB


@pytest.mark.parametrize("top_db", [1.0, 80.0, None])
def test_a_dynamic_range_below_a_loud_hum(top_db):
    """All bands are so far below the hum that single precision makes even the largest inaccurate."""
    time = np.arange(16000) / 16000
    hum = (np.hanning(16000) ** 4 * np.sin(2 * np.pi * 50 * time)).astype(np.float32)
    got = LogMel(16000, fmin=1000.0, top_db=top_db, normalise="none")(torch.from_numpy(hum)[None])[0, 0].numpy()
    want = librosa_db(hum, 16000, 400, 160, 64, 1000.0, None, top_db)
    np.testing.assert_allclose(got, want, rtol=0, atol=TOLERANCE_DB)


def test_only_what_needs_it_is_computed_again(monkeypatch):
    """Ordinary sound, the silence after it, and values below the dynamic range are not recomputed."""
    again = []
    transform = MelPower._transform

    def spy(self, frames, dtype):
        if dtype == torch.float64:
            again.append(len(frames))
        return transform(self, frames, dtype)

    monkeypatch.setattr(MelPower, "_transform", spy)
    named = sounds(16000)
    low_passed = np.fft.irfft(np.fft.rfft(named["noise"]) * (np.arange(4001) < 3500)).astype(np.float32)
    log_mel = LogMel(16000)
    for name, sound, most in [
        ("noise", named["noise"], 0),
        ("padded", np.pad(named["noise"], (0, 8000)), 1),  # the frame that the noise ends in
        ("silence", named["silence"], 0),
        ("low-passed", low_passed, 25),  # of 51: only where a band lies between 71 dB below its frame and 80 below all
        ("hum over faint noise", named["hum over faint noise"], 51),
    ]:
        again.clear()
        log_mel(torch.from_numpy(sound)[None])
        assert sum(again) <= most, name
        assert bool(again) == (most > 1), name


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_parameters(data):
    sample_rate = data.draw(st.sampled_from([8000, 16000, 22050]))
    n_fft = data.draw(st.integers(64, 1500))
    fmin = data.draw(st.floats(0, 1500))
    fmax = data.draw(st.none() | st.floats(fmin + 200, sample_rate / 2))
    arguments = (
        sample_rate,
        n_fft,
        data.draw(st.integers(20, 800)),
        data.draw(st.integers(1, 80)),
        fmin,
        fmax,
        data.draw(st.none() | st.floats(1, 120)),
    )
    try:
        log_mel = LogMel(*arguments, "none")
    except ConfigError as error:
        assume(error.keys != ("data.n_mels", "data.n_fft"))  # bands that contain no frequency
        raise
    samples = data.draw(st.integers(n_fft, 4000))
    random = np.random.default_rng(samples)
    sound = random.standard_normal(samples) * random.choice([0, 1e-4, 0.1, 1]) + random.choice([0, 1])
    tone = data.draw(st.floats(0, sample_rate / 2))
    sound += random.choice([0, 1]) * np.sin(2 * np.pi * tone / sample_rate * np.arange(samples))
    sound = sound.astype(np.float32)
    want = librosa_db(sound, *arguments)
    got = log_mel(torch.from_numpy(sound)[None])[0, 0].numpy()
    assert got.shape == want.shape == (arguments[3], log_mel.frames(samples))
    np.testing.assert_allclose(got, want, rtol=0, atol=TOLERANCE_DB)


@pytest.mark.parametrize("sample_rate", [8000, 16000, 22050, 44100])
@pytest.mark.parametrize(("n_fft", "n_mels"), [(256, 20), (400, 40), (1023, 64), (2048, 128)])
@pytest.mark.parametrize(("fmin", "fmax"), [(0.0, None), (50.0, 3800.0), (1200.0, 4000.0)])
def test_the_filters_are_librosas(sample_rate, n_fft, n_mels, fmin, fmax):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about empty filters
        want = librosa.filters.mel(sr=sample_rate, n_fft=n_fft, n_mels=n_mels, fmin=fmin, fmax=fmax)
    got = mel_filters(sample_rate, n_fft, n_mels, fmin, fmax)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-8)


@pytest.fixture
def threads():
    """Sets PyTorch's threads for one test."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


# 65, 41, 9 and 1 leave one filter in the last group; with 1, each clip has one frame
ALONE = [
    (400, 160, 64),
    (400, 160, 65),
    (256, 100, 41),
    (401, 333, 9),
    (400, 160, 1),
    (1024, 100, 128),
    (400, 8000, 65),
]


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize(("n_fft", "hop_length", "n_mels"), ALONE)
def test_a_clip_does_not_depend_on_its_batch_nor_on_threads(threads, n_fft, hop_length, n_mels, count, monkeypatch):
    batch = torch.from_numpy(np.stack(list(sounds(16000, 0.4).values())))
    power = MelPower(mel_filters(16000, n_fft, n_mels), n_fft, hop_length, pad_mode="constant", range_db=80.0)
    threads(1)
    alone = torch.cat([power(clip[None]) for clip in batch])
    threads(count)
    together = []
    framed = MelPower._framed
    monkeypatch.setattr(MelPower, "_framed", lambda self, clips: together.append(len(clips)) or framed(self, clips))
    whole = power(batch)
    assert sum(together) == len(batch)
    assert (max(together) > 1) == (power.frames(batch.shape[1]) > 1), "the test is of clips transformed together"
    assert torch.equal(whole, alone)
    assert torch.equal(power(batch.flip(0)).flip(0), alone)
    assert torch.equal(power(batch[1:6]), alone[1:6])
    assert torch.equal(power(batch.T.contiguous().T), alone)
    assert torch.get_num_threads() == count


@pytest.mark.parametrize("main", [True, False])
def test_an_error_in_any_thread_is_raised_and_restores_the_number_of_threads(threads, monkeypatch, main):
    both_at_work = threading.Barrier(2)
    transform = MelPower._transform
    first = threading.local()

    def fault(*arguments):
        if not hasattr(first, "done"):
            first.done = True
            both_at_work.wait(30)
            if (threading.current_thread() is threading.main_thread()) == main:
                raise MemoryError
        return transform(*arguments)

    monkeypatch.setattr(MelPower, "_transform", fault)
    threads(2)
    with pytest.raises(MemoryError):
        LogMel(16000)(torch.zeros(4, 1600))
    assert torch.get_num_threads() == 2


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_nan_sample_affects_its_own_frames_alone(bad):
    batch = torch.from_numpy(np.stack(list(sounds(16000).values())))
    log_mel = LogMel(16000, normalise="none")
    right, (clip, at) = log_mel(batch), (0, 4000)
    batch[clip, at] = bad
    got = log_mel(batch)
    centres = torch.arange(got.shape[-1]) * 160  # the middles of the frames
    assert torch.equal(got[clip, 0].isfinite().all(0), (centres - at).abs() >= 200)
    others = torch.arange(len(batch)) != clip
    assert torch.equal(got[others], right[others])


def test_an_accelerators_way_is_the_same():
    """The code for accelerators, a whole batch in double precision, run on the CPU."""
    batch = torch.from_numpy(np.stack(list(sounds(16000).values())))
    power = MelPower(mel_filters(16000, 400, 64), 400, 160, pad_mode="constant", range_db=80.0)
    frames = torch.nn.functional.pad(batch, (200, 200)).unfold(1, 400, 160)
    got = 10 * power._of_batch(frames).log10()
    torch.testing.assert_close(got, LogMel(16000, normalise="none")(batch)[:, 0], rtol=0, atol=TOLERANCE_DB)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an accelerator")
def test_on_an_accelerator():
    batch = torch.from_numpy(np.stack(list(sounds(16000).values())))
    log_mel = LogMel(16000, normalise="none")
    got = log_mel(batch.cuda())
    assert got.is_cuda
    torch.testing.assert_close(got.cpu(), log_mel(batch), rtol=0, atol=TOLERANCE_DB)


def test_autocast_does_not_lower_the_precision():
    batch = torch.from_numpy(np.stack(list(sounds(16000).values())))
    log_mel = LogMel(16000)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(log_mel(batch), log_mel(batch))
        found = log_mel(batch)
    assert torch.equal(found, log_mel(batch))


def test_normalised_clips_have_mean_0_and_deviation_1():
    named = sounds(16000)
    batch = torch.from_numpy(np.stack(list(named.values())))
    decibels = LogMel(16000, normalise="none")(batch).double().flatten(1)
    normalised = LogMel(16000, normalise="clip")(batch).flatten(1)
    for name, before, after in zip(named, decibels, normalised, strict=True):
        if name == "silence":
            assert not after.any()
            continue
        assert float(after.mean()) == pytest.approx(0, abs=1e-5), name
        assert float(after.std(correction=0)) == pytest.approx(1, abs=1e-5), name
        torch.testing.assert_close(
            after.double(), (before - before.mean()) / before.std(correction=0), atol=1e-4, rtol=0
        )


def test_the_dynamic_range_is_each_clips_own():
    loud = sounds(16000)["noise"]
    batch = torch.from_numpy(np.stack([loud, loud * 1e-4]))
    got = LogMel(16000, top_db=40.0, normalise="none")(batch)
    for clip in got:
        assert float(clip.max() - clip.min()) <= 40 + 1e-4
    assert float(got[0].max() - got[1].max()) == pytest.approx(80, abs=0.01)


def test_an_empty_batch():
    log_mel = LogMel(16000)
    assert log_mel(torch.empty(0, 1600)).shape == (0, 1, 64, log_mel.frames(1600))


@pytest.mark.parametrize(
    ("arguments", "keys", "remedies"),
    [
        ({"fmax": 9000.0}, ["data.fmax"], []),
        ({"n_mels": 200}, ["data.n_mels", "data.n_fft"], ["data.n_mels", "data.n_fft"]),
        ({"fmin": 4000.0, "fmax": 3000.0}, ["data.fmin"], []),
        ({"fmin": -1.0}, ["data.fmin"], []),
        ({"top_db": 0.0}, ["data.top_db"], []),
        ({"n_mels": 0}, ["data.n_mels"], []),
        ({"hop_length": 0, "n_fft": 0}, ["data.n_fft", "data.hop_length"], []),
        ({"normalise": "batch"}, ["data.normalise"], []),
        ({"fmin": 1000.0, "fmax": 1000.01, "n_mels": 3}, ["data.n_mels", "data.n_fft"], ["data.fmin", "data.fmax"]),
    ],
)
def test_what_does_not_fit_together_is_refused(arguments, keys, remedies):
    with pytest.raises(ConfigError) as refused:
        LogMel(16000, **arguments)
    assert refused.value.keys == tuple(keys)
    assert refused.value.remedy
    for key in remedies:
        assert key in refused.value.remedy
    for key, problem in zip(keys, refused.value.problems, strict=False):
        name = key.removeprefix("data.")
        value = arguments[name]
        assert problem.startswith(f"{key}={value!r}" if isinstance(value, str) else f"{key}={value:g}")


def test_the_remedy_for_empty_bands_works():
    with pytest.raises(ConfigError) as refused:
        LogMel(16000, n_fft=256, n_mels=128)
    words = refused.value.remedy.rstrip(".").replace(",", "").split()
    bands, window = int(words[words.index("most") + 1]), int(words[-1])
    LogMel(16000, n_fft=256, n_mels=bands)
    LogMel(16000, n_fft=window, n_mels=128)
    with pytest.raises(ConfigError):
        LogMel(16000, n_fft=256, n_mels=bands + 1)


def test_a_clip_shorter_than_a_window_is_refused():
    log_mel = LogMel(16000, n_fft=2048)
    for use in (lambda: log_mel.frames(1600), lambda: log_mel(torch.zeros(1, 1600))):
        with pytest.raises(ConfigError) as refused:
            use()
        assert refused.value.keys == ("data.n_fft", "data.clip_seconds")
        for number in ("1600", "0.128"):  # the largest window, the shortest clip
            assert number in refused.value.remedy
