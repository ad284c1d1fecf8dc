import csv

import pytest

from trainyard.audio.corpora import find
from trainyard.errors import DataError

HEADER = ("filename", "fold", "target", "category", "esc10", "src_file", "take")
CATEGORIES = {"rooster": 1, "dog": 0, "chainsaw": 41}


def rows():
    return [
        (f"{fold}-{100 + fold}-{take}-{target}.wav", fold, target, category, category == "dog", 100 + fold, take)
        for category, target in CATEGORIES.items()
        for fold in range(1, 6)
        for take in "AB"
    ]


def write(root, table, header=HEADER):
    (root / "meta").mkdir(parents=True, exist_ok=True)
    with (root / "meta/esc50.csv").open("w", newline="") as file:
        csv.writer(file).writerows([header, *table])
    return root


@pytest.fixture
def root(tmp_path, tree):
    return write(tree(tmp_path, [f"audio/{row[0]}" for row in rows()]), rows())


def test_categories_in_target_order_folds_as_splits_and_sources_as_groups(root):
    corpus = find("esc", root)
    assert (corpus.name, corpus.classes, corpus.warnings) == ("esc", ("dog", "rooster", "chainsaw"), [])
    assert len(corpus.files) == 30
    for file in corpus.files:
        fold, source, _, target = file.path.stem.split("-")
        assert CATEGORIES[corpus.classes[file.label]] == int(target)
        assert file.split == {"4": "val", "5": "test"}.get(fold, "train")
        assert file.group == source
    assert {file.group for file in corpus.files if file.split == "test"} == {"105"}


def test_a_chosen_order_and_a_wrong_name(root):
    assert find("esc", root, classes=("chainsaw", "dog")).classes == ("chainsaw", "dog")
    with pytest.raises(DataError) as raised:
        find("esc", root, classes=("rooter", "dog"))
    assert (raised.value.value, raised.value.place) == ("rooter", "data.classes")
    assert "'rooster'" in raised.value.remedy


def test_recordings_without_a_row_and_rows_without_a_recording(root, tree):
    tree(root, ["audio/strange.wav"])
    (root / "audio/1-101-A-0.wav").unlink()
    corpus = find("esc", root)
    (warning,) = corpus.warnings
    assert "1 recording " in warning
    assert "strange.wav" in warning
    (missing,) = [file for file in corpus.files if not file.path.exists()]
    assert missing.where == "row 12 of esc50.csv"


@pytest.mark.parametrize(
    ("change", "row", "value"),
    [
        ({1: "6"}, 2, "6"),
        ({2: "x"}, 2, "x"),
        ({2: "0"}, 12, ("0", "dog")),  # rooster has target 0 already
        ({3: "dog"}, 3, ("1", "rooster")),  # dog has target 1 already
        ({5: ""}, 2, "src_file"),
    ],
)
def test_invalid_rows_are_refused(root, change, row, value):
    table = [list(row) for row in rows()]
    for column, cell in change.items():
        for changed in table[:10] if change == {2: "0"} else table[:1]:
            changed[column] = cell
    with pytest.raises(DataError) as raised:
        find("esc", write(root, table))
    assert (raised.value.value, raised.value.place) == (value, f"{root / 'meta/esc50.csv'}:{row}")


def test_a_missing_table_or_column_is_refused(root):
    write(root, rows(), header=("filename", "fold", "target", "kategory", "esc10", "src_file", "take"))
    table = root / "meta/esc50.csv"
    with pytest.raises(DataError) as raised:
        find("esc", root)
    assert (raised.value.value, raised.value.place) == ("category", f"{table}:1")
    table.unlink()
    with pytest.raises(DataError) as raised:
        find("esc", root)
    assert raised.value.place == str(table)
