import numpy as np
import pytest

from trainyard.errors import DataError
from trainyard.text.sources import find

TRAIN = b'My "favourite" food\t27,0\ted1\n"He said\t1\ted2\r\nno feeling\t\ted3\n'


@pytest.fixture
def folder(tmp_path):
    below = tmp_path / "data" / "original"
    below.mkdir(parents=True)
    (below / "train.tsv").write_bytes(TRAIN)
    (below / "dev.tsv").write_text("tränen \rüber 😢\t27\tee1", encoding="utf-8", newline="")
    (below / "test.tsv").write_text("fine\t1,27\tef1\n", encoding="utf-8")
    (below / "labels.txt").write_text("\n".join([f"e{number}" for number in range(27)] + ["neutral"]))
    return below


def test_quotes_are_characters_and_labels_keep_their_order(folder):
    texts = find("goemotions", folder.parent.parent)
    assert texts.classes[:2] == ("e0", "e1")
    assert texts.classes[27] == "neutral"
    assert texts.texts == ('My "favourite" food', '"He said', "no feeling", "tränen \rüber 😢", "fine")
    assert texts.ids == ("ed1", "ed2", "ed3", "ee1", "ef1")
    assert texts.splits == ("train", "train", "train", "val", "test")
    assert [np.flatnonzero(row).tolist() for row in texts.labels] == [[0, 27], [1], [], [27], [1, 27]]


def test_names_may_be_in_the_file_of_the_first_publication(folder):
    (folder / "labels.txt").rename(folder / "emotions.txt")
    assert find("goemotions", folder).classes[27] == "neutral"


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("dev.tsv", "a\t28\tx\n", "dev.tsv: row 1: label 28 is out of range: there are 28 labels, 0 to 27"),
        ("dev.tsv", "a\t-1\tx\n", "label -1 is out of range"),
        ("dev.tsv", "a\t1\tx\nb\t2\n", "dev.tsv: row 2 has 2 cells; it should have 3"),
        ("dev.tsv", "\u00a0\t1\tx\n", "dev.tsv: row 1: it has no text"),
        ("dev.tsv", "a\t1,1\tx\n", "dev.tsv: row 1: label 'e1' is there more than once"),
        ("dev.tsv", "a\t1,\tx\n", "dev.tsv: row 1: a label is empty"),
        ("dev.tsv", "a\tjoy\tx\n", "label 'joy' is not one of the classes e0, e1"),
        ("dev.tsv", "a\t1\ted1\n", "dev.tsv: row 1 has the id 'ed1', and so has train.tsv: row 1"),
        ("dev.tsv", b"a\t1\tx\nb\xff\t1\ty\n", "not UTF-8: invalid start byte at byte 7, in line 2"),
        ("labels.txt", "a\nb\na\n", "labels.txt names a more than once"),
    ],
)
def test_faults_are_told_with_file_row_and_value(folder, name, content, words):
    (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DataError) as told:
        find("goemotions", folder)
    assert words in told.value.what


def test_bad_items_can_be_skipped_and_are_counted(folder):
    (folder / "dev.tsv").write_text("a\t28\tx\nb\t1\ty\n \t1\tz\n")
    texts = find("goemotions", folder, on_bad_item="skip")
    assert texts.ids[3:] == ("y", "ef1")
    (warning,) = texts.warnings
    assert warning.startswith("Skipped: 2 texts cannot be used:\n  - dev.tsv: row 1: label 28")


def test_one_label_each_is_held_to(folder):
    with pytest.raises(DataError, match=r"3 texts cannot be used") as told:
        find("goemotions", folder, multi_label=False)
    assert "it has 2 labels (neutral, e0) and may have one" in told.value.what
    assert "row 3: it has no label" in told.value.what
    texts = find("goemotions", folder, multi_label=False, on_bad_item="skip")
    assert texts.labels.tolist() == [1, 27]


def test_what_is_missing_is_named(folder, tmp_path):
    with pytest.raises(DataError, match=r"no train.tsv in .* or below"):
        find("goemotions", tmp_path / "elsewhere")
    with pytest.raises(DataError, match="=goemotions needs"):
        find("goemotions", None)
    with pytest.raises(DataError, match="names its labels itself"):
        find("goemotions", folder, classes=("joy",))
    (folder / "labels.txt").unlink()
    with pytest.raises(DataError, match=r"neither labels.txt nor emotions.txt"):
        find("goemotions", folder)
    (folder / "test.tsv").unlink()
    with pytest.raises(DataError, match=r"has no test.tsv"):
        find("goemotions", folder)
    (folder.parent / "train.tsv").touch()
    with pytest.raises(DataError, match=r"more than one train.tsv|has no dev.tsv"):
        find("goemotions", folder.parent.parent)
