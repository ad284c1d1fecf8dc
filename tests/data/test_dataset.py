import dataclasses
import json

import numpy as np
import pytest
import torch

from trainyard.data.dataset import Dataset, explain_change


def make(**changes):
    fields = {
        "name": "zoo",
        "classes": ("ape", "bee"),
        "ids": ("a", "b", "c", "d"),
        "labels": np.array([0, 1, 0, 1]),
        "splits": np.array(["train", "train", "val", "test"]),
        "groups": ("g", "h", "i", ""),
        "digests": ("01", "02", "03", "04"),
        "item_shape": (1, 2, 2),
        "fetch": lambda indices: torch.zeros(len(indices), 1, 2, 2),
    }
    return Dataset(**(fields | changes))


def changes_of(**changes):
    return explain_change(make().fingerprint(), make(**changes).fingerprint())


def test_indices_are_those_of_the_split():
    data = make()
    assert data.indices("train").tolist() == [0, 1]
    assert data.indices("test").dtype == np.int64
    with pytest.raises(ValueError, match="unknown split 'valid'"):
        data.indices("valid")


def test_columns_of_different_length_are_refused():
    with pytest.raises(ValueError, match="differ in length"):
        make(ids=("a",))


def test_preprocessing_is_recorded_and_does_not_tell_data_apart():
    described = {"kind": "image", "item_shape": [1, 2, 2]}
    plain, other = make().fingerprint(), make(preprocessing=described).fingerprint()
    assert (plain["preprocessing"], other["preprocessing"]) == ({}, described)
    assert other["digest"] == plain["digest"]
    assert changes_of(preprocessing=described) == []
    moved = {"preprocessing": described, "ids": ("a", "b", "c", "e")}
    assert changes_of(**moved) == changes_of(ids=moved["ids"]) != []


def test_a_fingerprint_counts_and_survives_json():
    fingerprint = make().fingerprint()
    assert json.loads(json.dumps(fingerprint)) == fingerprint
    assert fingerprint["items"] == 4
    assert fingerprint["splits"] == {"train": 2, "val": 1, "test": 1}
    assert fingerprint["class_counts"]["val"] == {"ape": 1, "bee": 0}
    assert explain_change(fingerprint, make().fingerprint()) == []


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"digests": ("01", "02", "03", "05")}, ["content of the items changed"]),
        ({"ids": ("a", "b", "c", "e")}, ["renamed or moved"]),
        ({"ids": ("a", "b", "c", "e"), "digests": ("01", "02", "03", "05")}, ["names and content both changed"]),
        ({"splits": np.array(["train", "val", "val", "test"])}, ["split", "train had 2 items and has 1"]),
        ({"splits": np.array(["train", "val", "train", "test"])}, ["sizes are the same, but the items in them"]),
        ({"labels": np.array([1, 1, 0, 1])}, ["other labels"]),
        ({"groups": ("g", "g", "i", "")}, ["other groups"]),
        ({"classes": ("ape", "cow")}, ["classes are now without bee and with cow added", "other labels"]),
        ({"item_shape": (3, 2, 2)}, ["was 1 x 2 x 2 and is now 3 x 2 x 2"]),
        ({"digests": ("02", "01", "03", "04")}, ["paired differently"]),
        (
            {
                "ids": ("b", "a", "c", "d"),
                "digests": ("02", "01", "03", "04"),
                "labels": np.array([1, 0, 0, 1]),
                "groups": ("h", "g", "i", ""),
            },
            ["same in another order"],
        ),
    ],
)
def test_every_change_is_reported_and_nothing_else(changed, words):
    lines = changes_of(**changed)
    assert len(lines) == len(words) or words[0] == "split"
    for word in words:
        assert any(word in line for line in lines), lines


def test_classes_in_another_order_are_another_dataset():
    swapped = {"classes": ("bee", "ape"), "labels": np.array([1, 0, 1, 0])}
    (line,) = changes_of(**swapped)
    assert "in another order (bee, ape; before: ape, bee)" in line


def test_fewer_items_are_reported_with_both_counts():
    data = make()
    fewer = dataclasses.replace(
        data,
        ids=data.ids[:3],
        labels=data.labels[:3],
        splits=data.splits[:3],
        groups=data.groups[:3],
        digests=data.digests[:3],
    )
    lines = explain_change(data.fingerprint(), fewer.fingerprint())
    assert "The number of items was 4 and is now 3." in lines
    assert any("test had 1 items and has 0" in line for line in lines)


def test_names_with_separators_inside_do_not_collide():
    one = make(ids=("a", "b", "c", "d"), classes=("x", "y"))
    two = make(ids=("a0", "1b", "c", "d"), digests=("1", "02", "03", "04"), classes=("x", "y"))
    assert one.fingerprint()["digest"] != two.fingerprint()["digest"]
    assert make(groups=("", "", "", "")).fingerprint() == make(groups=None).fingerprint()


def test_an_old_fingerprint_without_some_keys_is_still_explained():
    old = {"digest": "0", "items": 3}
    assert explain_change(old, make().fingerprint()) == ["The number of items was 3 and is now 4."]


def several(**changes):
    labels = np.array([[True, False], [True, True], [False, False], [False, True]])
    return make(**({"labels": labels} | changes))


def test_several_labels_an_item_are_counted_by_label_and_splits_by_item():
    data = several()
    assert data.multi_label
    assert not make().multi_label
    fingerprint = data.fingerprint()
    assert json.loads(json.dumps(fingerprint)) == fingerprint
    assert fingerprint["class_counts"]["train"] == {"ape": 2, "bee": 1}
    assert fingerprint["splits"] == {"train": 2, "val": 1, "test": 1}


def test_a_change_of_one_label_among_several_is_reported():
    changed = several().labels.copy()
    changed[2, 0] = True
    (line,) = explain_change(several().fingerprint(), several(labels=changed).fingerprint())
    assert line == "Items have other labels than before."


def test_fingerprints_of_before_still_hold():
    # From the first version, in which items had one label each: resumed runs compare against such digests.
    assert make().fingerprint()["digest"] == "e38d4f1dec6602f694d6a0e0a2103b1a"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"labels": np.zeros((4, 3), dtype=bool)}, "for 2 classes"),
        ({"texts": ("a",)}, "differ in length"),
        ({"ragged": True}, "need lengths"),
    ],
)
def test_what_does_not_fit_together_is_refused(changes, words):
    with pytest.raises(ValueError, match=words):
        make(**changes)
