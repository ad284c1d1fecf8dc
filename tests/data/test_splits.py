from collections import Counter

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sklearn.model_selection import StratifiedGroupKFold, StratifiedShuffleSplit

from trainyard.data.splits import Leaks, assign_splits, find_leaks, without_leaks
from trainyard.errors import DataError

FRACTIONS = st.sampled_from([0.0, 0.1, 0.15, 0.2, 0.3])


def unique(count):
    return [f"{index:08x}" for index in range(count)]


@st.composite
def data(draw):
    count = draw(st.integers(1, 80))
    labels = draw(st.lists(st.integers(0, 4), min_size=count, max_size=count))
    group = st.sampled_from(["", *[f"speaker {n}" for n in range(12)]])
    groups = draw(st.none() | st.lists(group, min_size=count, max_size=count))
    digests = draw(st.lists(st.integers(0, 3 * count), min_size=count, max_size=count))
    return labels, groups, [f"{digest:04x}" for digest in digests]


@settings(deadline=None, max_examples=300)
@given(data(), FRACTIONS, FRACTIONS, st.integers(0, 5))
def test_nothing_is_ever_on_two_sides_and_train_has_every_class(drawn, val, test, seed):
    labels, groups, digests = drawn
    try:
        splits = assign_splits(labels, groups, digests, val, test, seed)
    except DataError as error:
        assert error.value in ("val", "test")  # noqa: PT017  (either outcome is right, depending on what was drawn)
        assume(False)
    assert len(splits) == len(labels)
    assert set(splits.tolist()) == {"train"} | ({"val"} if val else set()) | ({"test"} if test else set())
    leaks = find_leaks([str(index) for index in range(len(labels))], digests, groups, splits)
    assert not leaks
    assert {labels[index] for index in np.flatnonzero(splits == "train")} == set(labels)
    np.testing.assert_array_equal(splits, assign_splits(labels, groups, digests, val, test, seed))


@settings(deadline=None, max_examples=200)
@given(
    st.lists(st.integers(5, 60), min_size=1, max_size=6),
    st.sampled_from([0.1, 0.15, 0.2, 0.3]),
    st.sampled_from([0.1, 0.2, 0.25]),
    st.integers(0, 3),
)
def test_single_items_are_stratified_and_the_totals_are_met(sizes, val, test, seed):
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(len(sizes)), sizes)).tolist()
    splits = assign_splits(labels, None, unique(len(labels)), val, test, seed)
    for split, share in (("val", val), ("test", test)):
        held = Counter(np.asarray(labels)[splits == split].tolist())
        assert abs(sum(held.values()) - share * len(labels)) <= 2
        for label, total in Counter(labels).items():
            assert abs(held[label] - share * total) < 2


def test_class_counts_are_those_of_scikit_learn():
    labels = np.repeat([0, 1, 2], [200, 70, 30])
    splits = assign_splits(labels, None, unique(300), 0.0, 0.2, 0)
    _, test = next(StratifiedShuffleSplit(1, test_size=0.2, random_state=0).split(labels, labels))
    assert Counter(labels[splits == "test"].tolist()) == Counter(labels[test].tolist())


@pytest.mark.parametrize("seed", range(5))
def test_groups_are_stratified_as_well_as_scikit_learns(seed):
    rng = np.random.default_rng(seed)
    groups = rng.integers(0, 40, 1000)
    leaning = rng.dirichlet([0.7] * 4, 40)  # groups differ in their distribution of labels
    labels = np.array([rng.choice(4, p=leaning[group]) for group in groups])
    wanted = np.bincount(labels, minlength=4) / 5

    def distance(held):
        return np.abs(np.bincount(labels[held], minlength=4) - wanted).sum()

    splits = assign_splits(labels, [f"g{group}" for group in groups], unique(1000), 0.0, 0.2, seed)
    folds = StratifiedGroupKFold(5, shuffle=True, random_state=seed).split(labels, labels, groups)
    assert distance(splits == "test") <= max(distance(test) for _, test in folds) + 10
    assert not set(groups[splits == "test"]) & set(groups[splits == "train"])


