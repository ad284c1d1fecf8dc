import os
import tarfile
from collections import Counter
from pathlib import Path

import pytest
import soundfile

from trainyard.audio.corpora import find
from trainyard.audio.decode import decode
from trainyard.config.schema import SplitOptions
from trainyard.data.build import build_dataset

SPEAKERS = ("jackson", "theo")
NAMES = [f"{digit}_{speaker}_{take}.wav" for digit in range(10) for speaker in SPEAKERS for take in range(7)]


@pytest.mark.parametrize("below", ["recordings/", ""])
def test_digits_speakers_and_the_official_split(tmp_path, tree, below):
    corpus = find("fsdd", tree(tmp_path, [below + name for name in NAMES]))
    assert corpus.classes == tuple("0123456789")
    assert len(corpus.files) == 140
    for file in corpus.files:
        digit, speaker, take = file.path.stem.split("_")
        assert (corpus.classes[file.label], file.group) == (digit, speaker)
        assert file.split == ("test" if int(take) <= 4 else "train")


def test_only_the_folder_recordings_is_searched_if_it_exists(tmp_path, tree):
    tree(tmp_path, [f"recordings/{name}" for name in NAMES] + ["pip/other.wav"])
    assert len(find("fsdd", tmp_path).files) == 140


def test_shared_speakers_are_a_warning_of_the_split_not_an_error(tmp_path, tree):
    corpus = find("fsdd", tree(tmp_path, NAMES))
    data = build_dataset(
        corpus.name,
        str(tmp_path),
        corpus.classes,
        [file.id for file in corpus.files],
        [file.label for file in corpus.files],
        [file.id for file in corpus.files],
        (1,),
        lambda _: None,
        official=[file.split for file in corpus.files],
        groups=[file.group for file in corpus.files],
        split=SplitOptions(val_fraction=0.0, test_fraction=0.0),
    )
    assert Counter(data.splits.tolist()) == {"test": 100, "train": 40}
    assert any(note.startswith("2 groups") for note in data.warnings)


@pytest.mark.skipif(
    not (Path(os.environ.get("TRAINYARD_DATA", "nowhere")) / "fsdd.tgz").is_file(),
    reason="TRAINYARD_DATA names no folder with fsdd.tgz",
)
def test_the_real_corpus_is_found_whole(tmp_path):
    with tarfile.open(Path(os.environ["TRAINYARD_DATA"]) / "fsdd.tgz") as archive:
        archive.extractall(tmp_path, filter="data")
    corpus = find("fsdd", tmp_path / "fsdd")
    assert corpus.warnings == []
    assert Counter(file.label for file in corpus.files) == dict.fromkeys(range(10), 300)
    assert Counter(file.split for file in corpus.files) == {"train": 2700, "test": 300}
    assert set(Counter(file.group for file in corpus.files).values()) == {500}
    for file in corpus.files[::100]:
        info = soundfile.info(file.path)
        assert (info.samplerate, info.channels, info.subtype) == (8000, 1, "PCM_16")
        assert 0.1 < info.duration < 3
        assert len(decode(file.path.read_bytes(), 16000)) == pytest.approx(info.duration * 16000, abs=1)
