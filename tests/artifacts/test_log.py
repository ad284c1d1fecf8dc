"""Logging: versions that never change, aliases that move, no further disk."""

from __future__ import annotations

import json
import math
import multiprocessing
import os
import shutil
import warnings
from pathlib import Path

import faults
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainyard.artifacts import Artifacts, FileEntry, Version
from trainyard.artifacts.versions import content_digest, read_manifest
from trainyard.errors import BadNameError, CorruptError, DiskFullError, UserError
from trainyard.runs import RunReader, Yard


def disk_bytes(*folders: Path) -> int:
    """Bytes that these trees take together, hard links counted once."""
    inodes = {(s.st_dev, s.st_ino): s.st_blocks * 512 for f in folders for p in f.rglob("*") if (s := p.lstat())}
    return sum(inodes.values())


def test_versions_are_numbered_and_latest_moves(store, folder):
    first = store.log("data", folder, type="dataset", metadata={"rows": 3, "score": math.nan})
    assert (first.reference, first.aliases, first.made_by) == ("default/data:v0", ("latest",), None)
    assert list(first.files) == ["a.txt", "more/b.bin"]
    assert math.isnan(first.metadata["score"])
    (folder / "a.txt").unlink()
    (folder / "a.txt").write_text("changed\n")
    second = store.log("data", folder, type="dataset", aliases=["mine", "latest"])
    assert (second.reference, second.aliases) == ("default/data:v1", ("latest", "mine"))
    assert store.find("data").number == store.find("data:latest").number == store.find("data:mine").number == 1
    old = store.find("default/data:v0")
    assert old.aliases == ()
    assert store.path(old, "a.txt").read_text() == "alpha\n"
    assert store.faults(old) == store.faults(second) == []


def test_unchanged_content_makes_no_version_and_aliases_move_all_the_same(store, folder, tmp_path):
    store.log("data", folder)
    (tmp_path / "other").write_text("x")
    store.log("data", tmp_path / "other", aliases=["best"])
    again = store.log("data", {"more": folder / "more", "a.txt": folder / "a.txt"}, aliases=["best"], metadata={"a": 1})
    assert again.number == 0
    assert again.metadata == {}, "a version never changes"
    assert again.aliases == ("latest", "best")
    assert store.find("data:v1").aliases == ()
    assert store.series(again).numbers() == [0, 1]


def test_files_are_linked_and_take_no_disk(store, yard, folder, tmp_path):
    big = folder / "big.bin"
    big.write_bytes(os.urandom(4_000_000))
    before = disk_bytes(tmp_path)
    version = store.log("data", folder)
    assert os.path.samefile(store.path(version, "big.bin"), big)
    assert os.path.samefile(yard.objects.path(version.files["big.bin"].sha256), big)
    (folder / "a.txt").unlink()
    store.log("data", folder)
    store.log("other", {"renamed": big})
    assert disk_bytes(tmp_path) - before < 200_000
    assert big.stat().st_nlink == 1 + 1 + 3


def test_equal_files_of_different_inodes_are_kept_once(store, folder, tmp_path):
    first = store.log("one", folder)
    shutil.copytree(folder, tmp_path / "copy")
    second = store.log("two", tmp_path / "copy")
    assert os.path.samefile(store.path(first, "a.txt"), store.path(second, "a.txt"))


def test_a_copy_does_not_follow_the_users_file(store, folder):
    version = store.log("data", folder, copy=True)
    with (folder / "a.txt").open("r+") as file:
        file.write("ALPHA")
    assert store.faults(version) == []
    assert (folder / "a.txt").stat().st_nlink == 1
    assert store.log("data", folder, copy=True).number == 1


def test_a_file_saved_to_the_same_name_each_epoch_spoils_one_version_and_says_so(store, tmp_path, new_run):
    """As torch.save does it: the bytes go into the file that is there."""
    model = tmp_path / "model.pt"
    with new_run() as run, warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        for epoch in range(4):
            model.write_bytes(b"weights of epoch %d" % epoch)
            store.log("model", model, run=run)
        (warning,) = run.snapshot.warnings
    assert [str(one.message) for one in seen] == [warning]
    assert str(model) in warning
    assert "copy=True" in warning
    assert [bool(store.faults(version)) for version in store.versions("model")] == [True, False, False, False]
    assert store.path(store.find("demo/model:v2"), "model.pt").read_bytes() == b"weights of epoch 2"


def test_a_file_written_in_place_is_found_out_and_repaired_by_logging_again(store, folder, tmp_path):
    shutil.copytree(folder, tmp_path / "kept")
    version = store.log("data", folder)
    with (folder / "a.txt").open("r+") as file:
        file.write("ALPHA")
    (fault,) = store.faults(version)
    assert str(store.path(version, "a.txt")) in fault
    assert store.log("data", tmp_path / "kept").number == 0
    assert store.faults(version) == []
    shutil.rmtree(store.path(version, "more"))
    store.log("data", tmp_path / "kept", copy=True)
    assert store.faults(version) == []


