import pytest

from trainyard.audio.corpora import find
from trainyard.errors import DataError

TABLE = """file,what,who,part
a/1.wav,cry,ann,train
a/2.wav,laugh,ann,train
a/3.wav,cry,bob,TEST
a\\4.wav,laugh,,validation
"""
COLUMNS = {"path_column": "file", "label_column": "what", "group_column": "who", "split_column": "part"}


def test_columns_give_paths_labels_groups_and_splits(tmp_path):
    table = tmp_path / "bursts.csv"
    table.write_text(TABLE)
    corpus = find("csv", table, **COLUMNS)
    assert (corpus.name, corpus.classes) == ("bursts", ("cry", "laugh"))
    assert [(file.id, file.label, file.group, file.split, file.where) for file in corpus.files] == [
        ("a/1.wav", 0, "ann", "train", "row 2"),
        ("a/2.wav", 1, "ann", "train", "row 3"),
        ("a/3.wav", 0, "bob", "test", "row 4"),
        ("a/4.wav", 1, "", "val", "row 5"),
    ]
    assert corpus.files[0].path == tmp_path / "a/1.wav"
    turned = find("csv", table, classes=("laugh", "cry"), **COLUMNS)
    assert [file.label for file in turned.files] == [1, 0, 1, 0]


def test_a_wrong_label_split_or_column_is_refused_with_its_row(tmp_path):
    table = tmp_path / "t.csv"
    table.write_text(TABLE)
    with pytest.raises(DataError) as raised:
        find("csv", table, classes=("cry",), **COLUMNS)
    assert (raised.value.value, raised.value.place) == ("laugh", f"{table}:3")
    with pytest.raises(DataError) as raised:
        find("csv", table)
    assert (raised.value.value, raised.value.place) == ("path", f"{table}:1")
    assert "file, what, who, part" in raised.value.what
    table.write_text(TABLE.replace("TEST", "tset"))
    with pytest.raises(DataError) as raised:
        find("csv", table, **COLUMNS)
    assert (raised.value.value, raised.value.place) == ("tset", f"{table}:4")


def test_an_unused_column_of_speakers_is_a_warning(tmp_path):
    table = tmp_path / "t.csv"
    table.write_text("path,label,Speaker\na.wav,cry,ann\nb.wav,laugh,ann\n")
    (warning,) = find("csv", table).warnings
    assert "data.group_column=Speaker" in warning
    assert find("csv", table, group_column="Speaker").warnings == []
