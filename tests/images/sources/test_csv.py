import csv as table_format

import numpy as np
import pytest
from PIL import Image
from sections import data_section

from trainyard.errors import DataError
from trainyard.images.schema import CsvData
from trainyard.images.sources import csv
from trainyard.testing.data import image_csv


def load(table, **options):
    return csv.load(data_section(CsvData, path=str(table), **({"image_size": (8, 8)} | options)))


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
    assert "1 group lies in more than one split: same in train, test." in data.warnings
    dropped = load(table, split_column="split", group_column="who", on_leak="drop")
    assert rows[0][0] not in dropped.ids
    assert len(dropped) == 19


def test_groups_too_few_for_the_shares_are_told(table):
    header, *rows = rows_of(table)
    rewrite(table, [[*header, "g"], *([*row, f"g{n % 3}"] for n, row in enumerate(rows))])
    text = "\n".join(load(table, group_column="g").warnings)
    assert "The val split holds 30.0% of the items instead of 10.0%" in text


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
def test_an_unknown_column_is_told_with_those_found_and_the_nearest(table, column):
    with pytest.raises(DataError, match=r"(?s)no column 'lable'; its columns are: path, label\..*mean 'label'"):
        load(table, **{column: "lable"})


def test_an_unknown_label_is_told_with_its_row_and_the_nearest(table):
    rows = rows_of(table)
    rows[7][1] = "dgo"
    rows[9][1] = "cow"
    with pytest.raises(DataError) as caught:
        load(rewrite(table, rows), classes=("cat", "dog"))
    assert "row 8 has label 'dgo', which is not one of the classes cat, dog" in caught.value.what
    assert "Also unknown: 'cow' (row 10)" in caught.value.what
    assert "Did you mean 'dog'?" in caught.value.remedy


def test_a_missing_and_a_broken_file_are_told_with_their_rows(table):
    rows = rows_of(table)
    (table.parent / rows[3][0]).unlink()
    (table.parent / rows[5][0]).write_bytes(b"")
    with pytest.raises(DataError) as caught:
        load(table)
    assert f"row 4: {rows[3][0]}: No such file" in caught.value.what
    assert f"row 6: {rows[5][0]}: the file is empty" in caught.value.what
    data = load(table, on_bad_file="skip")
    assert len(data) == 18
    assert f"row 4: {rows[3][0]}" in data.warnings[0]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "has no header"),
        ("path,label\n", "header and no rows"),
        ("path,label\na.png\n", "row 2 has 1 cells and the header has 2"),
        ("path,label\na.png,b,c\n", "row 2 has 3 cells"),
        ("path,label\na.png,\n", "row 2 has nothing in column label"),
        ("path,label\n\n ,b\n", "row 3 has nothing in column path"),
        ("path,label,label\na,b,c\n", "more than one column 'label'"),
        ('path,label\n"a.png,b\n', "cannot be read as a CSV"),
    ],
)
def test_tables_that_go_wrong_are_told(tmp_path, text, words):
    table = tmp_path / "t.csv"
    table.write_text(text)
    with pytest.raises(DataError, match=words) as caught:
        load(table)
    assert caught.value.remedy


def test_files_that_are_no_tables_are_told(tmp_path):
    with pytest.raises(DataError, match=r"There is no file .*no\.csv"):
        load(tmp_path / "no.csv")
    (tmp_path / "t.csv").write_bytes(b"path,label\n\xff\xfe,b\n")
    with pytest.raises(DataError, match="not UTF-8: invalid start byte at byte"):
        load(tmp_path / "t.csv")


def test_an_unknown_split_is_told_with_its_row(table):
    header, *rows = rows_of(table)
    rewrite(table, [[*header, "split"], *([*row, "tain" if n == 4 else "train"] for n, row in enumerate(rows))])
    with pytest.raises(DataError, match=r"(?s)row 6 has split 'tain'.*Did you mean 'train'"):
        load(table, split_column="split")


def test_one_class_only_is_told(tmp_path):
    with pytest.raises(DataError, match="one class only"):
        load(image_csv(tmp_path, ("cat",), 3))


def test_the_same_file_in_two_official_splits_is_a_leak(table):
    header, *rows = rows_of(table)
    names = ["train"] * 6 + ["val"] * 2 + ["test"] * 2
    body = [[*row, names[n % 10]] for n, row in enumerate(rows)]
    rewrite(table, [[*header, "split"], *body, [*rows[0], "test"]])
    text = "\n".join(load(table, split_column="split").warnings)
    assert f"{rows[0][0]} (train) = {rows[0][0]} (test)" in text
