from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from trainyard.errors import RunNotFoundError
from trainyard.index import Index
from trainyard.runs import Yard

PutRun = Callable[..., Path]


@pytest.fixture
def index(yard: Yard, put_run: PutRun) -> Index:
    put_run(yard.root, "p/digits/cnn", id="aaaa1111", created="2026-11-01T10:00:00.000Z")
    put_run(yard.root, "p/mnist/cnn", id="aaaa2222", dataset="mnist", created="2026-11-02T10:00:00.000Z")
    put_run(yard.root, "q/digits/cnn", id="bbbb3333", project="q", created="2026-11-03T10:00:00.000Z")
    put_run(yard.root, "2026-11-21/20-43-01", id="cccc4444", name="mlp", created="2026-11-05T10:00:00.000Z")
    put_run(yard.root, "2026-11-22/20-43-01", id="cccc5555", name="mlp-2", created="2026-11-04T10:00:00.000Z")
    put_run(yard.root, "odd/bbbb", id="dddd6666", name='quo"te %_', created="2026-10-04T10:00:00.000Z")
    return Index(yard)


@pytest.mark.parametrize(
    ("reference", "home"),
    [
        ("aaaa1111", "p/digits/cnn"),
        ("aaaa2", "p/mnist/cnn"),
        ("dddd", "odd/bbbb"),
        ("q/cnn", "q/digits/cnn"),
        ("p/mnist/cnn", "p/mnist/cnn"),
        ("mlp", "2026-11-21/20-43-01"),
        ("mlp-2", "2026-11-22/20-43-01"),
        ('quo"te %_', "odd/bbbb"),
        ("p/digits/mlp", "2026-11-21/20-43-01"),
        ("2026-11-21/20-43-01", "2026-11-21/20-43-01"),
        ("2026-11-21/20-43-01/", "2026-11-21/20-43-01"),
        ("./p//digits/cnn", "p/digits/cnn"),
        ("mnist/cnn", "p/mnist/cnn"),
        ("odd/bbbb", "odd/bbbb"),
        ("last", "2026-11-21/20-43-01"),
        ("latest", "2026-11-21/20-43-01"),
    ],
)
def test_what_names_a_run(index: Index, reference: str, home: str) -> None:
    assert index.find(reference) == index.yard.root / home


@pytest.mark.parametrize(
    ("reference", "ids"),
    [
        ("cnn", ["bbbb3333", "aaaa2222", "aaaa1111"]),
        ("aaaa", ["aaaa2222", "aaaa1111"]),
        ("p/cnn", ["aaaa2222", "aaaa1111"]),
        ("20-43-01", ["cccc4444", "cccc5555"]),
        ("digits/cnn", ["bbbb3333", "aaaa1111"]),
        ("bbbb", ["bbbb3333", "dddd6666"]),  # the start of one's id, the end of another's path
    ],
)
def test_what_may_be_several_lists_them_newest_first(index: Index, reference: str, ids: list[str]) -> None:
    with pytest.raises(RunNotFoundError) as caught:
        index.find(reference)
    lines = caught.value.what.splitlines()[1:]
    assert [line.split()[0] for line in lines] == ids
    assert all("created 2026-1" in line for line in lines)
    assert caught.value.value == reference
    assert "the id" in caught.value.remedy


@pytest.mark.parametrize("reference", ["cn", "aaa", "CNN", "ligits/cnn", "cnn/", "p", "../p/digits/cnn", "%", "____"])
def test_what_names_none(index: Index, reference: str) -> None:
    if reference == "cnn/":
        return  # the end of a path
    with pytest.raises(RunNotFoundError) as caught:
        index.find(reference)
    assert caught.value.value == reference
    assert caught.value.place == str(index.yard.root), "not in the yard, rather than several"
    assert "trainyard runs" in caught.value.remedy or "Did you mean" in caught.value.remedy


@pytest.mark.parametrize("reference", ["", "  ", "a\0b", "x" * 5000, "\udcff"])
def test_odd_references(index: Index, reference: str) -> None:
    with pytest.raises(RunNotFoundError):
        index.find(reference)


def test_near_names_are_offered(index: Index) -> None:
    with pytest.raises(RunNotFoundError) as caught:
        index.find("mlpp-2")
    assert "mlp-2" in caught.value.remedy


def test_a_yard_without_runs(yard: Yard) -> None:
    for reference in ("last", "x"):
        with pytest.raises(RunNotFoundError) as caught:
            Index(yard).find(reference)
        assert caught.value.place == str(yard.root)
        assert "trainyard train" in caught.value.remedy


def test_paths_from_here(index: Index, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    root = index.yard.root
    monkeypatch.chdir(root / "p")
    assert index.find("digits/cnn") == root / "p/digits/cnn"  # not q's
    assert index.find("../q/digits/cnn") == root / "q/digits/cnn"
    monkeypatch.chdir(root / "p/mnist")
    assert index.find("cnn") == root / "p/mnist/cnn"
    monkeypatch.chdir(root / "p/mnist/cnn")
    assert index.find(".") == root / "p/mnist/cnn"
    monkeypatch.chdir("/")
    assert index.find(str(root / "odd/bbbb")) == root / "odd/bbbb"
    (tmp_path / "link").symlink_to(root)
    assert index.find(str(tmp_path / "link" / "odd" / "bbbb")) == root / "odd/bbbb"


def test_a_run_of_another_yard_says_so(index: Index, tmp_path: Path, put_run: PutRun) -> None:
    other = put_run(tmp_path / "other", "p/d/x")
    with pytest.raises(RunNotFoundError) as caught:
        index.find(str(other))
    assert caught.value.place == str(other)
    assert f"--yard {other.parent}" in caught.value.remedy


def test_copies_with_one_id_are_told_apart_by_path(index: Index) -> None:
    root = index.yard.root
    shutil.copytree(root / "odd/bbbb", root / "odd/copy")
    assert index.find("odd/copy") == root / "odd/copy"  # though no index knows it
    index.rebuild()
    with pytest.raises(RunNotFoundError) as caught:
        index.find("dddd6666")
    assert "odd/copy" in caught.value.what
    assert "path" in caught.value.remedy


def test_what_is_in_the_trash_is_no_run(index: Index) -> None:
    trash = index.yard.trash / "now"
    trash.mkdir(parents=True)
    shutil.move(index.yard.root / "odd/bbbb", trash / "bbbb")
    for reference in (str(trash / "bbbb"), "dddd6666", "odd/bbbb"):
        with pytest.raises(RunNotFoundError) as caught:
            index.find(reference)
        assert caught.value.place == str(index.yard.root)


def test_one_left_of_two_is_no_longer_ambiguous(index: Index) -> None:
    shutil.rmtree(index.yard.root / "p/digits/cnn")
    assert index.find("aaaa") == index.yard.root / "p/mnist/cnn"
