import csv

import pytest

from trainyard.audio.corpora import find
from trainyard.audio.corpora.recanvo import LABELS, TABLES
from trainyard.errors import DataError

NAME = "200126_2142_00-{:02d}-14.06--00-13-15.294.wav"
ROWS = [
    (NAME.format(n), f"P{n % 3 + 1:02d}", label) for n, label in enumerate([*LABELS, *LABELS, "Delighted", "yes", "no"])
]


def write(root, rows, name="dataset_file_directory.csv", encoding="utf-8", header=("Filename", "Participant", "Label")):
    root.mkdir(exist_ok=True)
    with (root / name).open("w", newline="", encoding=encoding) as file:
        csv.writer(file).writerows([header, *rows])
    return root


@pytest.fixture
def root(tmp_path, tree):
    return write(tree(tmp_path / "ReCANVo", [name for name, _, _ in ROWS]), ROWS)


def test_the_table_gives_labels_and_participants_and_six_labels_are_taken(root):
    corpus = find("recanvo", root)
    assert corpus.classes == LABELS
    known = {name: (participant, label.lower()) for name, participant, label in ROWS}
    assert len(corpus.files) == 13
    for file in corpus.files:
        assert known[file.path.name] == (file.group, corpus.classes[file.label])
        row = int(file.where.split()[1])
        assert ROWS[row - 2][0] == file.path.name
    assert "Left out 2 recordings of other classes: no (1), yes (1)." in corpus.warnings


def test_rarer_labels_can_be_requested(root):
    corpus = find("recanvo", root, classes=("yes", "selftalk"))
    assert (corpus.classes, len(corpus.files)) == (("yes", "selftalk"), 3)
    with pytest.raises(DataError) as raised:
        find("recanvo", root, classes=("yess", "selftalk"))
    assert (raised.value.value, raised.value.place) == ("yess", "data.classes")
    assert "'yes'" in raised.value.remedy


@pytest.mark.parametrize("audio", ["", "wav/", "recordings/P01/"])
@pytest.mark.parametrize("table", ["dataset_file_directory.csv", "directory_info.csv"])
def test_recordings_lie_beside_the_table_or_below_it(tmp_path, tree, audio, table):
    root = write(tree(tmp_path / "r", [audio + name for name, _, _ in ROWS]), ROWS, table)
    assert all(file.path.is_file() for file in find("recanvo", root).files)


def test_recordings_without_a_row_and_rows_without_a_recording(root, tree):
    tree(root, ["strange.wav"])
    (root / ROWS[0][0]).unlink()
    corpus = find("recanvo", root)
    assert any("strange.wav" in warning for warning in corpus.warnings)
    # A missing file is reported, with its row, or skipped when it is read.
    (missing,) = [file for file in corpus.files if not file.path.exists()]
    assert missing.path == root / ROWS[0][0]
    assert missing.where == "row 2 of dataset_file_directory.csv"


def test_the_copy_beside_the_table_is_taken_and_others_are_ambiguous(root, tree):
    tree(root, [f"samples/{ROWS[0][0]}"])
    assert root / ROWS[0][0] in {file.path for file in find("recanvo", root).files}
    tree(root, [f"again/{ROWS[0][0]}"])
    (root / ROWS[0][0]).unlink()
    with pytest.raises(DataError) as raised:
        find("recanvo", root)
    assert (raised.value.value, raised.value.place) == (ROWS[0][0], f"{root / 'dataset_file_directory.csv'}:2")


def test_invalid_tables_are_refused(root):
    table = root / "dataset_file_directory.csv"
    write(root, [*ROWS, ("x.wav", "P01", "")])
    with pytest.raises(DataError) as raised:
        find("recanvo", root)
    assert (raised.value.value, raised.value.place) == ("Label", f"{table}:17")
    write(root, ROWS, header=("File", "Participant", "Label"))
    with pytest.raises(DataError) as raised:
        find("recanvo", root)
    assert (raised.value.value, raised.value.place) == ("Filename", f"{table}:1")
    assert "File, Participant, Label" in raised.value.what
    table.unlink()
    with pytest.raises(DataError) as raised:
        find("recanvo", root)
    assert (raised.value.value, raised.value.place) == (TABLES, str(root))


def test_a_table_that_is_not_utf8_is_read(root):
    write(root, [(*ROWS[0][:2], "café"), *ROWS[1:]], encoding="cp1252")
    assert "café" in " ".join(find("recanvo", root).warnings)
