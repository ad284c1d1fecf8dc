"""Texts and label sets in predictions files: byte for byte, with pandas as it comes as the other reader."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score

from trainyard.analysis.classification.metrics import per_class
from trainyard.analysis.classification.predictions import per_class_csv, predictions_csv, read_predictions
from trainyard.errors import DataError

HOSTILE = [
    "plain",
    "say \"x\", 'y'",
    "two\nlines",
    "\r",
    "\n",
    "a\rb",
    "a\r\nb",
    "\r\n",
    "\t",
    "tab\tx",
    " lead",
    "trail ",
    "😀👩‍👩‍👧",
    "日本語",
    "\0",
    "a\0b",
    "NA\0x",
    "1\0",
    "True\0",
    "\x1a",
    "\x85\u2028",
    "\ufeffx",
    '"',
    "'",
    "\\",
    "\\n",
    "\\u0041",
    "#x",
    "=1+1",
    "@x",
    "-",
    "1 2",
    "\u0661",
    "inf ",
    "1.2.3",
    "x" * 200_000,
]
# What pandas takes for something else unless it is marked, and what looks like a mark.
MARKED = [
    "NA",
    '"NA"',
    '""NA""',
    "nan",
    "None",
    "",
    '""',
    "null",
    "\ud800",
    "x\udfff",
    "\\ud800",
    "\\u005c",
    "\\u005cud800",
    "\\\ud83d\ude00",
]
NUMBERS = [
    "1",
    " 2",
    "3 ",
    "+1",
    "-.5",
    "1.",
    "1e5",
    "1E-400",
    "1e400",
    "00012",
    str(10**25),
    "\n1",
    "7\r",
    "inf",
    "-Infinity",
    '"1"',
]
TRUTHS = ["True", "false", "tRUE", '"True"']

any_text = st.one_of(
    st.text(st.characters(), max_size=8),
    st.text(' "\\ud89abcf05\0\r\n,1eE+-.', max_size=8),
    st.sampled_from(HOSTILE),
    st.sampled_from(MARKED),
    st.sampled_from(NUMBERS),
    st.sampled_from(TRUTHS),
)
columns = st.one_of(
    st.lists(any_text, min_size=1, max_size=6),
    st.lists(st.sampled_from(NUMBERS), min_size=1, max_size=4),
    st.lists(st.sampled_from(TRUTHS), min_size=1, max_size=4),
)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("texts") / "test.csv"


def write(path: Path, texts: list[str]) -> Path:
    n = len(texts)
    text = predictions_csv(
        texts, np.eye(n, 2, dtype=bool), np.ones((n, 2), bool), np.ones((n, 2)), ["a", "b"], item_column="text"
    )
    path.write_bytes(text.encode())
    return path


def unmarked(text: str) -> bool:
    """Whether pandas can read it as it is: UTF-8 has it, and it is no missing value nor like a mark."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    core = re.sub(r'^("+)(.*)\1$', r"\2", text, flags=re.DOTALL)
    missing = {"", '"', *pd._libs.parsers.STR_NA_VALUES}
    return core not in missing and not re.search(r"\\u(005c|d[89a-f][0-9a-f]{2})", text)


@given(texts=columns)
@example(texts=HOSTILE)
@example(texts=["1", "2"])
@example(texts=["1", "NA"])
@example(texts=["True", "1"])
@example(texts=["nan"])
@settings(max_examples=400, deadline=None)
def test_every_text_comes_back_byte_for_byte(file: Path, texts: list[str]) -> None:
    read = read_predictions(write(file, texts))
    assert read.items == tuple(texts)
    assert read.item_column == "text"
    frame = pd.read_csv(file)
    assert frame.true_labels.tolist() == ['["a"]', '["b"]', *["[]"] * len(texts)][: len(texts)]
    cells = frame["text"].tolist()
    assert all(isinstance(cell, str) for cell in cells)
    if not all(looks_no_text(text) for text in texts):
        wrong = [(cell, text) for cell, text in zip(cells, texts, strict=True) if cell != text and unmarked(text)]
        assert not wrong


def looks_no_text(text: str) -> bool:
    """Whether a column of this alone is none of texts for pandas, quotes around it aside."""
    try:
        float(text.strip('"'))
    except ValueError:
        return text.strip('"').lower() in ("true", "false")
    return True


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_texts_are_the_same_in_pandas(file: Path, text: str) -> None:
    assert pd.read_csv(write(file, [text, "other"]))["text"].tolist() == [text, "other"]
    assert pd.read_csv(write(file, [text]))["text"].tolist() == [text]


def test_what_is_marked_is_marked_visibly(file: Path) -> None:
    frame = pd.read_csv(write(file, ["NA", "", "\ud800", "\\ud800", "12"]))
    assert frame["text"].tolist() == ['"NA"', '""', "\\ud800", "\\u005cud800", "12"]
    assert pd.read_csv(write(file, ["12", "7"]))["text"].tolist() == ['"12"', '"7"']
    assert pd.read_csv(write(file, ["True"]))["text"].tolist() == ['"True"']


class_names = st.lists(
    st.one_of(st.text(st.characters(), max_size=5), st.sampled_from([*HOSTILE[:-1], *MARKED, *NUMBERS])),
    min_size=1,
    max_size=5,
    unique=True,
)


