import os
from pathlib import Path

import numpy as np
import pytest
from sections import data_section
from sklearn.datasets import load_digits
from tiny_images import tiny_npz

from trainyard.errors import DataError, LeakError
from trainyard.images.schema import NpzData
from trainyard.images.sources import npz

RNG = np.random.default_rng(0)


def load(path, **options):
    return npz.load(data_section(NpzData, path=str(path), **options))


def images(count=30, seed=0, shape=(6, 5), dtype=np.uint8):
    return np.random.default_rng(seed).integers(0, 256, (count, *shape)).astype(dtype)


def labels(count=30, classes=3):
    return np.arange(count) % classes


def save(path, **arrays):
    np.savez(path / "data.npz", **arrays)
    return path / "data.npz"


def test_grey_bytes_become_one_channel_between_0_and_1(tmp_path):
    raw = images()
    data = load(save(tmp_path, images=raw, labels=labels()))
    assert data.name == "data"
    assert data.item_shape == (1, 6, 5)
    assert data.classes == ("0", "1", "2")
    np.testing.assert_array_equal(data.fetch(np.arange(30)).numpy()[:, 0], raw.astype(np.float32) / np.float32(255))
    assert data.ids[4] == "images[4]"


def test_colours_become_channels_first(tmp_path):
    raw = images(shape=(6, 5, 3))
    data = load(save(tmp_path, images=raw, labels=labels()))
    assert data.item_shape == (3, 6, 5)
    np.testing.assert_array_equal(
        data.fetch(np.array([7])).numpy()[0, 2], raw[7, :, :, 2].astype(np.float32) / np.float32(255)
    )


@pytest.mark.parametrize(
    "keys",
    [
        ("train_images", "train_labels", "test_images", "test_labels"),
        ("x_train", "y_train", "x_test", "y_test"),
        ("X_train", "Y_train", "X_test", "Y_test"),
        ("images_train", "labels_train", "images_test", "labels_test"),
        ("train_data", "train_targets", "testing_data", "testing_targets"),
        ("x", "y", "x_test", "y_test"),
    ],
)
def test_official_splits_under_the_names_people_use(tmp_path, keys):
    arrays = (images(60), labels(60), images(15, seed=1), labels(15))
    data = load(save(tmp_path, **dict(zip(keys, arrays, strict=True))), val_fraction=0.1, test_fraction=0.5)
    # The test split is theirs whatever was asked for; val is cut from train.
    assert data.fingerprint()["splits"] == {"train": 54, "val": 6, "test": 15}
    assert [data.ids[index] for index in data.indices("test")] == [f"{keys[2]}[{index}]" for index in range(15)]


def test_three_official_splits_stay_as_they_are(tmp_path):
    data = load(tiny_npz(tmp_path / "d.npz", splits={"train": 6, "val": 2, "test": 3}), seed=5)
    assert data.fingerprint()["splits"] == {"train": 18, "val": 6, "test": 9}


def test_scikit_learns_digits_as_an_npz(tmp_path):
    bunch = load_digits()
    data = load(save(tmp_path, data=bunch.images, target=bunch.target))
    np.testing.assert_array_equal(data.fetch(np.arange(9)).numpy()[:, 0], bunch.images[:9].astype(np.float32))


@pytest.mark.parametrize(
    ("values", "classes", "names"),
    [
        (labels()[:, None], None, ("0", "1", "2")),
        (labels() + 7, None, ("7", "8", "9")),
        (labels().astype(np.float64), None, ("0", "1", "2")),
        (np.array(["b", "a", "c"])[labels()], None, ("a", "b", "c")),
        (labels(), ("x", "y", "z"), ("x", "y", "z")),
        (np.array(["b", "a", "c"])[labels()], ("c", "b", "a"), ("c", "b", "a")),
        (np.array([b"b", b"a", b"c"])[labels()], None, ("a", "b", "c")),
        (labels(classes=2).astype(bool), None, ("0", "1")),
    ],
)
def test_labels_of_every_kind(tmp_path, values, classes, names):
    data = load(save(tmp_path, images=images(), labels=values), classes=classes)
    assert data.classes == names
    flat = values.reshape(-1)
    for index in range(30):
        value = flat[index].decode() if isinstance(flat[index], bytes) else flat[index]
        if classes is not None and flat.dtype.kind == "i":
            assert data.labels[index] == value
        else:
            assert data.classes[data.labels[index]] == str(value if isinstance(value, str) else int(value))


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.uint16, ">u2", np.int64, ">f4"])
def test_other_numbers(tmp_path, dtype):
    raw = images().astype(dtype)
    data = load(save(tmp_path, images=raw, labels=labels()))
    scale = 65535 if np.dtype(dtype).kind == "u" else 1
    np.testing.assert_allclose(data.fetch(np.arange(30)).numpy()[:, 0], raw / scale, rtol=1e-6)
    assert any("used unscaled" in line for line in data.warnings) == (dtype is np.int64)


