import csv

import pytest

from trainyard.audio.corpora import find
from trainyard.audio.corpora.recanvo import LABELS
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


def test_rarer_labels_can_be_asked_for(root):
    corpus = find("recanvo", root, classes=("yes", "selftalk"))
    assert (corpus.classes, len(corpus.files)) == (("yes", "selftalk"), 3)
    with pytest.raises(DataError, match=r"(?s)names 'yess'.*mean 'yes'"):
        find("recanvo", root, classes=("yess", "selftalk"))


@pytest.mark.parametrize("audio", ["", "wav/", "recordings/P01/"])
@pytest.mark.parametrize("table", ["dataset_file_directory.csv", "directory_info.csv"])
def test_recordings_lie_beside_the_table_or_below_it(tmp_path, tree, audio, table):
    root = write(tree(tmp_path / "r", [audio + name for name, _, _ in ROWS]), ROWS, table)
    assert all(file.path.is_file() for file in find("recanvo", root).files)


def test_recordings_without_a_row_and_rows_without_a_recording(root, tree):
    tree(root, ["strange.wav"])
    (root / ROWS[0][0]).unlink()
    corpus = find("recanvo", root)
    assert "Left out 1 recording without a row in dataset_file_directory.csv: strange.wav." in corpus.warnings
    # A missing file is for the reader to tell, with its row, or to skip.
    (missing,) = [file for file in corpus.files if not file.path.exists()]
    assert missing.path == root / ROWS[0][0]
    assert missing.where == "row 2 of dataset_file_directory.csv"


def test_the_copy_beside_the_table_is_taken_and_others_are_ambiguous(root, tree):
    tree(root, [f"samples/{ROWS[0][0]}"])
    assert root / ROWS[0][0] in {file.path for file in find("recanvo", root).files}
    tree(root, [f"again/{ROWS[0][0]}"])
    (root / ROWS[0][0]).unlink()
    with pytest.raises(DataError, match=r"row 2 lists .* which is there more than once"):
        find("recanvo", root)


def test_tables_that_go_wrong_are_told(root):
    write(root, [*ROWS, ("x.wav", "P01", "")])
    with pytest.raises(DataError, match="row 17 has nothing in column Label"):
        find("recanvo", root)
    write(root, ROWS, header=("File", "Participant", "Label"))
    with pytest.raises(DataError, match="no column 'Filename'; its columns are: File, Participant, Label"):
        find("recanvo", root)
    (root / "dataset_file_directory.csv").unlink()
    with pytest.raises(DataError, match=r"There is no dataset_file_directory\.csv or directory_info\.csv below"):
        find("recanvo", root)


def test_a_table_that_is_not_utf8_is_read(root):
    write(root, [(*ROWS[0][:2], "café"), *ROWS[1:]], encoding="cp1252")
    assert "café" in " ".join(find("recanvo", root).warnings)
