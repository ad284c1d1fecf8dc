import shutil

import numpy as np
import pytest
from PIL import Image
from sections import data_section
from tiny_images import image_tree

from trainyard.errors import DataError, LeakError
from trainyard.images.schema import ImageFolderData
from trainyard.images.sources.files import load_folder


def load(root, **options):
    return load_folder(data_section(ImageFolderData, path=str(root), **({"image_size": (8, 8)} | options)))


def test_folders_are_classes_and_pixels_are_pillows(tmp_path):
    paths = image_tree(tmp_path / "zoo", ("cat", "dog"), 10, (12, 9))
    data = load(tmp_path / "zoo", image_size=(6, 7))
    assert data.name == "zoo"
    assert data.classes == ("cat", "dog")
    assert data.ids[0] == "cat/cat-000.png"
    assert data.item_shape == (3, 6, 7)
    got = data.fetch(np.arange(20))
    for index, path in enumerate(paths):
        want = np.asarray(Image.open(path).convert("RGB").resize((7, 6), Image.Resampling.BILINEAR))
        np.testing.assert_array_equal(got[index].permute(1, 2, 0).numpy(), want.astype(np.float32) / np.float32(255))
    assert data.labels.tolist() == [0] * 10 + [1] * 10
    assert data.warnings == ()


def test_grey_pictures_have_one_channel(tmp_path):
    image_tree(tmp_path, per_class=4, channels=1, suffix=".jpg")
    assert load(tmp_path, channels=1).fetch(np.arange(2)).shape == (2, 1, 8, 8)


@pytest.mark.parametrize("val", ["val", "valid", "Validation"])
def test_split_folders_are_official(tmp_path, val):
    image_tree(tmp_path, splits={"train": 6, val: 2, "test": 3})
    data = load(tmp_path)
    assert data.fingerprint()["splits"] == {"train": 18, "val": 6, "test": 9}
    assert all(data.ids[index].startswith(val) for index in data.indices("val"))


def test_a_missing_val_folder_is_cut_from_train(tmp_path):
    image_tree(tmp_path, splits={"train": 10, "test": 3})
    assert load(tmp_path, val_fraction=0.2).fingerprint()["splits"] == {"train": 24, "val": 6, "test": 9}


def test_a_class_named_test_is_a_class(tmp_path):
    image_tree(tmp_path, ("control", "test"), 10)
    assert load(tmp_path).classes == ("control", "test")


def test_images_deeper_down_count_and_links_are_followed_once(tmp_path):
    image_tree(tmp_path / "other", ("dog",), 5, seed=3)
    image_tree(tmp_path / "zoo", ("cat", "dog"), 5)
    (tmp_path / "zoo/dog/more").symlink_to(tmp_path / "other/dog")
    (tmp_path / "zoo/dog/more/loop").symlink_to(tmp_path / "zoo/dog")
    data = load(tmp_path / "zoo")
    assert "dog/more/dog-000.png" in data.ids
    assert len(data) == 15


def test_other_files_are_ignored_and_counted(tmp_path):
    image_tree(tmp_path, per_class=10)
    (tmp_path / "barn/notes.txt").write_text("x")
    (tmp_path / "barn/.DS_Store").write_text("x")
    (tmp_path / "barn/._barn-000.png").write_text("x")
    (tmp_path / "README.md").write_text("x")
    data = load(tmp_path)
    assert len(data) == 30
    (warning,) = data.warnings
    assert "(1): barn/notes.txt" in warning


def test_other_folders_beside_train_are_noted(tmp_path):
    image_tree(tmp_path, splits={"train": 6, "val": 2, "test": 3, "extra": 1})
    (warning,) = load(tmp_path).warnings
    assert "(1): extra" in warning


def test_two_val_folders_are_refused(tmp_path):
    image_tree(tmp_path, splits={"train": 6, "val": 2, "valid": 3})
    with pytest.raises(DataError) as raised:
        load(tmp_path)
    assert (raised.value.value, raised.value.place) == ("val", str(tmp_path / "valid"))


