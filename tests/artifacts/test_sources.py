"""Which files go into an artifact."""

from __future__ import annotations

import os

import pytest

from trainyard import durable
from trainyard.artifacts.sources import list_files
from trainyard.errors import BadNameError, UserError


def test_a_file_a_folder_and_a_mapping(folder):
    assert list_files(folder / "a.txt") == {"a.txt": folder / "a.txt"}
    assert list_files(str(folder)) == {"a.txt": folder / "a.txt", "more/b.bin": folder / "more/b.bin"}
    mapped = list_files({"": folder, "again": folder, "x/one": folder / "a.txt"})
    assert list(mapped) == ["a.txt", "again/a.txt", "again/more/b.bin", "more/b.bin", "x/one"]


def test_links_are_followed_to_files(folder):
    (folder / "link").symlink_to(folder / "a.txt")
    assert list_files(folder / "link") == {"link": folder / "a.txt"}


def test_what_is_half_written_stays_out(folder):
    durable.temporary(folder).write_bytes(b"half")
    assert list(list_files(folder)) == ["a.txt", "more/b.bin"]


def test_what_cannot_be_in_an_artifact(folder, tmp_path):
    (tmp_path / "empty").mkdir()
    (folder / "more" / "loop").symlink_to(folder)
    os.mkfifo(tmp_path / "fifo")
    for files, value, place in [
        (folder / "gone.txt", None, folder / "gone.txt"),
        ({"x": folder / "nul\0"}, None, folder / "nul\0"),
        (tmp_path / "empty", tmp_path / "empty", None),
        ({}, {}, None),
        (tmp_path / "fifo", None, tmp_path / "fifo"),
        (folder, None, folder / "more/loop"),
        ([folder / "a.txt"], [folder / "a.txt"], None),
        ({"x": b"bytes"}, b"bytes", None),
        ({"a": folder / "a.txt", "a/b": folder / "a.txt"}, "a", folder / "a.txt"),
        ({"": folder / "more/b.bin", "b": folder / "a.txt"}, "", None),
    ]:
        with pytest.raises((UserError, BadNameError)) as caught:
            list_files(files)
        assert caught.value.value == value
        assert caught.value.place == (None if place is None else str(place))
        assert caught.value.remedy


def test_two_files_of_one_name(folder):
    (folder / "more" / "a.txt").write_text("other")
    with pytest.raises(UserError) as caught:
        list_files({"": folder / "more", "a.txt": folder / "a.txt"})
    assert (caught.value.value, caught.value.place) == ("a.txt", str(folder / "a.txt"))


def test_a_home_is_refused_because_its_journal_grows(new_run):
    with pytest.raises(BadNameError) as caught:
        list_files(new_run().home)
    assert caught.value.value.startswith(".run/")