def test_another_seed_is_another_split_with_and_without_groups():
    labels = [0, 1] * 50
    groups = [f"g{index % 20}" for index in range(100)]
    for named in (None, groups):
        seen = {tuple(assign_splits(labels, named, unique(100), 0.1, 0.2, seed)) for seed in range(5)}
        assert len(seen) == 5


def test_groups_joined_by_an_identical_item_stay_together():
    # a-b share a group, b-c the content, c-d a group: all four are one unit.
    labels = [0, 0, 0, 0, *[0, 1] * 20]
    groups = ["p", "p", "q", "q", *[""] * 40]
    digests = ["1", "same", "same", "4", *[f"x{index}" for index in range(40)]]
    for seed in range(10):
        splits = assign_splits(labels, groups, digests, 0.2, 0.2, seed)
        assert len(set(splits[:4])) == 1


def test_a_class_in_one_group_is_trained_on():
    groups = ["only"] * 5 + [f"g{index}" for index in range(15)]
    for seed in range(10):
        splits = assign_splits([1] * 5 + [0] * 15, groups, unique(20), 0.4, 0.4, seed)
        assert set(splits[:5]) == {"train"}


def test_three_groups_fill_three_splits():
    splits = assign_splits([0, 1] * 30, ["a"] * 20 + ["b"] * 20 + ["c"] * 20, unique(60), 0.1, 0.2, 0)
    assert Counter(splits.tolist()) == {"train": 20, "val": 20, "test": 20}


def test_too_few_groups_are_refused():
    with pytest.raises(DataError) as raised:
        assign_splits([0, 1] * 5, ["a"] * 5 + ["b"] * 5, unique(10), 0.1, 0.2, 0)
    assert (raised.value.value, raised.value.place) == ("test", "data.split.test_fraction")
    assert "data.split.test_fraction=0" in raised.value.remedy


@pytest.mark.parametrize(
    ("val", "test", "value", "place"),
    [
        (-0.1, 0.2, -0.1, "data.split.val_fraction"),
        (0.1, 1.0, 1.0, "data.split.test_fraction"),
        (0.5, 0.5, (0.5, 0.5), "data.split"),
    ],
)
def test_impossible_fractions_are_refused(val, test, value, place):
    with pytest.raises(DataError) as raised:
        assign_splits([0, 1], None, unique(2), val, test, 0)
    assert (raised.value.value, raised.value.place) == (value, place)


def test_no_items_are_no_splits():
    assert assign_splits([], None, [], 0.1, 0.2, 0).tolist() == []


@st.composite
def label_sets(draw):
    count = draw(st.integers(4, 60))
    rows = draw(st.lists(st.lists(st.booleans(), min_size=3, max_size=3), min_size=count, max_size=count))
    group = st.sampled_from(["", *[f"author {n}" for n in range(12)]])
    groups = draw(st.none() | st.lists(group, min_size=count, max_size=count))
    digests = draw(st.lists(st.integers(0, 3 * count), min_size=count, max_size=count))
    return np.array(rows), groups, [f"{digest:04x}" for digest in digests]


@settings(deadline=None, max_examples=200)
@given(label_sets(), FRACTIONS, FRACTIONS, st.integers(0, 5))
def test_sets_of_labels_never_leak_and_train_has_every_label_that_there_is(drawn, val, test, seed):
    labels, groups, digests = drawn
    try:
        splits = assign_splits(labels, groups, digests, val, test, seed)
    except DataError as error:
        assert error.value in ("val", "test")  # noqa: PT017  (either outcome is right, depending on what was drawn)
        assume(False)
    assert set(splits.tolist()) == {"train"} | ({"val"} if val else set()) | ({"test"} if test else set())
    assert not find_leaks([str(index) for index in range(len(labels))], digests, groups, splits)
    np.testing.assert_array_equal(labels[splits == "train"].any(axis=0), labels.any(axis=0))
    np.testing.assert_array_equal(splits, assign_splits(labels, groups, digests, val, test, seed))


