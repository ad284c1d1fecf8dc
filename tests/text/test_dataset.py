import hashlib
from dataclasses import replace

import numpy as np
import pytest

from trainyard.config.schema import SplitOptions
from trainyard.data.dataset import explain_change
from trainyard.errors import DataError, LeakError
from trainyard.text.dataset import split_texts, with_tokens
from trainyard.text.kind import read_texts
from trainyard.text.sources import Texts

SPLIT = SplitOptions(val_fraction=0.2, test_fraction=0.2)


def encode(texts, max_tokens):
    rows = [list(text.encode())[:max_tokens] for text in texts]
    return np.array([byte for row in rows for byte in row], dtype=np.int32), np.cumsum([0, *map(len, rows)])


def texts(count=20, **changes):
    labels = np.zeros((count, 2), dtype=bool)
    labels[::2, 0] = True
    labels[::3, 1] = True
    fields = {
        "where": "here",
        "classes": ("joy", "love"),
        "ids": tuple(f"t{i}" for i in range(count)),
        "texts": tuple("x" * (i + 1) for i in range(count)),
        "labels": labels,
    }
    return Texts(**(fields | changes))


def make(source=None, **options):
    of_split = {name: options.pop(name) for name in ("label_name", "split") if name in options}
    options = {"pad_id": 256, "max_tokens": 30} | options
    return with_tokens(split_texts(source or texts(), **({"name": "t", "split": SPLIT} | of_split)), encode, **options)


def test_a_dataset_of_texts_is_ragged_and_holds_them():
    data = make(label_name="emotion", model_arguments={"tokenizer": "mine"})
    assert data.ragged
    assert data.multi_label
    assert data.label_name == "emotion"
    assert data.model_arguments == {"tokenizer": "mine"}
    assert data.item_shape == (30,)
    assert data.texts == texts().texts
    np.testing.assert_array_equal(data.lengths, np.arange(1, 21))
    assert data.fetch(np.array([0, 2])).tolist() == [[120, 256, 256], [120, 120, 120]]
    assert data.digests[0] == hashlib.blake2b(b"x", digest_size=16).hexdigest()
    assert {split: len(data.indices(split)) for split in ("train", "val", "test")} == {"train": 12, "val": 4, "test": 4}
    assert data.warnings == ()


def test_tokens_can_come_after_the_splits():
    data = split_texts(texts(), name="t", split=SPLIT)
    with pytest.raises(ValueError, match="no tokens yet"):
        data.fetch(np.array([0]))
    whole = with_tokens(data, encode, pad_id=256, max_tokens=30)
    assert whole.fingerprint() == make().fingerprint()


def test_truncated_and_empty_texts_are_reported():
    data = make(max_tokens=19)
    assert data.lengths.max() == 19
    (warning,) = data.warnings
    assert warning.startswith("2 of 20 texts ")
    assert "data.max_tokens=19" in warning
    with pytest.raises(DataError) as raised:
        with_tokens(
            split_texts(texts(), name="t", split=SPLIT), lambda t, m: encode([""] * len(t), m), pad_id=0, max_tokens=9
        )
    assert raised.value.value == [f"t{index}" for index in range(20)]
    assert raised.value.place == "t"
    assert raised.value.remedy
    with pytest.raises(ValueError, match="digits"):
        with_tokens(_without_texts(), encode, pad_id=0, max_tokens=9)


def _without_texts():
    from trainyard.images.sources import digits

    return digits.load()


def test_the_same_text_in_two_splits_leaks():
    same = ("a", "b", "a", *(str(i) for i in range(17)))
    source = texts(texts=same, splits=("train", "train", "test") + ("train",) * 15 + ("val",) * 2)
    assert any("t0 (train) = t2 (test)" in warning for warning in make(source).warnings)
    with pytest.raises(LeakError):
        make(source, split=replace(SPLIT, on_leak="error"))
    kept = make(source, split=replace(SPLIT, on_leak="drop"))
    assert kept.ids == tuple(f"t{i}" for i in range(1, 20))
    assert kept.texts == same[1:]
    assert kept.fetch(np.array([1])).tolist() == [[97]]


def test_a_label_that_train_lacks_is_a_warning_where_there_may_be_several():
    labels = np.zeros((20, 3), dtype=bool)
    labels[:, 0] = True
    labels[19, 1] = True
    source = texts(labels=labels, classes=("a", "b", "c"), splits=("train",) * 10 + ("val",) * 5 + ("test",) * 5)
    warnings = make(source).warnings
    assert any("train split" in warning and "b, c" in warning for warning in warnings)
    assert any("test split" in warning and "class c." in warning for warning in warnings)
    single = texts(
        labels=np.array([0] * 19 + [1]), classes=("a", "b"), splits=("train",) * 10 + ("val",) * 5 + ("test",) * 5
    )
    with pytest.raises(DataError) as raised:
        make(single)
    assert (raised.value.value, raised.value.place) == (("b",), "here:train")


def test_one_label_only_is_refused():
    with pytest.raises(DataError) as raised:
        make(texts(labels=np.ones((20, 1), dtype=bool), classes=("joy",)))
    assert (raised.value.value, raised.value.place) == (("joy",), "here")


def test_a_text_that_changed_is_explained():
    changed = make(texts(texts=("y", *texts().texts[1:])))
    (line,) = explain_change(make().fingerprint(), changed.fingerprint())
    assert "content of the items changed" in line


def test_new_texts_come_from_lines_and_from_tables(tmp_path):
    lines = tmp_path / "new.txt"
    lines.write_bytes('\ufeffone "quoted"\r\n\n two\ttabs \n'.encode())
    assert read_texts(lines) == (("new.txt:1", "new.txt:3"), ('one "quoted"', " two\ttabs "))
    table = tmp_path / "new.csv"
    table.write_text('name,text\na," x,\ny"\nb,z\n')
    assert read_texts(table) == (("new.csv:2", "new.csv:3"), (" x,\ny", "z"))
    assert read_texts(table, text_column="name")[1] == ("a", "b")
    rows = tmp_path / "new.jsonl"
    rows.write_text('{"text": "a", "label": 1.5}\n{"text": "b"}\n')
    assert read_texts(rows) == (("new.jsonl:1", "new.jsonl:2"), ("a", "b"))


@pytest.mark.parametrize(
    ("name", "content", "value", "row"),
    [
        ("new.csv", "words\na\n", "text", 1),
        ("new.jsonl", '{"text": null}\n', None, 1),
        ("new.txt", b"a\n\xff\n", 0xFF, 2),
    ],
)
def test_new_texts_that_cannot_be_read_are_refused(tmp_path, name, content, value, row):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DataError) as raised:
        read_texts(path)
    assert (raised.value.value, raised.value.place) == (value, f"{path}:{row}")


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [("new.csv", "text,id\na,1\n ,2\n", "row 3"), ("new.txt", "\n \n", "new.txt"), ("new.doc", "a", "new.doc")],
)
def test_new_texts_that_cannot_be_used_are_refused(tmp_path, name, content, words):
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(DataError) as raised:
        read_texts(path)
    assert words in raised.value.what
    assert raised.value.remedy


def test_missing_files_of_new_texts_are_refused(tmp_path):
    for name in ("new.txt", "new.csv", "new"):
        with pytest.raises(DataError) as raised:
            read_texts(tmp_path / name)
        assert str(tmp_path / name) in raised.value.what
