import numpy as np
import pytest

from trainyard.errors import DataError
from trainyard.text.schema import TextData
from trainyard.text.sources import find

TRAIN = b'My "favourite" food\t27,0\ted1\n"He said\t1\ted2\r\nno feeling\t\ted3\n'


def goemotions(path, **options):
    return find(TextData(corpus="goemotions", path=None if path is None else str(path), **options))


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
    texts = goemotions(folder.parent.parent)
    assert texts.classes[:2] == ("e0", "e1")
    assert texts.classes[27] == "neutral"
    assert texts.texts == ('My "favourite" food', '"He said', "no feeling", "tränen \rüber 😢", "fine")
    assert texts.ids == ("ed1", "ed2", "ed3", "ee1", "ef1")
    assert texts.splits == ("train", "train", "train", "val", "test")
    assert [np.flatnonzero(row).tolist() for row in texts.labels] == [[0, 27], [1], [], [27], [1, 27]]


def test_names_may_be_in_the_file_of_the_first_publication(folder):
    (folder / "labels.txt").rename(folder / "emotions.txt")
    assert goemotions(folder).classes[27] == "neutral"


@pytest.mark.parametrize(
    ("name", "content", "place", "value"),
    [
        ("dev.tsv", "a\t28\tx\n", "dev.tsv:1", (28,)),
        ("dev.tsv", "a\t-1\tx\n", "dev.tsv:1", (-1,)),
        ("dev.tsv", "a\t1\tx\nb\t2\n", "dev.tsv:2", 2),  # cells
        ("dev.tsv", "\u00a0\t1\tx\n", "dev.tsv:1", ("\u00a0",)),
        ("dev.tsv", "a\t1,1\tx\n", "dev.tsv:1", (("1", "1"),)),
        ("dev.tsv", "a\t1,\tx\n", "dev.tsv:1", (("1", ""),)),
        ("dev.tsv", "a\tjoy\tx\n", "dev.tsv:1", ("joy",)),
        ("dev.tsv", "a\t1\ted1\n", "dev.tsv:1", "ed1"),  # the id of another text
        ("dev.tsv", b"a\t1\tx\nb\xff\t1\ty\n", "dev.tsv:2", 0xFF),
        ("labels.txt", "a\nb\na\n", "labels.txt", ("a",)),
    ],
)
def test_faults_are_reported_with_file_row_and_value(folder, name, content, place, value):
    (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DataError) as raised:
        goemotions(folder)
    assert (raised.value.place, raised.value.value) == (str(folder / place), value)
    assert raised.value.remedy


def test_bad_items_can_be_skipped_and_are_counted(folder):
    (folder / "dev.tsv").write_text("a\t28\tx\nb\t1\ty\n \t1\tz\n")
    texts = goemotions(folder, on_bad_item="skip")
    assert texts.ids[3:] == ("y", "ef1")
    (warning,) = texts.warnings
    assert "2 texts" in warning
    assert "\n  - dev.tsv: row 1: label 28" in warning
    assert "\n  - dev.tsv: row 3: " in warning


def test_single_labels_are_enforced(folder):
    with pytest.raises(DataError) as raised:
        goemotions(folder, multi_label=False)
    assert raised.value.value == (("27", "0"), (), ("1", "27"))
    assert raised.value.place == f"{folder / 'train.tsv'}:1"
    assert "data.on_bad_item=skip" in raised.value.remedy
    texts = goemotions(folder, multi_label=False, on_bad_item="skip")
    assert texts.labels.tolist() == [1, 27]


def test_what_is_missing_is_named(folder, tmp_path):
    def refusal(path, **options):
        with pytest.raises(DataError) as raised:
            goemotions(path, **options)
        assert raised.value.remedy
        return raised.value.value, raised.value.place

    assert refusal(tmp_path / "elsewhere") == ((), str(tmp_path / "elsewhere"))
    assert refusal(None) == (None, "data.path")
    assert refusal(folder, classes=("joy",)) == (("joy",), "data.classes")
    (folder / "labels.txt").unlink()
    assert refusal(folder) == (("labels.txt", "emotions.txt"), str(folder))
    (folder / "test.tsv").unlink()
    assert refusal(folder) == ("test.tsv", str(folder))
    (folder.parent / "train.tsv").touch()
    root = folder.parent.parent
    assert refusal(root) == ((str(folder.parent), str(folder)), str(root))
