import csv as table_format
import errno
import os

import numpy as np
import pytest
from PIL import Image
from sections import data_section
from tiny_images import image_csv

from trainyard.errors import DataError
from trainyard.images.schema import CsvData
from trainyard.images.sources.files import load_csv


def load(table, **options):
    return load_csv(data_section(CsvData, path=str(table), **({"image_size": (8, 8)} | options)))


def rows_of(table):
    with table.open(newline="") as file:
        return list(table_format.reader(file))


def rewrite(table, rows):
    with table.open("w", newline="", encoding="utf-8") as file:
        table_format.writer(file).writerows(rows)
    return table


@pytest.fixture
def table(tmp_path):
    return image_csv(tmp_path, ("cat", "dog"), 10)


def test_the_listed_images_are_read(table):
    data = load(table)
    assert data.name == "items"
    assert data.classes == ("cat", "dog")
    for index, (path, label) in enumerate(rows_of(table)[1:]):
        assert data.ids[index] == path
        assert data.classes[data.labels[index]] == label
        want = np.asarray(Image.open(table.parent / path).resize((8, 8), Image.Resampling.BILINEAR))
        np.testing.assert_array_equal(
            data.fetch(np.array([index]))[0].permute(1, 2, 0).numpy(), want.astype(np.float32) / np.float32(255)
        )


def test_groups_are_kept_whole(tmp_path):
    data = load(image_csv(tmp_path, per_class=10, groups=10), group_column="group")
    for group in set(data.groups):
        assert len({split for split, of in zip(data.splits, data.groups, strict=True) if of == group}) == 1
    assert set(data.splits) == {"train", "val", "test"}


def test_splits_of_the_table_are_official(table):
    header, *rows = rows_of(table)
    names = ["train"] * 5 + ["validation"] * 2 + ["TEST"] * 3
    rewrite(table, [[*header, "part"], *([*row, names[n % 10]] for n, row in enumerate(rows))])
    assert load(table, split_column="part").fingerprint()["splits"] == {"train": 10, "val": 4, "test": 6}


def test_a_group_that_spans_official_splits_is_warned_of(table):
    header, *rows = rows_of(table)
    names = ["train"] * 6 + ["val"] * 2 + ["test"] * 2
    body = [[*row, names[n % 10], "same" if n in (0, 9) else ""] for n, row in enumerate(rows)]
    rewrite(table, [[*header, "split", "who"], *body])
    data = load(table, split_column="split", group_column="who")
    assert any("same in train, test" in warning for warning in data.warnings)
    dropped = load(table, split_column="split", group_column="who", on_leak="drop")
    assert rows[0][0] not in dropped.ids
    assert len(dropped) == 19


def test_a_split_far_from_its_share_is_a_warning(table):
    header, *rows = rows_of(table)
    rewrite(table, [[*header, "g"], *([*row, f"g{n % 3}"] for n, row in enumerate(rows))])
    text = "\n".join(load(table, group_column="g").warnings)
    assert any("val split" in line and "30.0%" in line and "10.0%" in line for line in text.splitlines())


def test_numbers_as_labels_are_sorted_as_numbers(tmp_path):
    assert load(image_csv(tmp_path, ("10", "9", "-1"), 6)).classes == ("-1", "9", "10")


def test_tabs_a_byte_order_mark_blank_lines_and_other_columns(table):
    rows = rows_of(table)
    body = "\n".join("\t".join([row[1], row[0], "x"]) for row in rows[1:])
    tabbed = table.with_suffix(".tsv")
    tabbed.write_text(f"\ufeffkind\tfile\tother\n{body}\n\n", encoding="utf-8")
    data = load(tabbed, path_column="file", label_column="kind")
    assert data.ids == tuple(row[0] for row in rows[1:])


@pytest.mark.parametrize("column", ["path_column", "label_column", "group_column", "split_column"])
def test_an_unknown_column_is_refused_with_those_found_and_the_nearest(table, column):
    with pytest.raises(DataError) as raised:
        load(table, **{column: "lable"})
    assert (raised.value.value, raised.value.place) == ("lable", f"{table}:1")
    assert "path, label" in raised.value.what
    assert "'label'" in raised.value.remedy