@given(classes=class_names, data=st.data())
@settings(max_examples=300, deadline=None)
def test_label_sets_come_back_and_pandas_sees_the_exact_match(
    file: Path, classes: list[str], data: st.DataObject
) -> None:
    n = data.draw(st.integers(1, 5))
    sets = st.lists(st.lists(st.booleans(), min_size=len(classes), max_size=len(classes)), min_size=n, max_size=n)
    labels, chosen = np.array(data.draw(sets)), np.array(data.draw(sets))
    probabilities = np.random.default_rng(n).random((n, len(classes)), dtype=np.float32)
    file.write_bytes(predictions_csv([f"item {i}" for i in range(n)], labels, chosen, probabilities, classes).encode())
    read = read_predictions(file)
    assert read.multi_label
    assert read.classes == tuple(classes)
    assert read.labels is not None
    assert read.labels.dtype == read.predicted.dtype == np.bool_
    np.testing.assert_array_equal(read.labels, labels)
    np.testing.assert_array_equal(read.predicted, chosen)
    np.testing.assert_array_equal(read.probabilities, probabilities)
    df = pd.read_csv(file)
    df["correct"] = df["true_labels"] == df["pred_labels"]
    assert math.isclose(df["correct"].mean(), accuracy_score(labels, chosen))
    assert len(df[~df["correct"]]) == n - df["correct"].sum()
    for cell, row in zip(df["true_labels"], labels, strict=True):
        headers = df.columns[3:-1]
        assert [f"pred_prob_{name}" for name in json.loads(cell)] == headers[row].tolist()


def test_a_file_as_people_see_it() -> None:
    labels = np.array([[True, True], [False, False]])
    text = predictions_csv(
        ["so good", 'meh, "ok"'], labels, ~labels, [[0.5, 0.25], [1, 0]], ["joy", "anger"], item_column="text"
    )
    assert text == (
        "text,true_labels,pred_labels,pred_prob_joy,pred_prob_anger\r\n"
        'so good,"[""joy"", ""anger""]",[],0.5,0.25\r\n'
        '"meh, ""ok""",[],"[""joy"", ""anger""]",1.0,0.0\r\n'
    )


def test_one_label_an_item_and_no_labels_at_all(file: Path) -> None:
    file.write_bytes(predictions_csv(["a\nb", "c"], [0, 1], [1, 1], np.eye(2), ["x", "y"], item_column="text").encode())
    read = read_predictions(file)
    assert (read.items, read.item_column, read.multi_label) == (("a\nb", "c"), "text", False)
    assert file.read_text().startswith("text,true_label,pred_label,")
    file.write_bytes(predictions_csv(["t"], None, np.ones((1, 2), bool), np.eye(1, 2), ["x", "y"]).encode())
    read = read_predictions(file)
    assert read.labels is None
    assert read.predicted.tolist() == [[True, True]]
    file.write_bytes(predictions_csv([], np.zeros((0, 2), bool), np.zeros((0, 2), bool), [], ["x", "y"]).encode())
    assert read_predictions(file).predicted.shape == (0, 2)


def test_the_worst_classes_in_pandas(tmp_path: Path) -> None:
    classes = ["joy", "anger", "fear", "love", "pride", "none"]
    rng = np.random.default_rng(0)
    labels, chosen = rng.integers(0, 6, 200), rng.integers(0, 6, 200)
    rows = per_class(labels, chosen, classes)
    path = tmp_path / "per_class.csv"
    path.write_bytes(per_class_csv(rows, "emotion").encode())
    worst = pd.read_csv(path).nsmallest(5, "f1_score")[["emotion", "f1_score", "support"]]
    expected = sorted(rows, key=lambda row: row["f1_score"])[:5]
    assert worst.emotion.tolist() == [row["label"] for row in expected]
    assert worst.f1_score.tolist() == [row["f1_score"] for row in expected]


@pytest.mark.parametrize(
    ("cell", "refused"),
    [
        ("joy", None),
        ("", None),
        ('{"joy": 1}', None),
        ('["b", "a"]', None),  # not in the order of the columns
        ('["a", "a"]', None),
        ('["c"]', "c"),  # not a class
        ("[[]]", []),
    ],
)
def test_what_is_no_label_set_is_named_with_its_line(file: Path, cell: str, refused: object) -> None:
    """A class that the header lacks is named; of any other fault, the whole row is given."""
    quoted = cell.replace('"', '""')
    file.write_text(f'text,true_labels,pred_labels,pred_prob_a,pred_prob_b\nx,[],[],1,0\ny,"{quoted}",[],1,0\n')
    with pytest.raises(DataError) as caught:
        read_predictions(file)
    assert caught.value.place == f"{file}:3"
    assert caught.value.value == (["y", cell, "[]", "1", "0"] if refused is None else refused)
    assert caught.value.remedy


@pytest.mark.parametrize("header", ["", "true_label", "pred_labels", "pred_prob_x"])
def test_headers_that_would_be_misread_are_refused(header: str) -> None:
    with pytest.raises(ValueError, match="header"):
        predictions_csv([], None, [], [], ["a"], item_column=header)


@pytest.mark.parametrize(
    ("true", "chosen", "said"),
    [
        ([0], np.ones((1, 2), bool), r"\(1,\).* \(1, 2\)"),
        (None, np.ones((1, 2), int), "must be bool"),
        (None, np.ones((1, 3), bool), "2 classes"),
    ],
)
def test_odd_labels_are_refused(true: object, chosen: np.ndarray, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        predictions_csv(["x"], true, chosen, np.ones((1, 2)), ["a", "b"])  # type: ignore[arg-type]