def test_groups_beside_the_images_are_kept_together(tmp_path):
    groups = np.repeat(np.arange(10), 3)
    data = load(save(tmp_path, images=images(), labels=labels(), groups=groups))
    for group in set(data.groups):
        assert len({data.splits[index] for index in range(30) if data.groups[index] == group}) == 1


# The arrays, then where in the file the fault is, and the value at fault.
BAD = {
    "no labels": ({"images": images(), "other": labels()}, "", ("images", "other")),
    "no images": ({"imgs": images(), "lbls": labels()}, "", ("imgs", "lbls")),
    "no train": ({"test_images": images(), "test_labels": labels()}, "", ("test_images", "test_labels")),
    "two images": ({"x": images(), "images": images(), "y": labels()}, "", ("x", "images")),
    "both": ({"x": images(), "y": labels(), "x_train": images(), "y_train": labels()}, "", ("x", "x_train")),
    "lengths": ({"images": images(), "labels": labels(29)}, ":images", (30, 29)),
    "shape": ({"images": images(shape=(2, 2, 2, 2)), "labels": labels()}, ":images", (30, 2, 2, 2, 2)),
    "text": ({"images": np.array(["a"] * 30), "labels": labels()}, ":images", "<U1"),
    "nan": ({"images": np.full((30, 2, 2), np.nan), "labels": labels()}, ":images[0]", None),
    "one-hot": ({"images": images(), "labels": np.eye(3)[labels()]}, ":labels", ((30, 3), "float64")),
    "half": ({"images": images(), "labels": labels() + 0.5}, ":labels[0]", 0.5),
    "groups": ({"images": images(), "labels": labels(), "groups": labels(9)}, ":groups", (9, 30)),
    "one class": ({"images": images(), "labels": np.zeros(30, int)}, "", ("0",)),
    "nothing": ({"images": images(0), "labels": labels(0)}, "", None),
    "shapes": (
        {"x_train": images(), "y_train": labels(), "x_test": images(shape=(4, 4)), "y_test": labels()},
        "",
        {"x_train": (1, *images().shape[1:]), "x_test": (1, 4, 4)},
    ),
    "types": (
        {"x_train": images(), "y_train": labels(), "x_test": images(dtype=float), "y_test": labels()},
        "",
        {"x_train": "uint8", "x_test": "float64"},
    ),
    "kinds": (
        {"x_train": images(), "y_train": labels(), "x_test": images(), "y_test": labels().astype(str)},
        "",
        {"y_train": str(labels().dtype), "y_test": str(labels().astype(str).dtype)},
    ),
    "class only in test": (
        {"x_train": images(), "y_train": labels(), "x_test": images(30, 1), "y_test": labels(classes=4)},
        ":train",
        ("3",),
    ),
}


@pytest.mark.parametrize(("arrays", "where", "value"), BAD.values(), ids=BAD.keys())
def test_faults_are_reported_with_their_place_and_value(tmp_path, arrays, where, value):
    path = save(tmp_path, **arrays)
    with pytest.raises(DataError) as raised:
        load(path)
    assert (raised.value.value, raised.value.place) == (value, f"{path}{where}")
    assert raised.value.remedy


def test_missing_arrays_are_named_with_the_nearest_key(tmp_path):
    for name, missing in (("no labels", "labels for images"), ("no train", "train_images")):
        with pytest.raises(DataError) as raised:
            load(save(tmp_path, **BAD[name][0]))
        assert missing in raised.value.what
    with pytest.raises(DataError) as raised:
        load(save(tmp_path, **BAD["no images"][0]))
    assert raised.value.remedy.startswith("Did you mean 'images'?")
    with pytest.raises(DataError) as raised:
        load(save(tmp_path, **BAD["one-hot"][0]))
    assert "argmax" in raised.value.remedy


