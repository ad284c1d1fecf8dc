"""A file that is known is not read again; one that may have changed is."""

from __future__ import annotations

import base64
import hashlib
import os
import time

import pytest

from trainyard import durable
from trainyard.artifacts.digests import Digests, copy_hashed
from trainyard.errors import UserError


@pytest.fixture
def reads(monkeypatch):
    """The files that were hashed."""
    found = []
    real = durable.sha256_file
    monkeypatch.setattr(durable, "sha256_file", lambda path: (found.append(path), real(path))[1])
    return found


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_both_digests_are_those_of_hashlib(yard, folder):
    path = folder / "more/b.bin"
    entry = Digests(yard).of(path, md5=True)
    assert entry.size == path.stat().st_size
    assert entry.sha256 == sha256(path)
    assert entry.md5 == base64.b64encode(hashlib.md5(path.read_bytes()).digest()).decode()
    assert Digests(yard).of(path).md5 is None


def test_known_by_its_inode_and_times(yard, folder, reads):
    path = folder / "a.txt"
    known = Digests(yard)
    first = known.of(path)
    assert known.of(path) == first
    known.save([path])
    path.rename(folder / "renamed")
    assert len(reads) == 1
    # a rename changes the inode's own time on some file systems, so the new name may be read once more
    assert Digests(yard).of(folder / "renamed") == first


def test_a_second_call_reads_nothing(yard, folder, reads):
    for _ in range(3):
        known = Digests(yard)
        known.of(folder / "a.txt")
        known.save([folder / "a.txt"])
    assert len(reads) == 1


@pytest.mark.parametrize("hide", [False, True])
def test_an_edit_is_seen_even_with_the_old_size_and_time(yard, folder, reads, hide):
    path = folder / "a.txt"
    known = Digests(yard)
    known.of(path)
    known.save([path])
    times = path.stat()
    with path.open("r+b") as file:
        file.write(b"ALPHA")
    if hide:
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert Digests(yard).of(path).sha256 == sha256(path)
    assert len(reads) == 2


def test_a_write_within_the_clocks_tick_is_seen(yard, folder):
    """Many times, because a stale digest here would be rare and silent."""
    path = folder / "a.txt"
    for number in range(30):
        path.write_text(f"{number:04d}")
        known = Digests(yard)
        known.of(path)
        known.save([path])
        with path.open("r+b") as file:
            file.write(b"x")
        assert Digests(yard).of(path).sha256 == sha256(path)


def test_what_a_journal_knows_is_not_read(yard, new_run, reads):
    run = new_run()
    path = run.write("history", "a,b\n")
    reads.clear()
    assert Digests(yard).of(path).sha256 == sha256(path), "found by the home it lies in"
    assert reads == []
    time.sleep(0.02)
    path.write_text("c,d\n")
    assert Digests(yard, run).of(path).sha256 == sha256(path)
    assert reads == [path]


def test_a_records_outside_of_the_home_are_known_with_the_run(yard, new_run, reads):
    run = new_run("shared")
    path = run.write("summary", "{}\n")
    assert not path.is_relative_to(run.home)
    reads.clear()
    assert Digests(yard, run).of(path).sha256 == sha256(path)
    assert reads == []


@pytest.mark.parametrize("damage", [b"", b"[1]", b'{"1:2": 3}', b"\xff{"])
def test_the_cache_can_be_lost(yard, folder, damage):
    known = Digests(yard)
    known.of(folder / "a.txt")
    known.save([folder / "a.txt"])
    (yard.own / "cache" / "digests.json").write_bytes(damage)
    assert Digests(yard).of(folder / "a.txt").sha256 == sha256(folder / "a.txt")


def test_a_file_that_grows_is_refused(yard, folder, monkeypatch):
    path = folder / "a.txt"
    real = durable.sha256_file

    def grow(file):
        digest = real(file)
        with path.open("a") as growing:
            growing.write("more")
        return digest

    monkeypatch.setattr(durable, "sha256_file", grow)
    with pytest.raises(UserError) as caught:
        Digests(yard).of(path)
    assert caught.value.place == str(path)


def test_copying_gives_the_digest_of_what_was_written(folder, tmp_path):
    assert copy_hashed(folder / "more/b.bin", tmp_path / "out") == sha256(tmp_path / "out")
    assert sha256(tmp_path / "out") == sha256(folder / "more/b.bin")
