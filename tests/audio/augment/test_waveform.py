import pickle
import random
from concurrent.futures import ThreadPoolExecutor
from importlib.resources import files

import numpy as np
import pytest
import soundfile
import torch
import yaml
from torch.utils.data import DataLoader, Dataset

from trainyard.audio.augment.seeds import item_seeds
from trainyard.audio.augment.waveform import WaveformAugment
from trainyard.config.compose import compose
from trainyard.config.targets import build_target, validate_target
from trainyard.errors import DataError, UnsafeTargetError

RATE = 16000
SPEC = {
    "_target_": "audiomentations.Compose",
    "shuffle": True,
    "transforms": [
        {"_target_": "audiomentations.AddGaussianNoise", "p": 0.7},
        {"_target_": "audiomentations.Gain", "p": 0.7},
        {"_target_": "audiomentations.Shift", "p": 0.7},
        {"_target_": "audiomentations.TimeStretch", "p": 0.7},
        {
            "_target_": "audiomentations.OneOf",
            "transforms": [
                {"_target_": "audiomentations.PitchShift", "p": 1.0},
                {"_target_": "audiomentations.PolarityInversion", "p": 1.0},
            ],
        },
    ],
}


def tone(seconds=0.3, hz=220.0, amplitude=0.3):
    return (amplitude * np.sin(2 * np.pi * hz * np.arange(int(seconds * RATE)) / RATE)).astype(np.float32)


def augment(spec=SPEC):
    return WaveformAugment(build_target(spec), RATE)


def only(name, **arguments):
    return augment({"_target_": f"audiomentations.{name}", "p": 1.0, **arguments})


def test_a_clip_becomes_the_same_in_any_order_and_by_any_instance():
    change, clip = augment(), tone()
    seeds = item_seeds(0, 0, np.arange(8)).tolist()
    in_order = [change(clip, seed) for seed in seeds]
    backwards = [augment()(clip, seed) for seed in reversed(seeds)][::-1]
    for one, other in zip(in_order, backwards, strict=True):
        np.testing.assert_array_equal(one, other)
        assert one.dtype == np.float32
        assert one.shape == clip.shape
    assert len({one.tobytes() for one in in_order}) > 4


