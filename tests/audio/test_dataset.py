"""Datasets of recordings: bad files, the cache, augmentation, and bitwise repeatability."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from trainyard.audio import kind
from trainyard.audio.augment.spectrogram import SpecAugment
from trainyard.audio.augment.waveform import WaveformAugment
from trainyard.audio.dataset import Options, burst_dataset, file_dataset
from trainyard.audio.features.log_mel import LogMel
from trainyard.audio.inputs import ClipOptions, Frontend, Reading
from trainyard.config.convert import from_dict
from trainyard.config.schema import SplitOptions
from trainyard.data.batches import Batch, Batches
from trainyard.data.dataset import Dataset
from trainyard.data.found import FoundFile
from trainyard.data.items import Items
from trainyard.errors import DataError, LeakError

RATE = 8000
OPTIONS = ClipOptions(RATE, clip_seconds=0.25)
SPEAKERS = ("ann", "bob", "cleo", "dan")


def log_mel(options: ClipOptions = OPTIONS) -> Frontend:
    compute = LogMel(options.sample_rate, n_fft=256, hop_length=100, n_mels=20)
    shape = (1, 20, compute.frames(options.length))
    return Frontend("log-mel", {"n_mels": 20}, shape, lambda clips, lengths: compute(clips))


def waves(options: ClipOptions = OPTIONS) -> Frontend:
    return Frontend("waveform", {}, (options.length,), lambda clips, lengths: clips, kept=False, masked=True)


def write(
    path: Path, seconds: float, pitch: float = 440.0, rate: int = RATE, channels: int = 1, subtype: str = "PCM_16"
) -> Path:
    """A tone that gets louder, so that each part of it is recognised."""
    time = np.arange(round(seconds * rate)) / rate
    tone = np.sin(2 * np.pi * pitch * time) * np.linspace(0.1, 0.9, len(time))
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.repeat(tone[:, np.newaxis], channels, axis=1), rate, subtype=subtype)
    return path


@pytest.fixture
def files(tmp_path: Path) -> list[FoundFile]:
    """Twelve recordings of two classes by four speakers."""
    found = []
    for label, pitch in enumerate((300.0, 900.0)):
        for number, speaker in enumerate(SPEAKERS * 3):
            seconds = 0.1 + 0.05 * number
            path = write(tmp_path / f"{label}/{speaker}_{number}.wav", seconds, pitch + 7 * number)
            found.append(FoundFile(path, f"{label}/{path.name}", label, group=speaker))
    return found


@pytest.fixture
def load(tmp_path: Path, files: list[FoundFile]) -> Any:
    def made(**changes: Any) -> Dataset:
        clips = changes.pop("options", OPTIONS)
        cache = changes.pop("cache_dir", tmp_path / "cache"), changes.pop("cache_mb", 64)
        reading = Reading(clips, changes.pop("frontend", log_mel(clips)), *cache)
        split = replace(SplitOptions(val_fraction=0.25, test_fraction=0.25), **changes.pop("split", {}))
        augments = changes.pop("waveform", None), changes.pop("spectrogram", None)
        kept = changes.pop("files", files)
        return file_dataset("tones", "the tones", ["low", "high"], kept, Options(reading, split, *augments), **changes)

    return made


def epoch(data: Dataset, number: int = 0, start: int = 0, **changes: Any) -> list[Batch]:
    given: dict[str, Any] = {"shuffle": True, "seed": 3, "augment": True, **changes}
    return list(Batches(data, data.indices("train"), 4, **given).epoch(number, start))


def same(left: list[Batch], right: list[Batch]) -> bool:
    return len(left) == len(right) and all(
        torch.equal(a.inputs, b.inputs) and np.array_equal(a.indices, b.indices)
        for a, b in zip(left, right, strict=True)
    )


def test_speakers_stay_on_one_side(load: Any) -> None:
    data = load()
    assert data.groups is not None
    for speaker in SPEAKERS:
        assert len({split for split, group in zip(data.splits, data.groups, strict=True) if group == speaker}) == 1
    assert not data.warnings


def test_features_are_those_of_the_clip(load: Any, files: list[FoundFile]) -> None:
    data = load()
    sound, _ = soundfile.read(files[5].path, dtype="float32")
    begin = (len(sound) - OPTIONS.length) // 2
    clip = sound[begin : begin + OPTIONS.length] if begin > 0 else np.pad(sound, (0, OPTIONS.length - len(sound)))
    wanted = LogMel(RATE, n_fft=256, hop_length=100, n_mels=20)(torch.from_numpy(clip)[None])
    [position] = [index for index, name in enumerate(data.ids) if name == files[5].id]
    assert torch.equal(data.fetch(np.array([position])), wanted)


def test_a_second_load_decodes_and_computes_nothing(load: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    first = load()
    before = epoch(first)

    def never(*arguments: Any, **more: Any) -> Any:
        raise AssertionError("decoded again")

    monkeypatch.setattr("trainyard.audio.dataset.decode", never)
    monkeypatch.setattr("trainyard.audio.recordings.decode", never)
    again = load()
    assert same(before, epoch(again))
    report = again.cache()
    assert report["log-mel"]["misses"] == 0
    assert report["log-mel"]["hits"] == len(again.indices("train"))
    assert again.fingerprint() == first.fingerprint()


def test_without_a_cache_the_numbers_are_the_same(load: Any, tmp_path: Path) -> None:
    kept, not_kept = load(), load(cache_mb=0, cache_dir=tmp_path / "none")
    assert same(epoch(kept), epoch(not_kept))
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("change", [{"clip_seconds": 0.3}, {"crop": "start"}, {"pad": "tile"}, {"sample_rate": 16000}])
def test_a_parameter_changes_what_is_kept(load: Any, change: dict[str, Any]) -> None:
    usual, other = load(), load(options=ClipOptions(**{**vars(OPTIONS), **change}))
    epoch(usual), epoch(other)
    assert usual.cache()["log-mel"]["directory"] != other.cache()["log-mel"]["directory"]


AUGMENTS = {
    "spectrogram": {"spectrogram": SpecAugment(time_masks=1, freq_masks=1, time_shift=0.2, freq_stretch=0.1)},
    "random crop": {"options": ClipOptions(RATE, clip_seconds=0.15, crop="random")},
    "waveform": {"waveform": WaveformAugment(lambda samples, rate: samples * np.random.uniform(0.2, 0.9), RATE)},
    "waveform, not kept": {
        "waveform": WaveformAugment(lambda samples, rate: samples * np.random.uniform(0.2, 0.9), RATE),
        "frontend": waves(),
    },
}


@pytest.mark.parametrize("how", AUGMENTS)
def test_augmented_items_repeat(load: Any, how: str) -> None:
    data, again = load(**AUGMENTS[how]), load(**AUGMENTS[how])
    state = torch.get_rng_state(), np.random.get_state()[1].tolist()
    whole = epoch(data, 2)
    assert same(whole, epoch(again, 2))
    assert same(whole[2:], epoch(again, 2, start=2)), "a resume inside an epoch gives other items"
    assert not same(whole, epoch(data, 3)), "two epochs give the same items"
    assert torch.equal(state[0], torch.get_rng_state())
    assert state[1] == np.random.get_state()[1].tolist()
    plain = epoch(data, 2, augment=False)
    assert all(np.array_equal(a.indices, b.indices) for a, b in zip(whole, plain, strict=True))
    assert not same(whole, plain)
    assert all(tuple(batch.inputs.shape[1:]) == data.item_shape for batch in whole)


@pytest.mark.parametrize("how", ["spectrogram", "random crop"])
def test_augmented_items_do_not_depend_on_batches_or_workers(load: Any, how: str) -> None:
    data = load(**AUGMENTS[how])
    items = {int(i): x for batch in epoch(data) for i, x in zip(batch.indices, batch.inputs, strict=True)}
    halves = [
        batch
        for rank in (0, 1)
        for batch in epoch(load(**AUGMENTS[how], cache_mb=0), rank=rank, world=2, workers=2 if rank else 0)
    ]
    for batch in halves:
        for index, item in zip(batch.indices, batch.inputs, strict=True):
            assert torch.equal(items[int(index)], item)


def test_lengths_are_where_the_signal_ends(load: Any, files: list[FoundFile]) -> None:
    data = load(frontend=waves())
    for index, batch in enumerate(epoch(data, augment=False)):
        assert batch.lengths is not None, index
        for item, length in zip(batch.inputs, batch.lengths.tolist(), strict=True):
            assert not item[length:].any()
            assert item[length - 3 : length].any()
    assert load().lengths is None  # a network on spectrograms takes none


def test_bad_files_are_all_named(load: Any, files: list[FoundFile], tmp_path: Path) -> None:
    bad = {"empty.wav": b"", "text.wav": b"this is no sound at all", "cut.wav": files[0].path.read_bytes()[:300]}
    paths = []
    for name, data in bad.items():
        (tmp_path / name).write_bytes(data)
        paths.append(tmp_path / name)
    paths.append(write(tmp_path / "none.wav", 0.0))
    paths.append(write(tmp_path / "long.wav", 3.0))
    paths.append(tmp_path / "gone.wav")
    found = [*files, *(FoundFile(path, path.name, 0, group="ann") for path in paths)]
    options = ClipOptions(RATE, clip_seconds=0.25, max_seconds=2.0)
    with pytest.raises(DataError) as caught:
        load(files=found, options=options)
    named = [path for path in paths if path.name in str(caught.value)]
    assert named == paths[:5]  # the first five
    assert "6 recordings " in caught.value.what
    assert any("long.wav" in line and " 2 s" in line for line in caught.value.what.splitlines())
    assert "data.on_bad_file=skip" in caught.value.remedy
    data = load(files=found, options=options, on_bad_file="skip")
    assert len(data) == len(files)
    assert "6 recordings" in data.warnings[0]


def test_a_silent_file_is_named(load: Any, files: list[FoundFile], tmp_path: Path) -> None:
    soundfile.write(tmp_path / "quiet.wav", np.zeros(2000), RATE)
    data = load(files=[*files, FoundFile(tmp_path / "quiet.wav", "quiet.wav", 0, group="ann")])
    (warning,) = data.warnings
    assert "quiet.wav" in warning
    assert all(torch.isfinite(batch.inputs).all() for batch in epoch(data))


@pytest.mark.parametrize("alike", [True, False])
def test_only_silent_files_are_reported_as_silent_not_as_identical(load: Any, tmp_path: Path, alike: bool) -> None:
    found = []
    for number in range(12):
        path = tmp_path / f"{number:02}.wav"
        soundfile.write(path, np.zeros(2000 if alike else 2000 + number), RATE)
        found.append(FoundFile(path, path.name, number % 2))
    with pytest.raises(DataError) as caught:
        load(files=found)
    assert "00.wav, 01.wav" in caught.value.what
    assert "identical" not in str(caught.value)
    assert not isinstance(caught.value, LeakError)


def test_stereo_eight_bits_and_other_rates_are_converted(load: Any, tmp_path: Path) -> None:
    found = []
    forms = [(44100, 2, "PCM_16"), (RATE, 1, "PCM_U8"), (16000, 2, "PCM_U8"), (11025, 1, "PCM_16")]
    for number, (rate, channels, subtype) in enumerate(forms * 4):
        path = write(tmp_path / f"{number}.wav", 0.2, 300 + 600 * (number % 2) + 7 * number, rate, channels, subtype)
        assert soundfile.info(path).subtype == subtype
        found.append(FoundFile(path, path.name, number % 2))
    data = load(files=found)
    assert data.warnings == ()
    assert {tuple(batch.inputs.shape[1:]) for batch in epoch(data)} == {data.item_shape}


def test_a_file_that_changed_since_loading_is_refused(load: Any, files: list[FoundFile], tmp_path: Path) -> None:
    data = load(cache_mb=0)
    write(files[0].path, 0.2, 5000.0)
    with pytest.raises(DataError) as caught:
        list(Batches(data, np.arange(len(data)), 8, shuffle=False, seed=0).epoch(0))
    assert (caught.value.value, caught.value.place) == ("changed", str(files[0].path))


def test_speakers_can_be_held_out_by_name(load: Any) -> None:
    data = load(split={"test_groups": ("bob",), "val_fraction": 0.0})
    tested = {data.groups[index] for index in data.indices("test")}
    assert tested == {"bob"}
    assert "bob" not in {data.groups[index] for index in data.indices("train")}
    with pytest.raises(DataError) as caught:
        load(split={"test_groups": ("bab",)})
    assert (caught.value.value, caught.value.place) == ("bab", "data.split.test_groups")
    assert "ann, bob, cleo, dan" in caught.value.what
    assert "'bob'" in caught.value.remedy


def test_a_speaker_in_two_official_splits_is_a_leak(load: Any, files: list[FoundFile]) -> None:
    for number, file in enumerate(files):
        file.split = ("train", "val", "test")[number % 3]
    assert any("ann in train, val, test" in warning for warning in load().warnings)
    with pytest.raises(LeakError) as caught:
        load(split={"on_leak": "error"})
    assert {group for group, _ in caught.value.value.groups} == set(SPEAKERS)


def test_a_class_with_one_file_trains(load: Any, files: list[FoundFile]) -> None:
    data = load(files=[file for file in files if file.label == 0] + [file for file in files if file.label == 1][:1])
    assert len(data.indices("train"))
    assert 1 in data.labels[data.indices("train")]


def test_vocal_bursts_need_no_files(tmp_path: Path) -> None:
    clips = ClipOptions(RATE, clip_seconds=0.5)
    options = Options(Reading(clips, log_mel(clips), tmp_path, 16), SplitOptions(val_fraction=0.25, test_fraction=0.25))

    def bursts() -> Dataset:
        return burst_dataset("bursts", options, speakers=4, takes=1, classes=("hum", "cough"))

    data = bursts()
    assert len(data) == 8
    assert data.classes == ("hum", "cough")
    assert data.fingerprint() == bursts().fingerprint()
    with pytest.raises(DataError) as raised:
        burst_dataset("bursts", options, speakers=2, takes=1, classes=("hmm", "cough"))
    assert (raised.value.value, raised.value.place) == ("hmm", "data.classes")
    assert "cough" in raised.value.remedy


def test_recordings_to_predict(files: list[FoundFile], load: Any, tmp_path: Path) -> None:
    folder, cache = files[0].path.parent, tmp_path / "cache"
    config = from_dict(
        {
            "data": {
                "source": "audio",
                "corpus": "folder",
                "path": str(folder.parent),
                "sample_rate": RATE,
                "clip_seconds": 0.25,
                "n_fft": 256,
                "hop_length": 100,
                "n_mels": 20,
            },
            "system": {"cache_dir": str(cache)},
        }
    )
    data = kind.load(config)
    described = json.loads(json.dumps(data.preprocessing))

    def read(path: Path) -> Items:
        return kind.read_new(path, described, files={}, cache_dir=tmp_path / "another", cache_mb=0)

    items = read(folder)
    assert items.ids == tuple(sorted(path.name for path in folder.iterdir()))
    for number, name in enumerate(items.ids):
        position = data.ids.index(f"{folder.name}/{name}")
        assert torch.equal(items.fetch(np.array([number])), data.fetch(np.array([position])))
    (folder / "bad.wav").write_bytes(b"nothing")
    with pytest.raises(DataError) as caught:
        read(folder)
    assert (caught.value.value, caught.value.place) == (["bad.wav"], str(folder))
    with pytest.raises(DataError) as caught:
        read(cache)
    assert caught.value.place == str(cache)
