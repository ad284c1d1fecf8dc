import csv
import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainyard.errors import DataError
from trainyard.text.schema import TextData
from trainyard.text.sources import find

# What spoils round trips. Only whole characters, as a file of UTF-8 has no others.
HOSTILE = (
    'say "hi"',
    "a\tb",
    "two\nlines\r\nthree\rfour",
    "nul\0nul",
    "😢 é ü",
    " around ",
    "'",
    "x,y;z",
    "line\u2028end",
    "NA",
)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(str.strip)


def write(path, header, *rows):
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter="\t" if path.suffix == ".tsv" else ",")
        writer.writerows([header, *rows])
    return path


def write_lines(path, *rows):
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8", newline="")
    return path


def table(path, **options):
    return find(TextData(corpus="table", path=str(path), **options))


def refusal(path, **options):
    """The value and the place of the error that `table` raises."""
    with pytest.raises(DataError) as raised:
        table(path, **options)
    assert raised.value.remedy
    return raised.value.value, raised.value.place


def chosen(texts):
    return [tuple(texts.classes[place] for place in np.flatnonzero(row)) for row in texts.labels]


@pytest.mark.parametrize("suffix", [".csv", ".tsv"])
@settings(deadline=None, max_examples=60)
@given(texts=st.lists(TEXT, min_size=1, max_size=6))
def test_texts_of_a_table_are_kept_byte_for_byte(tmp_path_factory, suffix, texts):
    texts = [*HOSTILE, *texts]
    path = write(tmp_path_factory.mktemp("t") / f"x{suffix}", ["text", "label"], *[(text, "a,b") for text in texts])
    assert list(table(path).texts) == texts


@settings(deadline=None, max_examples=60)
@given(texts=st.lists(TEXT, min_size=1, max_size=6))
def test_texts_of_json_lines_are_those_that_pandas_wrote(tmp_path_factory, texts):
    texts = [*HOSTILE, *texts]
    path = tmp_path_factory.mktemp("t") / "x.jsonl"
    pd.DataFrame({"text": texts, "label": [["a"]] * len(texts)}).to_json(path, orient="records", lines=True)
    assert list(table(path).texts) == texts
    assert list(table(write_lines(path, *[{"text": text, "label": "a"} for text in texts])).texts) == texts


def test_a_text_may_be_long(tmp_path):
    long = "word " * 100_000
    limit = csv.field_size_limit()
    assert table(write(tmp_path / "x.csv", ["text", "label"], (long, "a"))).texts == (long,)
    assert csv.field_size_limit() == limit


def test_labels_by_name_by_number_one_several_and_none(tmp_path):
    path = write(
        tmp_path / "x.csv",
        ["id", "text", "label", "who", "part"],
        ("i1", "one", "joy", "g", "train"),
        ("i2", "two", "2; joy", "", "dev"),
        ("i3", "three", "", "g", "TEST"),
    )
    columns = {"id_column": "id", "group_column": "who", "split_column": "part"}
    texts = table(path, label_separator=";", classes=("anger", "joy", "love"), **columns)
    assert chosen(texts) == [("joy",), ("joy", "love"), ()]
    assert texts.labels.dtype == np.bool_
    assert texts.ids == ("i1", "i2", "i3")
    assert texts.groups == ("g", "", "g")
    assert texts.splits == ("train", "val", "test")
    assert texts.where == str(path)


def test_classes_are_the_labels_sorted_numbers_as_numbers(tmp_path):
    path = write(tmp_path / "x.csv", ["text", "label"], ("a", "10,9"), ("b", "9"))
    assert table(path).classes == ("9", "10")
    names = write(tmp_path / "y.csv", ["text", "label"], ("a", "z, b"), ("b", "10"))
    assert table(names).classes == ("10", "b", "z")
    assert table(names).ids == ("y.csv:2", "y.csv:3")


def test_single_labels_are_positions_and_are_not_separated(tmp_path):
    path = write(tmp_path / "x.tsv", ["text", "label"], ("a", "joy, or so"), ("b", " anger "))
    texts = table(path, multi_label=False)
    assert texts.classes == ("anger", "joy, or so")
    assert texts.labels.tolist() == [1, 0]
    assert texts.labels.dtype == np.int64


def test_json_lines_have_lists_strings_numbers_and_nothing(tmp_path):
    path = write_lines(
        tmp_path / "x.ndjson",
        {"text": "a", "label": ["x", "y, z"], "id": 7, "group": 3},
        {"text": "b", "label": "x, w", "id": "8"},
        {"text": "c", "label": 1, "id": "9"},
        {"text": "d", "label": None, "id": "10"},
    )
    texts = table(path, id_column="id", group_column="group", classes=("w", "x", "y, z"))
    assert chosen(texts) == [("x", "y, z"), ("w", "x"), ("x",), ()]
    assert texts.ids == ("7", "8", "9", "10")
    assert texts.groups == ("3", "", "", "")


def test_a_folder_has_a_file_for_each_split(tmp_path):
    write(tmp_path / "train.csv", ["text", "label"], ("a", "x"))
    write_lines(tmp_path / "Dev.jsonl", {"text": "b", "label": ["y"]})
    write(tmp_path / "test.tsv", ["text", "label"], ("c", "x,y"))
    write(tmp_path / "notes.csv", ["nothing"])
    texts = table(tmp_path)
    assert texts.splits == ("train", "val", "test")
    assert texts.ids == ("train.csv:2", "Dev.jsonl:1", "test.tsv:2")
    assert refusal(tmp_path, split_column="split") == ("split", "data.split_column")
    write(tmp_path / "valid.csv", ["text", "label"], ("d", "x"))
    assert refusal(tmp_path) == ("val", str(tmp_path / "valid.csv"))
    (tmp_path / "train.csv").unlink()
    (tmp_path / "valid.csv").unlink()
    assert refusal(tmp_path) == (("Dev.jsonl", "notes.csv", "test.tsv"), str(tmp_path))


