from __future__ import annotations

import csv
import io
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from trainyard.analysis.classification.metrics import per_class
from trainyard.analysis.classification.predictions import per_class_csv, predictions_csv, read_predictions
from trainyard.analysis.csv_cells import history_csv
from trainyard.errors import DataError

HOSTILE = [
    "plain",
    "comma, quote \" and 'single'",
    "two\nlines",
    "carriage\rreturn",
    "both\r\n",
    "=1+1",
    "+1",
    "-",
    "@cell",
    "日本語",
    "😀",
    " spaces ",
    "tab\t",
    "NA",
    '"NA"',
    '""NA""',
    "nan",
    "None",
    "",
    '""',
    '"',
    "null",
    "x" * 200,
]
MISREAD = ["1", "01", "1.0", "1e5", "inf", "True", "true", "other", '"1"', " 2", "-0", "NA", ""]

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
names = st.one_of(texts, st.sampled_from(HOSTILE + MISREAD), st.integers(-5, 20).map(str))
class_names = st.one_of(
    st.lists(names, min_size=1, max_size=6, unique=True),
    st.lists(st.integers(-99, 10**19).map(str), min_size=1, max_size=6, unique=True),
    st.lists(st.floats(allow_nan=False).map(repr), min_size=1, max_size=6, unique=True),
    st.lists(st.sampled_from(["True", "False", "true", "TRUE"]), min_size=1, max_size=4, unique=True),
)


@st.composite
def tables(draw: st.DrawFn) -> tuple[list[str], np.ndarray, np.ndarray, np.ndarray, list[str]]:
    classes = draw(class_names)
    n = draw(st.integers(0, 5))
    index = st.integers(0, len(classes) - 1)
    ids = draw(st.lists(names, min_size=n, max_size=n))
    true = np.array(draw(st.lists(index, min_size=n, max_size=n)), dtype=np.int64)
    predicted = np.array(draw(st.lists(index, min_size=n, max_size=n)), dtype=np.int64)
    floats = st.floats(width=32, allow_infinity=True)
    numbers = draw(st.lists(floats, min_size=n * len(classes), max_size=n * len(classes)))
    return ids, true, predicted, np.array(numbers, dtype=np.float32).reshape(n, len(classes)), classes


def write(path: Path, text: str) -> Path:
    path.write_bytes(text.encode())
    return path


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("predictions") / "test.csv"


@given(case=tables(), labelled=st.booleans())
@settings(max_examples=300, deadline=None)
def test_reading_gives_back_what_was_written(
    file: Path, case: tuple[list[str], np.ndarray, np.ndarray, np.ndarray, list[str]], labelled: bool
) -> None:
    ids, true, predicted, probabilities, classes = case
    read = read_predictions(
        write(file, predictions_csv(ids, true if labelled else None, predicted, probabilities, classes))
    )
    assert read.items == tuple(ids)
    assert read.classes == tuple(classes)
    assert (read.labels is None) is not labelled
    if labelled:
        np.testing.assert_array_equal(read.labels, true)
    np.testing.assert_array_equal(read.predicted, predicted)
    assert read.probabilities.dtype == np.float32
    np.testing.assert_array_equal(read.probabilities, probabilities)


