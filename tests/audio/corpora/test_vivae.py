import pytest

from trainyard.audio.corpora import find
from trainyard.audio.corpora.vivae import INTENSITIES, LABELS
from trainyard.errors import DataError

NAMES = [f"S{speaker:02d}_{label}_{how}_01.wav" for speaker in (1, 11) for label in LABELS for how in INTENSITIES]


def test_emotions_and_speakers_are_in_the_name(tmp_path, tree):
    corpus = find("vivae", tree(tmp_path, NAMES))
    assert corpus.classes == LABELS
    assert len(corpus.files) == 48
    for file in corpus.files:
        assert file.id.split("_")[:2] == [file.group, corpus.classes[file.label]]


def test_the_core_set_is_left_out_beside_the_full_set_and_taken_alone(tmp_path, tree):
    tree(tmp_path / "VIVAE/full_set", NAMES)
    tree(tmp_path / "VIVAE/core_set", NAMES[:10])
    corpus = find("vivae", tmp_path)
    assert len(corpus.files) == 48
    assert all("full_set" in file.id for file in corpus.files)
    (warning,) = corpus.warnings
    assert "core_set (10 recordings)" in warning
    assert len(find("vivae", tmp_path / "VIVAE/core_set").files) == 10


@pytest.mark.parametrize(
    "bad", ["S1_anger_low_01.wav", "S01_joy_low_01.wav", "S01_anger_huge_01.wav", "S01_anger_low.wav"]
)
def test_wrong_names_are_refused(tmp_path, tree, bad):
    with pytest.raises(DataError) as raised:
        find("vivae", tree(tmp_path, [*NAMES, bad]))
    assert (raised.value.value, raised.value.place) == ((bad,), str(tmp_path))