CLASSES = ("anger", "joy", "love")


@pytest.mark.parametrize(
    ("row", "value"),
    [
        (("a", "joi"), "joi"),
        (("a", "3"), 3),
        (("a", "9" * 5000), "9" * 5000),  # too long for a number: an unknown name
        (("a", "joy,joy"), ("joy", "joy")),
        (("a", "joy,1"), ("joy", "1")),
        (("a", "joy,,love"), ("joy", "", "love")),
        (("  \n", "joy"), "  \n"),
        (("", "joy"), ""),
    ],
)
def test_a_bad_item_is_an_error_or_skipped_with_a_count(tmp_path, row, value):
    path = write(tmp_path / "x.csv", ["text", "label"], ("fine", "joy"), row, ("too", "love"))
    assert refusal(path, classes=CLASSES) == ((value,), f"{path}:3")
    texts = table(path, classes=CLASSES, on_bad_item="skip")
    assert texts.texts == ("fine", "too")
    (warning,) = texts.warnings
    assert "1 text " in warning
    assert "\n  - row 3: " in warning


def test_an_unknown_label_is_reported_with_the_nearest_class(tmp_path):
    path = write(tmp_path / "x.csv", ["text", "label"], ("a", "joi"))
    with pytest.raises(DataError) as raised:
        table(path, classes=CLASSES)
    assert "`joy`" in raised.value.what
    assert "data.on_bad_item=skip" in raised.value.remedy


@pytest.mark.parametrize(
    ("content", "value", "row"),
    [
        (b"text,label\na,joy\nb,joy,love\n", 3, ":3"),  # cells
        (b"text,label\na,joy\nb\xe4,joy\n", 0xE4, ":3"),
        (b"\xef\xbb\xbftext,label\na,joy\n\xff,joy\n", 0xFF, ":3"),
        (b"txt,label\na,joy\n", "text", ":1"),
        (b'text,label\na,joy\n"b" c,joy\n', "',' expected after '\"'", ":3"),
        (b'text,label\na,joy\n"b,joy\n', "unexpected end of data", ":3"),
        (b"text,label\n", None, ""),
        (b"", None, ":1"),
    ],
)
def test_an_invalid_table_is_refused_whatever_on_bad_item_is(tmp_path, content, value, row):
    path = tmp_path / "x.csv"
    path.write_bytes(content)
    assert refusal(path, on_bad_item="skip") == (value, f"{path}{row}")


@pytest.mark.parametrize(("mark", "byte"), [(b"", 18), (b"\xef\xbb\xbf", 21)])
def test_the_position_of_a_bad_byte_counts_the_byte_order_mark(tmp_path, mark, byte):
    path = tmp_path / "x.csv"
    path.write_bytes(content := mark + b"text,label\na,joy\nb\xff,joy\n")
    assert content[byte] == 0xFF
    with pytest.raises(DataError) as raised:
        table(path)
    assert f"byte {byte}," in raised.value.what


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("{", "Expecting property name enclosed in double quotes, at column 2"),
        ("[1]", [1]),
        ('{"txt": "a", "label": "joy"}', "text"),
        ('{"text": "a"}', "label"),
        ('{"text": 5, "label": "joy"}', 5),
        ('{"text": "a", "label": 1.5}', 1.5),
        ('{"text": "a", "label": [true]}', True),
        ('{"text": "a", "label": {}}', {}),
        ('{"text": "a\\ud83d", "label": "joy"}', ("a\ud83d",)),
    ],
)
def test_invalid_json_lines_are_reported_with_their_row(tmp_path, line, value):
    path = tmp_path / "x.jsonl"
    path.write_text(f'{{"text": "fine", "label": "joy"}}\n\n{line}\n')
    assert refusal(path) == (value, f"{path}:3")


def test_json_nested_too_deeply_is_refused(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_text("[" * 100_000)
    _, place = refusal(path)
    assert place == f"{path}:1"


def test_ids_must_be_present_and_unique(tmp_path):
    path = write(tmp_path / "x.csv", ["id", "text", "label"], ("1", "a", "x"), ("1", "b", "y"))
    assert refusal(path, id_column="id") == ("1", f"{path}:3")
    write(path, ["id", "text", "label"], (" ", "a", "x"))
    assert refusal(path, id_column="id") == ("id", f"{path}:2")


def test_other_files_and_choices_are_refused(tmp_path):
    assert refusal(tmp_path / "nowhere") == (None, str(tmp_path / "nowhere"))
    (tmp_path / "x.xlsx").touch()
    assert refusal(tmp_path / "x.xlsx") == (".xlsx", str(tmp_path / "x.xlsx"))
    path = write(tmp_path / "x.csv", ["text", "label"], ("a", "x"))
    assert refusal(path, on_bad_item="drop") == ("drop", "data.on_bad_item")
    assert refusal(path, label_separator="") == ("", "data.label_separator")
    with pytest.raises(ValueError, match="'poems'"):
        find(TextData(corpus="poems", path=str(path)))