@given(case=tables())
@example((["a", "b"], np.array([0, 1]), np.array([1, 1]), np.eye(2, dtype="f4"), ["other", "1"]))
@example((["a", "b"], np.array([0, 0]), np.array([1, 1]), np.eye(2, dtype="f4"), ["01", "1"]))
@example((["a", "b"], np.array([0, 1]), np.array([1, 1]), np.eye(2, dtype="f4"), ["0.0", "-0.0"]))
@example((["a", "b"], np.array([0, 1]), np.array([1, 1]), np.eye(2, dtype="f4"), ["0.5", "nan"]))
@settings(max_examples=300, deadline=None)
def test_pandas_with_default_arguments_sees_the_same_hits_and_nothing_missing(
    case: tuple[list[str], np.ndarray, np.ndarray, np.ndarray, list[str]],
) -> None:
    ids, true, predicted, probabilities, classes = case
    if not ids:
        return
    frame = pd.read_csv(io.StringIO(predictions_csv(ids, true, predicted, probabilities, classes), newline=""))
    assert list(frame.columns[3:]) == [f"pred_prob_{name}" for name in classes]
    assert (frame.true_label == frame.pred_label).tolist() == (true == predicted).tolist()
    assert not frame[["id", "true_label", "pred_label"]].isna().any().any()
    # labels that differ stay different, also across the two columns
    seen = dict(zip(true.tolist() + predicted.tolist(), [*frame.true_label, *frame.pred_label], strict=True))
    assert len(set(seen.values())) == len(seen)
    np.testing.assert_array_equal(frame.iloc[:, 3:].to_numpy(np.float32), probabilities)


@pytest.mark.parametrize("name", [name for name in HOSTILE if name.strip('"') not in ("NA", "nan", "None", "null", "")])
def test_names_come_back_from_pandas_unchanged(name: str) -> None:
    name = name if name != "+1" else "+1x"
    text = predictions_csv([name, "other id"], [0, 1], [0, 1], np.eye(2), [name, "other"])
    frame = pd.read_csv(io.StringIO(text, newline=""))
    assert frame.id.tolist() == [name, "other id"]
    assert frame.true_label.tolist() == [name, "other"]


def test_digits_are_numbers_and_missing_values_are_quoted() -> None:
    frame = pd.read_csv(io.StringIO(predictions_csv(["digits[3]"], [7], [9], np.eye(1, 10), list("0123456789"))))
    assert (frame.true_label[0], frame.pred_label[0]) == (7, 9)
    text = predictions_csv(["NA", ""], [0, 1], [1, 0], np.eye(2), ["nan", "x"])
    assert text.splitlines()[1:] == ['"""NA""","""nan""",x,1.0,0.0', '"""""",x,"""nan""",0.0,1.0']
    assert pd.read_csv(io.StringIO(text)).id.tolist() == ['"NA"', '""']


def test_is_rfc_4180() -> None:
    text = predictions_csv(["a,b", 'say "x"', "c"], [0, 1, 0], [0, 1, 1], np.eye(3, 2), ["p", "q"])
    assert text == (
        "id,true_label,pred_label,pred_prob_p,pred_prob_q\r\n"
        '"a,b",p,p,1.0,0.0\r\n"say ""x""",q,q,0.0,1.0\r\nc,p,q,0.0,0.0\r\n'
    )


def test_numbers_are_the_shortest_that_read_back_as_the_same_float32() -> None:
    rng = np.random.default_rng(0)
    bits = rng.integers(0, 2**32, 20_000, dtype=np.uint32).view(np.float32)
    values = np.concatenate([bits[np.isfinite(bits)], rng.random(20_000, dtype=np.float32)])[:, None]
    text = predictions_csv(["i"] * len(values), None, [0] * len(values), values, ["only"])
    cells = [line.split(",")[2] for line in text.split("\r\n")[1:-1]]
    assert (np.array([float(cell) for cell in cells]).astype(np.float32) == values[:, 0]).all()
    assert (pd.read_csv(io.StringIO(text)).pred_prob_only.astype(np.float32) == values[:, 0]).all()
    assert predictions_csv(["i"], None, [0], [[0.1]], ["only"]).endswith("i,only,0.1\r\n")


def test_a_file_name_that_is_no_utf_8_is_written_visibly(file: Path) -> None:
    text = predictions_csv([b"caf\xe9.png".decode("utf-8", "surrogateescape")], [0], [0], np.eye(1), ["\udcff"])
    read = read_predictions(write(file, text))
    assert "caf\\udce9.png" in text
    assert read.items == (b"caf\xe9.png".decode("utf-8", "surrogateescape"),)
    assert read.classes == ("\udcff",)
    assert read.predicted.tolist() == [0]


