import pytest

from trainyard.audio.corpora import find
from trainyard.audio.corpora.asvp_esd import GRAMMAR, LABELS
from trainyard.errors import DataError

ADULT = "Audio/actor_12/03-02-06-01-02-12-02-01-01-16.wav"
MISSPELT = "Audio/actor_12/03-02-06-01-02-12-02-01 (copy).wav"


@pytest.fixture
def root(tmp_path, tree):
    return tree(
        tmp_path / "ASVP-ESD-Update",
        [
            ADULT,
            "Audio/actor_12/03-02-17-01-02-12-02-01-01-66.wav",
            "Audio/actor_012/03-02-01-02-02-012-01-03.wav",
            "Audio/actor_5/03-01-06-01-02-05-02-01-01.wav",  # speech
            "Audio/actor_7/03-02-04-01-02-07-04-01-01.wav",  # a baby by its age
            "Bonus/actor_50/03-02-04-01-02-50-02-01-01.wav",  # a baby by its folder
            "Bonus/actor_50/03-02-03-01-02-50-04-01-01-13-77.wav",
        ],
    )


def test_speech_and_babies_are_left_out_and_counted(root):
    corpus = find("asvp_esd", root)
    assert [file.id for file in corpus.files][2] == ADULT.replace("06-01", "17-01").replace("01-16", "01-66")
    assert [corpus.classes[file.label] for file in corpus.files] == [
        "boredom_sigh",
        "fearful_scream_panic",
        "disgust_dislike_contempt",
    ]
    assert {file.group for file in corpus.files} == {"actor 12"}
    assert "Left out 1 recording of speech." in corpus.warnings
    assert "Left out 3 recordings of babies (data=asvp_esd_babies)." in corpus.warnings


def test_babies_are_known_by_age_or_folder_and_the_folder_may_be_the_root(root):
    corpus = find("asvp_esd_babies", root)
    assert [(file.id.split("/")[0], file.group) for file in corpus.files] == [
        ("Audio", "actor 7"),
        ("Bonus", "actor 50"),
        ("Bonus", "actor 50"),
    ]
    assert corpus.classes == ("happy_laugh_gaggle", "sad_cry")
    assert len(find("asvp_esd_babies", root / "Bonus").files) == 2
    (root / "Bonus").rename(root / "asvp_esd_babies")
    assert len(find("asvp_esd_babies", root / "asvp_esd_babies").files) == 2
    with pytest.raises(DataError) as raised:
        find("asvp_esd", root / "asvp_esd_babies")
    assert raised.value.place == str(root / "asvp_esd_babies")
    assert raised.value.value == LABELS
    assert "data=asvp_esd_babies" in raised.value.what


def test_the_two_corpora_share_nothing_and_leave_nothing_but_speech(root):
    adults, babies = ({file.id for file in find(name, root).files} for name in ("asvp_esd", "asvp_esd_babies"))
    assert not adults & babies
    assert len(adults | babies) == 6


def test_names_given_wrongly_are_counted_in_a_warning_that_shows_the_grammar(root, tree):
    tree(root, [MISSPELT, "Audio/actor_12/03-02-06.wav", "Audio/actor_12/03-02-25-01-02-12-02-01-01.wav"])
    corpus = find("asvp_esd", root)
    assert len(corpus.files) == 3
    (malformed,) = [note for note in corpus.warnings if GRAMMAR in note]
    assert "2 recordings" in malformed
    assert MISSPELT in malformed
    (unknown,) = [note for note in corpus.warnings if "03-02-25-" in note]
    assert "1 recording " in unknown


def test_a_folder_where_no_name_follows_the_grammar_is_refused(tmp_path, tree):
    root = tree(tmp_path / "zoo", ["a.wav", "b/c.wav"])
    with pytest.raises(DataError) as raised:
        find("asvp_esd", root)
    assert raised.value.value == ("a.wav", "b/c.wav")
    assert raised.value.place == str(root)
    assert GRAMMAR in raised.value.what
