import csv
import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainyard.errors import DataError
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
    return find("table", path, **options)


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


def test_single_labels_are_positions_and_a_separator_is_no_matter(tmp_path):
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
    with pytest.raises(DataError, match="are the splits"):
        table(tmp_path, split_column="split")
    write(tmp_path / "valid.csv", ["text", "label"], ("d", "x"))
    with pytest.raises(DataError, match=r"both Dev.jsonl and valid.csv: two files for the val split"):
        table(tmp_path)
    (tmp_path / "train.csv").unlink()
    (tmp_path / "valid.csv").unlink()
    with pytest.raises(DataError, match=r"no table called train; its tables are: Dev.jsonl, notes.csv, test.tsv"):
        table(tmp_path)


CLASSES = ("anger", "joy", "love")


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (("a", "joi"), "row 3: label 'joi' is not one of the classes anger, joy, love. Did you mean 'joy'?"),
        (("a", "3"), "row 3: label 3 is out of range: there are 3 labels, 0 to 2"),
        (("a", "9" * 5000), "is not one of the classes"),
        (("a", "joy,joy"), "row 3: label 'joy' is there more than once"),
        (("a", "joy,1"), "row 3: label 'joy' is there more than once"),
        (("a", "joy,,love"), "row 3: a label is empty in 'joy, , love'"),
        (("  \n", "joy"), "row 3: it has no text"),
        (("", "joy"), "row 3: it has no text"),
    ],
)
def test_a_bad_item_is_an_error_or_skipped_with_a_count(tmp_path, row, words):
    path = write(tmp_path / "x.csv", ["text", "label"], ("fine", "joy"), row, ("too", "love"))
    with pytest.raises(DataError) as told:
        table(path, classes=CLASSES)
    assert words in told.value.what
    assert told.value.what.startswith(f"{path}: 1 text cannot be used")
    texts = table(path, classes=CLASSES, on_bad_item="skip")
    assert texts.texts == ("fine", "too")
    assert words in texts.warnings[0]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"text,label\na,joy\nb,joy,love\n", "row 3 has 3 cells and the header has 2"),
        (b"text,label\na,joy\nb\xe4,joy\n", "not UTF-8: invalid continuation byte at byte 18, in line 3"),
        (b"\xef\xbb\xbftext,label\na,joy\n\xff,joy\n", "at byte 20, in line 3"),
        (b"txt,label\na,joy\n", "no column 'text'; its columns are: txt, label"),
        (b'text,label\na,joy\n"b" c,joy\n', "in line 3"),
        (b'text,label\na,joy\n"b,joy\n', "cannot be read as a CSV"),
        (b"text,label\n", "has a header and no rows"),
        (b"", "has no header"),
    ],
)
def test_a_table_that_is_wrong_is_refused_whatever_on_bad_item_says(tmp_path, content, words):
    path = tmp_path / "x.csv"
    path.write_bytes(content)
    with pytest.raises(DataError) as told:
        table(path, on_bad_item="skip")
    assert words in told.value.what


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("{", "row 3 is no JSON: Expecting property name"),
        ("[1]", "row 3 is a list"),
        ("[" * 100_000, "row 3 is no JSON"),
        ('{"txt": "a", "label": "joy"}', "row 3 has no 'text'; it has: txt, label"),
        ('{"text": "a"}', "row 3 has no 'label'"),
        ('{"text": 5, "label": "joy"}', "row 3 has 5 as its 'text'"),
        ('{"text": "a", "label": 1.5}', "row 3 has 1.5 as a label"),
        ('{"text": "a", "label": [true]}', "row 3 has true as a label"),
        ('{"text": "a", "label": {}}', "row 3 has an object as a label"),
        ('{"text": "a\\ud83d", "label": "joy"}', "row 3: its text has half a character, '\\ud83d', in place 1"),
    ],
)
def test_json_lines_that_are_wrong_are_told_with_their_row(tmp_path, line, words):
    path = tmp_path / "x.jsonl"
    path.write_text(f'{{"text": "fine", "label": "joy"}}\n\n{line}\n')
    with pytest.raises(DataError) as told:
        table(path)
    assert words in told.value.what


def test_ids_are_there_and_differ(tmp_path):
    path = write(tmp_path / "x.csv", ["id", "text", "label"], ("1", "a", "x"), ("1", "b", "y"))
    with pytest.raises(DataError, match="row 3 has the id '1', and so has row 2"):
        table(path, id_column="id")
    write(path, ["id", "text", "label"], (" ", "a", "x"))
    with pytest.raises(DataError, match="row 2 has nothing in column id"):
        table(path, id_column="id")


def test_other_files_and_choices_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"There is no .*nowhere"):
        table(tmp_path / "nowhere")
    (tmp_path / "x.xlsx").touch()
    with pytest.raises(DataError, match="is no table of texts"):
        table(tmp_path / "x.xlsx")
    path = write(tmp_path / "x.csv", ["text", "label"], ("a", "x"))
    with pytest.raises(DataError, match="on_bad_item is 'drop'"):
        table(path, on_bad_item="drop")
    with pytest.raises(DataError, match="label_separator is empty"):
        table(path, label_separator="")
    with pytest.raises(ValueError, match="'poems' is not one of"):
        find("poems", path)