def test_one_alias_may_be_given_without_a_list(store, folder):
    assert store.log("data", folder, aliases="best").aliases == ("latest", "best")


def test_a_damaged_object_is_not_used_again(store, yard, folder, tmp_path):
    shutil.copytree(folder, tmp_path / "kept")
    first = store.log("one", folder)
    with (folder / "a.txt").open("r+") as file:
        file.write("ALPHA")
    second = store.log("two", tmp_path / "kept")
    assert store.faults(second) == []
    assert len(store.faults(first)) == 1
    assert yard.objects.path(second.files["a.txt"].sha256).read_text() == "alpha\n"


def test_where_there_are_no_links_files_are_copied(store, folder, monkeypatch):
    from trainyard import durable

    class NoLinks(durable.SystemCalls):
        def link(self, source, target):
            raise OSError(95, "not supported")

    with faults.installed(NoLinks()):
        version = store.log("data", folder)
        assert store.log("data", folder).number == 0
    assert store.faults(version) == []
    assert not os.path.samefile(store.path(version, "a.txt"), folder / "a.txt")


def test_a_run_is_named_in_the_version_and_the_version_in_its_journal(store, yard, folder, new_run):
    run = new_run()
    used = store.log("raw", folder, type="dataset")
    store.use("default/raw", run)
    for _ in range(2):
        made = store.log("clean", folder, type="dataset", run=run)
    assert (made.project, made.made_by, made.inputs) == ("demo", run.id, ("default/raw:v0",))
    other = new_run()
    assert store.log("clean", folder, type="dataset", run=other).made_by == run.id
    told = [
        {"role": "used", "artifact": used.reference, "type": "dataset"},
        {"role": "logged", "artifact": "demo/clean:v0", "type": "dataset"},
    ]
    assert run.snapshot.artifacts == told
    run.finish()
    assert RunReader(yard, run.home).snapshot.artifacts == told
    (run.home / ".run" / "run.json").unlink()
    assert RunReader(yard, run.home).snapshot.artifacts == told, "folded from the journal"
    assert [note["run"] for note in store.series(made).notes(0)] == [run.id, other.id]


def test_a_type_stays(store, folder):
    store.log("data", folder, type="dataset")
    with pytest.raises(UserError) as caught:
        store.log("data", folder, type="model")
    assert (caught.value.value, caught.value.place) == ("model", "default/data:v0")
    assert "dataset" in caught.value.remedy


def test_bad_input_leaves_nothing(store, yard, folder):
    for arguments, options in [
        (("a/b", folder), {}),
        (("..", folder), {}),
        (("", folder), {}),
        (("a:v1", folder), {}),
        (("x" * 256, folder), {}),
        (("data", folder / "gone"), {}),
        (("data", {"../a": folder / "a.txt"}), {}),
        (("data", folder), {"aliases": ["v7"]}),
        (("data", folder), {"aliases": ["a/b"]}),
        (("data", folder), {"type": ""}),
        (("data", folder), {"project": "../up"}),
        (("data", folder), {"metadata": {"a": object()}}),
    ]:
        with pytest.raises((BadNameError, UserError)) as caught:
            store.log(*arguments, **options)
        assert caught.value.remedy
    assert not yard.own.exists()


def test_a_full_disk_is_seen_before_anything_is_copied(store, folder):
    store.log("data", folder / "a.txt")
    with faults.disk_full(5_000), pytest.raises(DiskFullError):
        store.log("data", folder, copy=True)
    assert store.all_series()[0].numbers() == [0]
    assert list(store.root.rglob(".tmp-*")) == []


def _log(root: str, folder: str, start: object) -> None:
    start.wait()  # type: ignore[attr-defined]
    for number in range(5):
        path = Path(folder, f"{number}.txt")
        path.write_text(f"{folder} {number}")
        Artifacts(Yard(root)).log("data", path)


def test_processes_at_once_get_different_numbers(store, yard, tmp_path):
    context = multiprocessing.get_context("spawn")
    start = context.Barrier(3)
    workers = []
    for name in "abc":
        (tmp_path / name).mkdir()
        workers.append(context.Process(target=_log, args=(str(yard.root), str(tmp_path / name), start)))
        workers[-1].start()
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0
    versions = list(store.versions("data"))
    assert [version.number for version in versions] == list(range(15))
    assert len({version.digest for version in versions}) == 15
    assert [version.number for version in versions if "latest" in version.aliases] == [14]


