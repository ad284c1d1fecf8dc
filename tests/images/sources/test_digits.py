import numpy as np
from sections import data_section
from sklearn.datasets import load_digits

from trainyard.images.schema import DigitsData
from trainyard.images.sources import digits


def test_the_items_are_scikit_learns():
    data = digits.load()
    bunch = load_digits()
    got = data.fetch(np.arange(len(data)))
    assert got.shape == (1797, 1, 8, 8)
    np.testing.assert_array_equal(got.numpy()[:, 0], (bunch.images / 16).astype(np.float32))
    np.testing.assert_array_equal(data.labels, bunch.target)
    assert data.classes == tuple("0123456789")
    assert data.ids[12] == "digits[12]"
    assert data.item_shape == (1, 8, 8)
    assert data.groups is None
    assert data.warnings == ()


def test_the_splits_have_their_shares_and_depend_on_the_seed():
    data = digits.load(data_section(DigitsData, val_fraction=0.1, test_fraction=0.2))
    assert data.fingerprint()["splits"] == {"train": 1258, "val": 180, "test": 359}
    assert data.fingerprint() == digits.load().fingerprint()
    other = digits.load(data_section(DigitsData, seed=1)).fingerprint()
    assert other["content_digest"] == data.fingerprint()["content_digest"]
    assert other["split_digest"] != data.fingerprint()["split_digest"]


def test_a_split_may_be_left_out():
    data = digits.load(data_section(DigitsData, val_fraction=0.0))
    assert len(data.indices("val")) == 0
    assert data.warnings == ("The val split is empty.",)
