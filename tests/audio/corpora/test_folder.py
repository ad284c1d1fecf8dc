import pytest

from trainyard.audio.corpora import find
from trainyard.errors import DataError


def test_folders_are_classes_at_any_depth(tmp_path, tree):
    root = tree(tmp_path / "zoo", ["cat/a.wav", "cat/more/b.FLAC", "dog/c.mp3"])
    (root / "dog/notes.txt").write_text("x")
    corpus = find("folder", root)
    assert (corpus.name, corpus.classes) == ("zoo", ("cat", "dog"))
    assert [(file.id, file.label, file.group, file.split) for file in corpus.files] == [
        ("cat/a.wav", 0, "", ""),
        ("cat/more/b.FLAC", 0, "", ""),
        ("dog/c.mp3", 1, "", ""),
    ]
    (warning,) = corpus.warnings
    assert "(1): dog/notes.txt" in warning


def test_split_folders_are_official(tmp_path, tree):
    root = tree(
        tmp_path, [f"{split}/{label}/a.wav" for split in ("train", "valid", "test") for label in ("cat", "dog")]
    )
    assert {(file.id.split("/")[0], file.split) for file in find("folder", root).files} == {
        ("train", "train"),
        ("valid", "val"),
        ("test", "test"),
    }


def test_classes_order_and_must_match(tmp_path, tree):
    root = tree(tmp_path, ["cat/a.wav", "dog/b.wav"])
    assert find("folder", root, classes=("dog", "cat")).classes == ("dog", "cat")
    with pytest.raises(DataError) as raised:
        find("folder", root, classes=("cat",))
    assert (raised.value.value, raised.value.place) == ("dog", str(root / "dog"))
    with pytest.raises(DataError) as raised:
        find("folder", root, classes=("cat", "dog", "emu"))
    assert (raised.value.value, raised.value.place) == ("emu", str(root))


def test_an_empty_class_and_loose_recordings_are_refused(tmp_path, tree):
    root = tree(tmp_path / "a", ["cat/a.wav"])
    (root / "dog").mkdir()
    with pytest.raises(DataError) as raised:
        find("folder", root)
    assert (raised.value.value, raised.value.place) == ("dog", str(root / "dog"))
    with pytest.raises(DataError) as raised:
        find("folder", tree(tmp_path / "b", ["a.wav", "b.ogg"]))
    assert (raised.value.value, raised.value.place) == (2, str(tmp_path / "b"))


def test_hostile_names_are_just_names(tmp_path, tree):
    names = ["it's", "new\nline", "a, b", "漢字", "x" * 200]
    assert set(find("folder", tree(tmp_path, [f"{name}/{name[:90]}.wav" for name in names])).classes) == set(names)