def skewed(count, seed):
    """Labels as rare as 1 in 100 and as frequent as 1 in 3, and two that come together."""
    rng = np.random.default_rng(seed)
    labels = rng.random((count, 8)) < np.geomspace(0.01, 0.33, 8)
    labels[:, 7] |= labels[:, 5] & (rng.random(count) < 0.7)
    return labels


@pytest.mark.parametrize("seed", range(4))
def test_sets_of_labels_are_stratified_label_by_label_and_by_combination(seed):
    labels = skewed(2000, seed)
    splits = assign_splits(labels, None, unique(2000), 0.1, 0.2, seed)
    combinations, codes, sizes = np.unique(labels, axis=0, return_inverse=True, return_counts=True)
    for split, share in (("val", 0.1), ("test", 0.2)):
        held = splits == split
        assert abs(held.sum() - share * 2000) < 20
        np.testing.assert_allclose(labels[held].sum(axis=0), share * labels.sum(axis=0), atol=2, rtol=0.05)
        got = np.bincount(codes.ravel()[held], minlength=len(combinations))
        frequent = sizes * 0.1 >= 1
        # By chance alone the counts of combinations would be off by their binomial deviation.
        chance = np.sqrt(sizes * share * (1 - share))[frequent].mean()
        assert np.abs(got - share * sizes)[frequent].mean() < chance / 2


def test_sets_of_labels_in_groups_are_stratified_too():
    labels = skewed(2000, 0)
    groups = [f"g{number}" for number in np.random.default_rng(1).integers(0, 200, 2000)]
    splits = assign_splits(labels, groups, unique(2000), 0.0, 0.2, 0)
    np.testing.assert_allclose(labels[splits == "test"].sum(axis=0) / labels.sum(axis=0), 0.2, atol=0.05)
    others = {tuple(assign_splits(labels, groups, unique(2000), 0.0, 0.2, seed)) for seed in range(3)}
    assert len(others) == 3


def test_leaks_are_found_and_described():
    ids = ["a", "b", "c", "d", "e", "f"]
    digests = ["1", "1", "1", "2", "3", "2"]
    groups = ["p", "", "q", "", "p", ""]
    splits = ["train", "train", "val", "val", "test", "test"]
    leaks = find_leaks(ids, digests, groups, splits)
    assert leaks
    assert leaks.identical == ((("a", "train"), ("c", "val"), ("b", "train")), (("d", "val"), ("f", "test")))
    assert leaks.groups == (("p", ("train", "test")),)
    assert (leaks.repeated, leaks.held_out) == (1, 2)
    text = "\n".join(leaks.describe(shown=1))
    assert "a (train) = c (val) = b (train); and 1 more" in text
    assert "d (val)" not in text
    assert "p in train, test" in text
    assert "1 item of train repeats another item of train." in text


def test_repeats_inside_train_are_not_a_leak():
    leaks = find_leaks(["a", "b"], ["1", "1"], None, ["train", "train"])
    assert not leaks
    assert leaks == Leaks(repeated=1)


@settings(deadline=None, max_examples=200)
@given(data(), st.randoms(use_true_random=False))
def test_after_dropping_nothing_leaks_and_test_is_whole(drawn, random):
    labels, groups, digests = drawn
    splits = np.array([random.choice(["train", "val", "test"]) for _ in labels])
    keep = without_leaks(digests, groups, splits)
    assert keep[splits == "test"].all()
    left = np.flatnonzero(keep)
    kept_groups = None if groups is None else [groups[index] for index in left]
    assert not find_leaks([str(n) for n in left], [digests[index] for index in left], kept_groups, splits[left])
    # Nothing is dropped without cause: each dropped item leaks if it alone is put back.
    for index in np.flatnonzero(~keep):
        again = sorted([*left.tolist(), int(index)])
        back = None if groups is None else [groups[n] for n in again]
        assert find_leaks([str(n) for n in again], [digests[n] for n in again], back, splits[again])
