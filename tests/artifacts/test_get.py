"""Handing a version out: every byte checked, each file whole or not there, nothing of the user's replaced."""

from __future__ import annotations

import hashlib
import os
import shutil

import pytest

from trainyard.errors import CorruptError, DiskFullError, UserError
from trainyard.testing import faults


def tree(root):
    """Every file below `root`, half-written ones too, with its bytes."""
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()} if root.exists() else {}


@pytest.fixture
def version(store, folder):
    return store.log("data", folder)


def test_the_files_arrive_and_are_the_users_to_change(store, version, folder, tmp_path):
    root = store.get("data", tmp_path / "new" / "out")
    assert root == tmp_path / "new" / "out"
    assert tree(root) == tree(folder)
    with (root / "a.txt").open("a") as file:
        file.write("mine")
    assert store.faults(version) == []


def test_what_is_there_is_kept(store, version, tmp_path):
    out = tmp_path / "out"
    store.get(version, out)
    (out / "more" / "b.bin").unlink()
    (out / "notes.txt").write_text("mine")
    before = (out / "a.txt").stat()
    store.get(version, out)
    assert (out / "a.txt").stat().st_ino == before.st_ino, "not written again"
    assert (out / "notes.txt").read_text() == "mine"
    assert hashlib.sha256((out / "more/b.bin").read_bytes()).hexdigest() == version.files["more/b.bin"].sha256


def test_a_file_that_differs_is_an_error_unless_replaced(store, version, folder, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "a.txt").write_text("ALPHA\n")  # of the same size
    with pytest.raises(UserError) as caught:
        store.get(version, out)
    assert str(out / "a.txt") in caught.value.what
    assert "--replace" in caught.value.remedy
    assert tree(out) == {"a.txt": b"ALPHA\n"}, "nothing was written"
    store.get(version, out, replace=True)
    assert tree(out) == tree(folder)


@pytest.mark.parametrize("replace", [False, True])
def test_what_is_in_the_way_is_named_before_anything_is_written(store, version, tmp_path, replace):
    out = tmp_path / "out"
    (out / "a.txt").mkdir(parents=True)
    (tmp_path / "file").write_text("x")
    for root, blocked in [(out, out / "a.txt"), (tmp_path / "file", tmp_path / "file")]:
        with pytest.raises(UserError) as caught:
            store.get(version, root, replace=replace)
        assert str(blocked) in caught.value.what
    (out / "a.txt").rmdir()
    (out / "more").write_text("a file")
    with pytest.raises(UserError, match="is no folder"):
        store.get(version, out, replace=replace)
    assert tree(out) == {"more": b"a file"}


def test_a_full_disk_is_foreseen(store, version, folder, tmp_path):
    with faults.disk_full(version.size - 1), pytest.raises(DiskFullError) as caught:
        store.get(version, tmp_path / "out")
    assert "resume" not in caught.value.remedy
    assert tree(tmp_path / "out") == {}
    # what another process takes meanwhile is not foreseen; what is whole stays and is not fetched again

    class Filling(faults.FullDisk):
        def free_bytes(self, directory):
            return 10**9

    with faults.installed(Filling(len("alpha\n") + 10)), pytest.raises(DiskFullError):
        store.get(version, tmp_path / "out")
    assert tree(tmp_path / "out") == {"a.txt": b"alpha\n"}
    store.get(version, tmp_path / "out")
    assert tree(tmp_path / "out") == tree(folder)


def test_a_real_full_disk(store, version, tmp_path):
    (tmp_path / "small").mkdir()
    big = tmp_path / "big.bin"
    big.write_bytes(os.urandom(3_000_000))
    store.log("big", big)
    try:
        with faults.tmpfs(tmp_path / "small", 2) as small:
            with pytest.raises(DiskFullError, match="bytes are needed"):
                store.get("big", small)
            assert tree(small) == {}
            store.get(version, small)
    except faults.NotPermittedError as reason:
        pytest.skip(str(reason))


@pytest.mark.parametrize("damage", ["flip", "cut", "missing"])
def test_a_damaged_file_is_never_handed_out(store, version, tmp_path, damage):
    stored = store.path(version, "more/b.bin")
    if damage == "missing":
        stored.unlink()
    elif damage == "flip":
        faults.flip_byte(stored, 1000)
    else:
        faults.truncate(stored, -1)
    with pytest.raises(CorruptError) as caught:
        store.get(version, tmp_path / "out")
    assert "more/b.bin of default/data:v0 is damaged" in caught.value.what
    assert tree(tmp_path / "out") == {"a.txt": b"alpha\n"}
    assert len(store.faults(version)) == 1


def test_a_read_only_yard_is_enough(store, version, folder, tmp_path):
    before = {str(p): p.stat().st_mtime_ns for p in store.yard.root.rglob("*")}
    store.get(version, tmp_path / "out")
    assert {str(p): p.stat().st_mtime_ns for p in store.yard.root.rglob("*")} == before


def test_a_link_in_the_way_is_replaced_not_followed(store, version, folder, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    precious = tmp_path / "precious"
    precious.write_text("precious")
    (out / "a.txt").symlink_to(precious)
    with pytest.raises(UserError):
        store.get(version, out)
    store.get(version, out, replace=True)
    assert precious.read_text() == "precious"
    assert not (out / "a.txt").is_symlink()


def test_every_failing_call_leaves_old_or_new(store, version, folder, tmp_path):
    wanted = tree(folder)

    def whole_or_absent(out):
        assert all(wanted[name] == data for name, data in tree(out).items())

    def complete(out):
        assert tree(out) == wanted

    states = faults.States(tmp_path, lambda state: None)
    calls = faults.sweep(
        lambda out: store.get(version, out), whole_or_absent, fresh=states, succeeded=complete, every=2
    )
    assert calls > 5


def test_a_killed_download_goes_on(store, version, folder, tmp_path):
    code = f"""
from trainyard.artifacts import Artifacts
from trainyard.runs import Yard
Artifacts(Yard({str(store.yard.root)!r})).get("data", {str(tmp_path / "out")!r})
"""
    for nth in range(1, 9, 3):
        shutil.rmtree(tmp_path / "out", ignore_errors=True)
        assert faults.run_killed(code, nth_call=nth).returncode == -9
        store.get(version, tmp_path / "out")
        assert tree(tmp_path / "out") == tree(folder), "and nothing half-written is left"