def test_a_number_is_not_given_again_without_the_lock(store, folder, tmp_path, monkeypatch):
    """On a file system whose locks other machines do not see, the rename decides."""
    store.log("data", folder)
    (tmp_path / "x").write_text("x")
    monkeypatch.setattr("trainyard.artifacts.series.Series.next_number", lambda self: 0)
    assert store.log("data", tmp_path / "x").number == 1
    assert store.find("data:v0").files.keys() == {"a.txt", "more/b.bin"}


def test_a_copied_yard_has_everything(store, yard, folder, tmp_path):
    version = store.log("data", folder, aliases=["best"])
    shutil.copytree(yard.root, tmp_path / "moved")
    shutil.rmtree(yard.root)
    moved = Artifacts(Yard(tmp_path / "moved"))
    assert moved.find("data:best") == version.__class__(**{**vars(version), "aliases": ("latest", "best")})
    assert moved.faults(moved.find("data")) == []
    assert moved.log("data", folder).number == 0
    shutil.rmtree(tmp_path / "moved" / ".yard" / "objects")
    assert moved.faults(moved.find("data")) == [], "a version needs no object"


def test_finding(store, folder):
    with pytest.raises(UserError) as caught:
        store.find("data")
    assert caught.value.value == "data"
    assert "log_artifact" in caught.value.remedy
    store.log("data", folder, project="p")
    store.log("data", folder, project="q")
    store.log("model", folder, project="p")
    with pytest.raises(UserError) as caught:
        store.find("data")
    assert "p/data, q/data" in caught.value.what
    assert "project/name" in caught.value.remedy
    assert store.find("data", project="q").project == "q"
    assert store.find("data", project="q").project == "q"
    assert store.find("model", project="q").project == "p"
    for reference, value, hint in [
        ("dta", "dta", "'data'"),
        ("p/dta", "p/dta", "'p/data'"),
        ("model:v9", "v9", "v0, latest"),
    ]:
        with pytest.raises(UserError) as caught:
            store.find(reference)
        assert caught.value.value == value
        assert hint in caught.value.remedy


def test_aliases(store, folder, tmp_path):
    first = store.log("data", folder)
    (tmp_path / "x").write_text("x")
    second = store.log("data", tmp_path / "x")
    assert store.alias(first, add=["best", "paper"]).aliases == ("best", "paper")
    assert store.alias(second, add=["best"]).aliases == ("latest", "best")
    assert store.find("data:v0").aliases == ("paper",)
    assert store.alias(first, remove=["paper"]).aliases == ()
    for options in ({"add": ["latest"]}, {"remove": ["latest"]}, {"remove": ["best"]}, {"add": ["v3"]}):
        with pytest.raises((UserError, BadNameError)):
            store.alias(first, **options)


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[:-20],
        lambda text: text.replace('"a.txt"', '"../../a.txt"'),
        lambda text: text.replace('"sha256": "', '"sha256": "0'),
        lambda text: text.replace('"number": 0', '"number": 1'),
        lambda text: text.replace('"format"', '"form"').replace('"files"', '"file"'),
        lambda text: "[]",
    ],
)
def test_a_damaged_manifest_is_never_used(store, folder, damage):
    version = store.log("data", folder)
    path = store.path(version).parent / "manifest.json"
    path.write_text(damage(path.read_text()))
    with pytest.raises(CorruptError) as caught:
        store.find("data")
    assert caught.value.place == str(path)
    assert caught.value.remedy
    (broken,) = store.versions()
    assert not isinstance(broken, Version)
    assert store.log("data", folder).number == 1, "the content is kept anew"


def test_damaged_aliases_are_named(store, folder):
    version = store.log("data", folder)
    path = store.series(version).folder / "aliases.json"
    path.write_text("{")
    with pytest.raises(CorruptError) as caught:
        store.find("data:v0")
    assert caught.value.place == str(path)
    assert caught.value.remedy
    path.unlink()
    assert store.find("data").number == 0


@given(st.dictionaries(st.text(min_size=1), st.tuples(st.integers(0), st.text("0123456789abcdef"))), st.randoms())
def test_the_digest_is_of_the_content_not_its_order(files, random):
    entries = {path: FileEntry(size, sha256) for path, (size, sha256) in files.items()}
    names = list(entries)
    random.shuffle(names)
    assert content_digest({name: entries[name] for name in names}) == content_digest(entries)
    for name in names:
        other = entries | {name: FileEntry(0, entries[name].sha256 + "0")}
        assert content_digest(other) != content_digest(entries)


def test_a_manifest_round_trips(store, folder):
    version = store.log("data", folder, type="dataset", metadata={"ü": [1, None, "\ud800"]}, md5=True)
    text = json.dumps(version.manifest())
    assert read_manifest(text.encode(), "x") == Version(**{**vars(version), "aliases": ()})
    assert store.find("data") == version