@pytest.mark.parametrize(
    ("classes", "where", "value"),
    [
        (("a", "b"), "{path}:labels[2]", 2),
        (("a", "b", "c", "d"), "{path}", ("d",)),
        (("a", "a", "b"), "data.classes", ("a",)),
    ],
)
def test_classes_that_do_not_fit_are_refused(tmp_path, classes, where, value):
    path = save(tmp_path, images=images(), labels=labels())
    with pytest.raises(DataError) as raised:
        load(path, classes=classes)
    assert (raised.value.value, raised.value.place) == (value, where.format(path=path))


def test_an_unknown_name_is_reported_with_its_place_and_the_nearest(tmp_path):
    path = save(
        tmp_path,
        x_train=images(3),
        y_train=np.array(["cat", "dog", "cat"]),
        x_test=images(2),
        y_test=np.array(["dog", "dgo"]),
    )
    with pytest.raises(DataError) as raised:
        load(path, classes=("cat", "dog"))
    assert (raised.value.value, raised.value.place) == ("dgo", f"{path}:y_test[1]")
    assert "'dog'" in raised.value.remedy


def test_files_that_are_not_an_npz_are_refused(tmp_path):
    def refusal(path):
        with pytest.raises(DataError) as raised:
            load(path)
        assert raised.value.place == str(path)
        assert raised.value.remedy
        return raised.value.value

    path = tmp_path / "x.npz"
    assert refusal(path) is None
    path.write_bytes(b"nothing like it")
    assert refusal(path) == b"no"
    whole = tiny_npz(tmp_path / "whole.npz").read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert "zip" in refusal(path)  # the words of zipfile
    np.save(tmp_path / "one.npy", labels())
    assert refusal(tmp_path / "one.npy") == b"\x93N"


def test_python_objects_are_never_loaded(tmp_path):
    path = save(tmp_path, images=images(), labels=np.array([object()] * 30))
    with pytest.raises(DataError) as raised:
        load(path)
    assert (raised.value.value, raised.value.place) == ("object", str(path))


def leaky(tmp_path):
    train, test = images(30), images(12, seed=1)
    test[:2] = train[:2]
    train[29] = train[28]
    return save(tmp_path, x_train=train, y_train=labels(), x_test=test, y_test=labels(12))


def test_leaks_are_warned_of(tmp_path):
    data = load(leaky(tmp_path), val_fraction=0.2)
    text = "\n".join(data.warnings)
    assert "2 items of val or test" in text
    assert "x_test[0] (test)" in text
    assert "1 item of train" in text


def test_leaks_are_an_error_with_examples_when_asked(tmp_path):
    with pytest.raises(LeakError) as caught:
        load(leaky(tmp_path), val_fraction=0.0, on_leak="error")
    assert (("x_train[0]", "train"), ("x_test[0]", "test")) in caught.value.value.identical
    assert "x_test[0] (test)" in caught.value.what
    assert caught.value.place == str(tmp_path / "data.npz")
    assert "drop" in caught.value.remedy


def test_leaks_are_dropped_from_train_when_asked(tmp_path):
    data = load(leaky(tmp_path), on_leak="drop", val_fraction=0.2)
    assert len(data.indices("test")) == 12
    assert len(data) == 40
    assert not {"x_train[0]", "x_train[1]"} & set(data.ids)
    assert "2 of train" in data.warnings[0]
    raw = np.load(leaky(tmp_path))
    for index in (0, 5, 39):
        key, at = data.ids[index].rstrip("]").split("[")
        want = raw[key][int(at)].astype(np.float32) / np.float32(255)
        np.testing.assert_array_equal(data.fetch(np.array([index])).numpy()[0, 0], want)


def test_an_unknown_on_leak_is_refused(tmp_path):
    with pytest.raises(DataError) as raised:
        load(leaky(tmp_path), on_leak="ignore")
    assert (raised.value.value, raised.value.place) == ("ignore", "data.split.on_leak")


def real(name):
    folder = os.environ.get("TRAINYARD_DATA")
    path = Path(folder or ".") / name
    if not folder or not path.exists():
        pytest.skip(f"set TRAINYARD_DATA to a folder that holds {name}")
    return path


def test_a_real_medical_set_and_its_known_leaks():
    data = load(real("pneumoniamnist.npz"), classes=("normal", "pneumonia"))
    assert data.fingerprint()["splits"] == {"train": 4708, "val": 524, "test": 624}
    text = "\n".join(data.warnings)
    assert "8 items of val or test " in text
    assert "18 items of train " in text


def test_real_clothes_with_a_val_split_cut_from_train():
    data = load(real("fashion_mnist_12k.npz"))
    assert data.fingerprint()["splits"] == {"train": 9000, "val": 1000, "test": 2000}
    assert data.warnings == ()