def test_an_unknown_label_is_refused_with_its_row_and_the_nearest(table):
    rows = rows_of(table)
    rows[7][1] = "dgo"
    rows[9][1] = "cow"
    with pytest.raises(DataError) as caught:
        load(rewrite(table, rows), classes=("cat", "dog"))
    assert (caught.value.value, caught.value.place) == ("dgo", f"{table}:8")
    assert "'cow' (row 10)" in caught.value.what
    assert "'dog'" in caught.value.remedy


def test_a_missing_and_an_empty_file_are_reported_with_their_rows(table):
    rows = rows_of(table)
    (table.parent / rows[3][0]).unlink()
    (table.parent / rows[5][0]).write_bytes(b"")
    with pytest.raises(DataError) as caught:
        load(table)
    assert (caught.value.value, caught.value.place) == ((rows[3][0], rows[5][0]), str(table))
    assert f"row 4: {rows[3][0]}: {os.strerror(errno.ENOENT)}" in caught.value.what
    assert f"row 6: {rows[5][0]}: " in caught.value.what
    data = load(table, on_bad_file="skip")
    assert len(data) == 18
    assert f"row 4: {rows[3][0]}" in data.warnings[0]


@pytest.mark.parametrize(
    ("text", "value", "row"),
    [
        ("", None, ":1"),
        ("path,label\n", None, ""),
        ("path,label\na.png\n", 1, ":2"),  # cells
        ("path,label\na.png,b,c\n", 3, ":2"),
        ("path,label\na.png,\n", "label", ":2"),
        ("path,label\n\n ,b\n", "path", ":3"),
        ("path,label,label\na,b,c\n", "label", ":1"),
        ('path,label\n"a.png,b\n', "unexpected end of data", ":2"),
    ],
)
def test_invalid_tables_are_refused(tmp_path, text, value, row):
    table = tmp_path / "t.csv"
    table.write_text(text)
    with pytest.raises(DataError) as caught:
        load(table)
    assert (caught.value.value, caught.value.place) == (value, f"{table}{row}")
    assert caught.value.remedy


def test_files_that_are_not_tables_are_refused(tmp_path):
    with pytest.raises(DataError) as raised:
        load(tmp_path / "no.csv")
    assert raised.value.place == str(tmp_path / "no.csv")
    (tmp_path / "t.csv").write_bytes(b"path,label\n\xff\xfe,b\n")
    with pytest.raises(DataError) as raised:
        load(tmp_path / "t.csv")
    assert (raised.value.value, raised.value.place) == (0xFF, f"{tmp_path / 't.csv'}:2")


def test_an_unknown_split_is_refused_with_its_row(table):
    header, *rows = rows_of(table)
    rewrite(table, [[*header, "split"], *([*row, "tain" if n == 4 else "train"] for n, row in enumerate(rows))])
    with pytest.raises(DataError) as raised:
        load(table, split_column="split")
    assert (raised.value.value, raised.value.place) == ("tain", f"{table}:6")
    assert "'train'" in raised.value.remedy


def test_a_single_class_is_refused(tmp_path):
    table = image_csv(tmp_path, ("cat",), 3)
    with pytest.raises(DataError) as raised:
        load(table)
    assert (raised.value.value, raised.value.place) == (("cat",), str(table))


def test_the_same_file_in_two_official_splits_is_a_leak(table):
    header, *rows = rows_of(table)
    names = ["train"] * 6 + ["val"] * 2 + ["test"] * 2
    body = [[*row, names[n % 10]] for n, row in enumerate(rows)]
    rewrite(table, [[*header, "split"], *body, [*rows[0], "test"]])
    text = "\n".join(load(table, split_column="split").warnings)
    assert f"{rows[0][0]} (train) = {rows[0][0]} (test)" in text
