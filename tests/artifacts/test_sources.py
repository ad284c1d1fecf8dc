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
    for files, said in [
        (folder / "gone.txt", "gone.txt"),
        ({"x": folder / "nul\0"}, "nul"),
        (tmp_path / "empty", "empty folder"),
        ({}, "no file"),
        (tmp_path / "fifo", "regular file"),
        (folder, "loop"),
        ([folder / "a.txt"], "list"),
        ({"x": b"bytes"}, "bytes"),
        ({"a": folder / "a.txt", "a/b": folder / "a.txt"}, "the folder of 'a/b'"),
        ({"": folder / "more/b.bin", "b": folder / "a.txt"}, "''"),
    ]:
        with pytest.raises((UserError, BadNameError)) as caught:
            list_files(files)
        assert said in caught.value.what
        assert caught.value.remedy


def test_two_files_of_one_name(folder):
    (folder / "more" / "a.txt").write_text("other")
    with pytest.raises(UserError, match=r"Two files would be 'a\.txt'"):
        list_files({"": folder / "more", "a.txt": folder / "a.txt"})


def test_a_home_is_refused_because_its_journal_grows(new_run):
    with pytest.raises(BadNameError, match=r"\.run"):
        list_files(new_run().home)
