"""What holds for every corpus: dispatch, missing folders, wrong names, classes."""

import importlib
from typing import get_args, get_type_hints

import pytest

from trainyard.audio.corpora import CORPORA, find
from trainyard.audio.decode import decode
from trainyard.audio.schema import AudioData
from trainyard.errors import DataError

APP = "0c8f14a9-6999-485b-97a2-913c1cbf099c"

# For each corpus that goes by names: two names of each of two classes, in label order.
GOOD = {
    "asvp_esd": {
        "sad_cry": ["Audio/actor_3/03-02-04-01-02-03-02-01-01.wav", "Audio/actor_4/03-02-04-02-02-04-02-01.wav"],
        "breath": ["Audio/actor_3/03-02-13-01-02-03-02-01-01-16.wav", "Audio/actor_4/03-02-13-01-02-04-02.wav"],
    },
    "asvp_esd_babies": {
        "happy_laugh_gaggle": ["Bonus/actor_50/03-02-03-01-02-50-04.wav", "Bonus/actor_150/03-02-03-01-9-150-04.wav"],
        "sad_cry": ["Bonus/actor_50/03-02-04-01-02-50-04-01-01-14.wav", "Bonus/actor_200/03-02-04-01-1-200-04.wav"],
    },
    "cnvve": {
        "ahem": ["ahem/ahem_07_1.wav", "ahem/ahem_08_1.wav"],
        "psst": ["psst/psst_07_1.wav", "psst/psst_9_a_b.wav"],
    },
    "nonverbal_vocalization_dataset": {
        "teeth-grinding": ["teeth-grinding/2AV8_1_5_0_44_0_0_0.wav", "teeth-grinding/36OW_1_10_0_20_0_0_0.wav"],
        "coughing": ["coughing/0C1S_4_8_0_27_0_1_1.wav", "coughing/2AV8_4_1_0_44_0_0_0.wav"],
    },
    "vivae": {
        "anger": ["full_set/S01_anger_low_01.wav", "full_set/S11_anger_peak_09.wav"],
        "surprise": ["full_set/S01_surprise_strong_02.wav", "full_set/S02_surprise_moderate_01.wav"],
    },
    "donateacry": {
        "burping": [f"burping/{APP}-1430757039803-1.7-m-48-bu.wav", f"burping/{APP}-1430757039-1.0-f-04-bu.wav"],
        "tired": [f"tired/{APP}-1430757039804-1.7-m-48-ti.wav", f"tired/{APP.upper()}-1430757040-1.0-f-04-ti.wav"],
    },
    "fsdd": {
        "3": ["recordings/3_theo_0.wav", "recordings/3_jackson_37.wav"],
        "9": ["recordings/9_theo_4.wav", "recordings/9_theo_5.wav"],
    },
}
NAMES = sorted(GOOD)


@pytest.fixture
def good(request, tmp_path, tree):
    name = request.getfixturevalue("name")
    return tree(tmp_path / "corpus", [file for files in GOOD[name].values() for file in files])


@pytest.mark.parametrize("name", NAMES)
def test_files_labels_and_ids_are_those_of_the_tree(name, good):
    corpus = find(name, good)
    assert corpus.name == name
    assert corpus.classes == tuple(GOOD[name])  # written in label order above
    got = {class_: [file.id for file in corpus.files if file.label == n] for n, class_ in enumerate(corpus.classes)}
    assert got == {class_: sorted(files) for class_, files in GOOD[name].items()}
    assert [file.id for file in corpus.files] == sorted(file.id for file in corpus.files)
    for file in corpus.files:
        assert file.path == good / file.id
        assert file.group
        assert len(decode(file.path.read_bytes(), 8000)) == 80


@pytest.mark.parametrize("name", NAMES)
def test_classes_choose_and_order(name, good):
    first, second = GOOD[name]
    turned = find(name, good, classes=[second, first])
    assert turned.classes == (second, first)
    assert {file.id for file in turned.files if file.label == 0} == set(GOOD[name][second])
    alone = find(name, good, classes=[second])
    assert (alone.classes, len(alone.files)) == ((second,), 2)
    assert f"Left out 2 recordings of other classes: {first} (2)." in alone.warnings


@pytest.mark.parametrize("name", NAMES)
def test_a_class_that_is_unknown_or_empty_is_refused(name, good):
    first, _ = GOOD[name]
    with pytest.raises(DataError) as raised:
        find(name, good, classes=[f"{first}x"])
    assert (raised.value.value, raised.value.place) == (f"{first}x", "data.classes")
    assert first in raised.value.what  # among the classes of the corpus
    lone = next(class_ for class_ in label_set(name) if class_ not in GOOD[name])
    with pytest.raises(DataError) as raised:
        find(name, good, classes=[lone, first])
    assert (raised.value.value, raised.value.place) == (lone, str(good))
    assert "data.classes" in raised.value.remedy


def label_set(name):
    # The babies share the labels of the corpus they are a part of.
    return importlib.import_module(f"trainyard.audio.corpora.{name.removesuffix('_babies')}").LABELS


@pytest.mark.parametrize("name", NAMES)
def test_classes_of_the_corpus_without_recordings_are_noted(name, good):
    missing = [class_ for class_ in label_set(name) if class_ not in GOOD[name]]
    assert any(f"{name}: {missing[0]}" in note for note in find(name, good).warnings)


@pytest.mark.parametrize("name", sorted(set(NAMES) - {"asvp_esd", "asvp_esd_babies"}))
@pytest.mark.parametrize("bad", ["zebra/what is this.wav", "x.wav"])
def test_a_name_that_does_not_follow_the_corpus_is_refused_with_the_grammar(name, bad, good, tree):
    where = "recordings/" if name == "fsdd" else ""
    tree(good, [where + bad])
    with pytest.raises(DataError) as caught:
        find(name, good)
    module = importlib.import_module(f"trainyard.audio.corpora.{name}")
    assert (caught.value.value, caught.value.place) == ((where + bad,), str(good))
    assert module.GRAMMAR in caught.value.what
    assert module.EXAMPLE in caught.value.what
    assert "audio_folder" in caught.value.remedy


@pytest.mark.parametrize("name", NAMES)
def test_other_files_are_ignored(name, good):
    (good / "README.md").write_text("x")
    next(iter(good.rglob("*.wav"))).with_suffix(".txt").write_text("x")
    next(iter(good.rglob("*.wav"))).with_name("._a.wav").write_text("x")
    assert len(find(name, good).files) == 4


@pytest.mark.parametrize("name", CORPORA)
def test_a_missing_corpus_is_refused(name, tmp_path):
    with pytest.raises(DataError) as caught:
        find(name, tmp_path / "nowhere")
    assert caught.value.place == str(tmp_path / "nowhere")
    assert "data.path" in caught.value.remedy


@pytest.mark.parametrize("name", sorted(set(CORPORA) - {"csv"}))
def test_a_file_or_an_empty_folder_is_not_a_corpus(name, tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "empty").mkdir()
    for root in (tmp_path / "file", tmp_path / "empty"):
        with pytest.raises(DataError) as caught:
            find(name, root)
        assert caught.value.place == str(root)
        assert caught.value.remedy


def test_the_corpora_are_those_of_the_configuration_apart_from_the_synthetic_one():
    assert {*CORPORA, "vocal_bursts"} == set(get_args(get_type_hints(AudioData)["corpus"]))
    with pytest.raises(ValueError, match="'fsd'"):
        find("fsd", ".")