def damage(root):
    whole = (root / "barn/barn-001.png").read_bytes()
    (root / "barn/barn-001.png").write_bytes(whole[: len(whole) // 2])
    (root / "crane/crane-002.png").write_bytes(b"")
    (root / "track/track-003.png").write_bytes(b"what is this")


def test_every_unreadable_file_is_named_at_once(tmp_path):
    image_tree(tmp_path)
    damage(tmp_path)
    with pytest.raises(DataError) as caught:
        load(tmp_path)
    bad = ("barn/barn-001.png", "crane/crane-002.png", "track/track-003.png")
    assert (caught.value.value, caught.value.place) == (bad, str(tmp_path))
    reasons = [line.partition(".png: ")[2] for line in caught.value.what.splitlines()[1:]]
    assert len(set(reasons)) == 3
    assert all(reasons)
    assert "truncated" in reasons[0]  # Pillow's word
    assert "on_bad_file=skip" in caught.value.remedy


def test_unreadable_files_are_skipped_with_a_warning_when_asked(tmp_path):
    paths = image_tree(tmp_path)
    damage(tmp_path)
    data = load(tmp_path, on_bad_file="skip")
    assert len(data) == 21
    assert "3 images" in data.warnings[0]
    assert "crane/crane-002.png" in data.warnings[0]
    # The remaining items are fetched by their new positions.
    index = data.ids.index("track/track-007.png")
    want = np.asarray(Image.open(paths[-1]).resize((8, 8), Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(
        data.fetch(np.array([index]))[0].permute(1, 2, 0).numpy(), want.astype(np.float32) / np.float32(255)
    )


def test_a_class_without_a_readable_image_is_refused(tmp_path):
    for path in image_tree(tmp_path, ("cat", "dog", "emu"), 4):
        if path.parent.name == "dog":
            path.write_bytes(b"")
    with pytest.raises(DataError) as raised:
        load(tmp_path, on_bad_file="skip")
    assert (raised.value.value, raised.value.place) == ("dog", str(tmp_path))


def test_a_missing_folder_and_one_without_classes_are_refused(tmp_path):
    def refusal(path):
        with pytest.raises(DataError) as raised:
            load(path)
        assert raised.value.remedy
        return raised.value.value, raised.value.place

    assert refusal(tmp_path / "nowhere") == (None, str(tmp_path / "nowhere"))
    (tmp_path / "file").write_text("")
    assert refusal(tmp_path / "file") == (None, str(tmp_path / "file"))
    assert refusal(tmp_path) == (0, str(tmp_path))  # images without a class
    image_tree(tmp_path, ("cat",), 2)
    for path in (tmp_path / "cat").iterdir():
        path.rename(tmp_path / path.name)
    (tmp_path / "cat").rmdir()
    assert refusal(tmp_path) == (2, str(tmp_path))


def test_an_empty_class_and_a_single_class_are_refused(tmp_path):
    image_tree(tmp_path, ("cat",), 4)
    with pytest.raises(DataError) as raised:
        load(tmp_path)
    assert (raised.value.value, raised.value.place) == (("cat",), str(tmp_path))
    (tmp_path / "dog").mkdir()
    with pytest.raises(DataError) as raised:
        load(tmp_path)
    assert (raised.value.value, raised.value.place) == ("dog", str(tmp_path / "dog"))


def test_classes_give_the_order_and_must_match_the_folders(tmp_path):
    image_tree(tmp_path, ("cat", "dog"), 6)
    assert load(tmp_path, classes=("dog", "cat")).classes == ("dog", "cat")
    with pytest.raises(DataError) as raised:
        load(tmp_path, classes=("cat", "dgo"))
    assert (raised.value.value, raised.value.place) == ("dog", str(tmp_path / "dog"))
    assert "'dgo'" in raised.value.remedy
    with pytest.raises(DataError) as raised:
        load(tmp_path, classes=("cat", "dog", "emu"))
    assert (raised.value.value, raised.value.place) == ("emu", str(tmp_path))


def test_a_class_missing_from_val_is_warned_of_and_from_train_refused(tmp_path):
    image_tree(tmp_path, splits={"train": 6, "val": 2, "test": 2})
    shutil.rmtree(tmp_path / "val/crane")
    assert any("val split" in warning and "class crane." in warning for warning in load(tmp_path).warnings)
    shutil.rmtree(tmp_path / "train/barn")
    with pytest.raises(DataError) as raised:
        load(tmp_path)
    assert (raised.value.value, raised.value.place) == (("barn",), f"{tmp_path}:train")


def test_copies_across_split_folders_are_found_whatever_they_are_called(tmp_path):
    image_tree(tmp_path, splits={"train": 6, "val": 2, "test": 2})
    shutil.copy(tmp_path / "train/barn/barn-000.png", tmp_path / "test/barn/new.png")
    assert "train/barn/barn-000.png (train) = test/barn/new.png (test)" in load(tmp_path).warnings[0]
    with pytest.raises(LeakError):
        load(tmp_path, on_leak="error")
    dropped = load(tmp_path, on_leak="drop")
    assert "train/barn/barn-000.png" not in dropped.ids
    assert "test/barn/new.png" in dropped.ids
    assert "1 of train" in dropped.warnings[0]


@pytest.mark.parametrize(("option", "value"), [("on_bad_file", "ignore"), ("channels", 4), ("image_size", (0, 8))])
def test_invalid_options_are_refused(tmp_path, option, value):
    image_tree(tmp_path, per_class=2)
    with pytest.raises(DataError) as raised:
        load(tmp_path, **{option: value})
    assert (raised.value.value, raised.value.place) == (value, f"data.{option}")


def test_hostile_names_are_just_names(tmp_path):
    names = ("it's", "new\nline", "a, b", "漢字", "x" * 200)
    image_tree(tmp_path, names, 3, suffix=".PNG")
    data = load(tmp_path, val_fraction=0.2, test_fraction=0.2)
    assert set(data.classes) == set(names)
    assert data.fingerprint()["items"] == 15