def test_the_global_generators_neither_matter_nor_notice():
    change, clip = augment(), tone()
    before = change(clip, 5)
    random.seed(99)
    np.random.seed(99)
    states = random.getstate(), np.random.get_state()
    np.testing.assert_array_equal(change(clip, 5), before)
    assert random.getstate() == states[0]
    for one, other in zip(np.random.get_state(), states[1], strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_failure_is_explained_and_leaves_the_global_generators_alone():
    def fails(samples, sample_rate):
        random.random()
        raise ValueError("the noise is missing")

    state = random.getstate()
    with pytest.raises(DataError) as raised:
        WaveformAugment(fails, RATE)(tone(), 0)
    assert (raised.value.value, raised.value.place) == ("the noise is missing", "augmentations.waveform")
    assert "augmentations.waveform=null" in raised.value.remedy
    assert random.getstate() == state


def test_python_and_numpy_do_not_draw_the_same_numbers():
    drawn = []

    def draw(samples, sample_rate):
        drawn.append((random.random(), np.random.random()))
        return samples

    for seed in (0, 1, 2**32, 2**64 - 1):
        WaveformAugment(draw, RATE)(tone(), seed)
    assert len({number for pair in drawn for number in pair}) == 8


@pytest.mark.parametrize(
    "change",
    [
        only("TimeStretch", min_rate=0.8, max_rate=0.8, leave_length_unchanged=False),
        only("TimeStretch", min_rate=1.25, max_rate=1.25, leave_length_unchanged=False),
        only("AdjustDuration", duration_seconds=1.0),
        WaveformAugment(lambda samples, sample_rate: samples[:0], RATE),
    ],
    ids=["longer", "shorter", "padded", "nothing"],
)
def test_the_length_stays(change):
    assert change(tone(), 1).shape == tone().shape


def test_the_input_is_not_changed_and_may_be_read_only():
    clip = tone()
    clip.flags.writeable = False
    changed = WaveformAugment(lambda samples, sample_rate: np.multiply(samples, 0.5, out=samples), RATE)(clip, 0)
    np.testing.assert_allclose(changed, tone() / 2)
    np.testing.assert_array_equal(clip, tone())
    augment()(clip, 3)


def test_gain_is_what_it_says():
    halved = only("Gain", min_gain_db=-6.0206, max_gain_db=-6.0206)(tone(), 0)
    np.testing.assert_allclose(halved, tone() / 2, atol=1e-6)


def test_what_is_too_loud_is_clipped():
    loud = only("Gain", min_gain_db=40.0, max_gain_db=40.0)(tone(), 0)
    assert (loud.min(), loud.max()) == (-1.0, 1.0)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_clip_that_a_transform_spoils_stays_as_it_was(bad):
    def spoils(samples, sample_rate):
        samples[7] = bad
        return samples

    np.testing.assert_array_equal(WaveformAugment(spoils, RATE)(tone(), 0), tone())


def test_more_than_one_channel_is_refused():
    with pytest.raises(DataError) as raised:
        WaveformAugment(lambda samples, sample_rate: np.stack([samples, samples]), RATE)(tone(), 0)
    assert (raised.value.value, raised.value.place) == ((2, 4800), "augmentations.waveform")


@pytest.mark.parametrize("length", [0, 1, 5, 4800])
def test_silent_and_very_short_clips_survive(length):
    change = augment({**SPEC, "transforms": [{**each, "p": 1.0} for each in SPEC["transforms"]]})
    for seed in range(4):
        changed = change(np.zeros(length, np.float32), seed)
        assert changed.shape == (length,)
        assert np.isfinite(changed).all()


# librosa.load imports audioread, which imports modules that Python 3.13 removed.
@pytest.mark.filterwarnings("ignore:'(aifc|audioop|sunau)' is deprecated:DeprecationWarning")
def test_background_noise_has_the_ratio_asked_for(tmp_path):
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, RATE).astype(np.float32)
    soundfile.write(tmp_path / "noise.wav", noise, RATE)
    change = only("AddBackgroundNoise", sounds_path=str(tmp_path), min_snr_db=10.0, max_snr_db=10.0)
    clip = tone()
    added = change(clip, 4) - clip
    ratio_db = 20 * np.log10(np.sqrt(np.mean(clip**2)) / np.sqrt(np.mean(added**2)))
    assert ratio_db == pytest.approx(10.0, abs=0.05)
    np.testing.assert_array_equal(change(clip, 4) - clip, added)
    assert not np.array_equal(change(clip, 5) - clip, added)  # another part of the noise
    assert not change(np.zeros_like(clip), 4).any()  # noise relative to silence is silent


def test_targets_in_lists_are_checked_however_deep():
    validate_target(SPEC)
    nested = {"_target_": "audiomentations.OneOf", "transforms": [{"_target_": "os.system"}]}
    with pytest.raises(UnsafeTargetError, match=r"os\.system"):
        build_target({"_target_": "audiomentations.Compose", "transforms": [nested]})


@pytest.mark.parametrize("option", ["waveform", "strong"])
def test_the_shipped_choices_build_and_change_sound(option):
    config = compose("digits", ["data=vocal_bursts", f"augmentations={option}"])
    shipped = yaml.safe_load((files("trainyard.conf") / "augmentations/waveform.yaml").read_text(encoding="utf-8"))
    assert config.augmentations.waveform == shipped["waveform"]
    change, clip = augment(config.augmentations.waveform), tone()
    changed = {change(clip, seed).tobytes() for seed in item_seeds(0, 0, np.arange(20)).tolist()}
    assert len(changed) > 12


class Clips(Dataset):
    def __init__(self, change):
        self.change = change

    def __len__(self):
        return 6

    def __getitem__(self, index):
        return torch.from_numpy(self.change(tone(), int(item_seeds(0, 3, [index])[0])))


def test_worker_processes_draw_the_same():
    clips = Clips(augment())
    alone = torch.stack([clips[index] for index in range(6)])
    assert torch.equal(next(iter(DataLoader(clips, batch_size=6, num_workers=1))), alone)
    copy = pickle.loads(pickle.dumps(clips))  # what a spawned worker gets
    assert torch.equal(copy[4], alone[4])


def test_threads_draw_the_same():
    change, clip = augment(), tone(0.1)
    alone = [change(clip, seed) for seed in range(24)]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda seed: change(clip, seed), range(24)))
    for one, other in zip(together, alone, strict=True):
        np.testing.assert_array_equal(one, other)