@pytest.mark.parametrize(
    ("text", "value", "line"),
    [
        ("", [], ""),
        ("epoch,loss\r\n1,2\r\n", ["epoch", "loss"], ""),
        ("id,true_label,pred_label\r\n", ["id", "true_label", "pred_label"], ""),
        ("id,pred_label,pred_prob_a,score\r\n", "score", ""),
        ("id,pred_label,pred_prob_a\r\nx,b,1.0\r\n", "b", ":2"),
        ("id,pred_label,pred_prob_a\r\nx,a,1.0\r\ny,a\r\n", ["y", "a"], ":3"),
        ("id,pred_label,pred_prob_a\r\nx,a,high\r\n", ["x", "a", "high"], ":2"),
        ('id,pred_label,pred_prob_a\r\nx,"a,1.0', None, ""),  # not a CSV file
    ],
)
def test_what_is_no_predictions_file_is_named_with_its_line(file: Path, text: str, value: object, line: str) -> None:
    with pytest.raises(DataError) as caught:
        read_predictions(write(file, text))
    assert (caught.value.value, caught.value.place) == (value, f"{file}{line}")
    assert caught.value.remedy


def test_missing_and_undecodable_files_are_data_errors(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        read_predictions(tmp_path / "absent.csv")
    assert caught.value.place == str(tmp_path / "absent.csv")
    (tmp_path / "latin.csv").write_bytes(b"id,pred_label,pred_prob_\xe9\r\n")
    with pytest.raises(DataError) as caught:
        read_predictions(tmp_path / "latin.csv")
    assert caught.value.place == str(tmp_path / "latin.csv")
    assert isinstance(caught.value.__cause__, UnicodeDecodeError)


def test_a_spreadsheets_byte_order_mark_is_passed_over(tmp_path: Path) -> None:
    path = write(tmp_path / "x.csv", "\ufeff" + predictions_csv(["a"], [0], [0], [[1]], ["c"]))
    assert read_predictions(path).items == ("a",)


def test_same_names_twice_are_refused() -> None:
    with pytest.raises(ValueError, match="distinct"):
        predictions_csv([], [], [], np.zeros((0, 2)), ["a", "a"])


def test_per_class_table_has_the_columns_of_pandas_and_exact_numbers() -> None:
    classes = ["nan", "joy, great", "sad"]
    rows = per_class([0, 1, 2, 2, 1, 1], [0, 1, 2, 1, 1, 0], classes)
    text = per_class_csv(rows, "emotion")
    assert text.splitlines()[0] == "emotion,f1_score,precision,recall,support,tp,fp,fn,tn"
    frame = pd.read_csv(io.StringIO(text))
    assert frame.emotion.tolist() == ['"nan"', "joy, great", "sad"]
    for key in ("f1_score", "precision", "recall", "support", "tp", "fp", "fn", "tn"):
        assert frame[key].tolist() == pytest.approx([row[key] for row in rows], rel=1e-15)
    read = list(csv.DictReader(io.StringIO(text)))
    assert [float(line["f1_score"]) for line in read] == [row["f1_score"] for row in rows]


def test_history_has_every_value_and_leaves_out_none() -> None:
    rows = [
        {"step": 10, "epoch": 0.5, "split": "train", "time": 1.25, "step_loss": 0.1 + 0.2},
        {"step": 20, "epoch": 1, "split": "train", "time": 2.0, "loss": math.nan},
        {"split": "val", "step": 20, "epoch": 1, "loss": math.inf, "accuracy": np.float32(0.1)},
    ]
    lines = list(csv.reader(io.StringIO(history_csv(rows))))
    assert lines == [
        ["step", "epoch", "split", "time", "step_loss", "loss", "accuracy"],
        ["10", "0.5", "train", "1.25", "0.30000000000000004", "", ""],
        ["20", "1", "train", "2.0", "", "nan", ""],
        ["20", "1", "val", "", "", "inf", "0.1"],
    ]
    assert history_csv([]) == "step,epoch,split,time\r\n"
