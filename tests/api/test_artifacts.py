"""Versions of artifacts by the API, against what runs logged and SHA-256."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path

import faults
import pytest

import trainyard
from trainyard.api import Api
from trainyard.errors import CorruptError, DiskFullError, NameTakenError, UserError
from trainyard.running.artifacts import remove
from trainyard.runs import Yard

Connect = Callable[[Path], Api]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run `maker` made two versions of `corpus`; run `user` used the first and made `model`."""
    folder = tmp_path_factory.mktemp("artifacts")
    root, given = folder / "yard", folder / "given"
    (given / "deep").mkdir(parents=True)
    (given / "a.txt").write_bytes(b"first" * 1000)
    (given / "deep/b.txt").write_bytes(b"same")
    with trainyard.start_run("texts", name="maker", yard=root) as run:
        run.log_artifact(given, "corpus", type="dataset", metadata={"rows": 2}, aliases=["clean"])
        (given / "a.txt").unlink()
        (given / "a.txt").write_bytes(b"second" * 1000)
        run.log_artifact(given, "corpus", type="dataset")
    with trainyard.start_run("texts", name="user", yard=root, layout="files") as run:
        run.use_artifact("corpus:v0")
        run.log_artifact(given / "a.txt", "model", type="model", aliases=["best"])
    return root


@pytest.fixture
def yard(made: Path, tmp_path: Path) -> Path:
    """A copy of that yard, to damage."""
    shutil.copytree(made, tmp_path / "yard")
    return tmp_path / "yard"


@pytest.fixture
def api(yard: Path, connect: Connect) -> Api:
    return connect(yard)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


FIRST = {"a.txt": b"first" * 1000, "deep/b.txt": b"same"}
SECOND = {"a.txt": b"second" * 1000, "deep/b.txt": b"same"}


def test_a_version_says_what_was_logged(api: Api) -> None:
    first, second = api.artifact("texts/corpus:v0"), api.artifact("texts/corpus:latest")
    assert (first.project, first.name, first.version, first.type) == ("texts", "corpus", "v0", "dataset")
    assert (first.aliases, second.aliases) == (["clean"], ["latest"])
    assert (first.metadata, second.metadata) == ({"rows": 2}, {})
    assert (first.size, second.size) == (5004, 6004)
    assert first.digest != second.digest
    assert first.created <= second.created
    assert first.path == "texts/corpus:v0"
    assert repr(second) == "<artifact texts/corpus:v1 dataset>"


def test_every_way_of_naming_a_version(api: Api) -> None:
    for reference in ("texts/corpus:v1", "texts/corpus", "corpus", "corpus:latest", "me/texts/corpus:v1"):
        assert api.use_artifact(reference).version == "v1", reference
    assert api.artifact("corpus:clean").version == "v0"
    run = api.run("texts/user")
    assert run.use_artifact("corpus:latest").version == "v1"
    assert run.use_artifact("texts/model:best").name == "model"


def test_a_run_looks_in_its_own_project_first(tmp_path: Path, connect: Connect) -> None:
    for project in ("one", "two"):
        with trainyard.start_run(project, name=project, yard=tmp_path / "yard") as run:
            run.log_artifact({"a": tmp_path / "yard/one/data/one/config.yaml"}, "data", type=project)
            run.log_artifact({"a": tmp_path / "yard/one/data/one/config.yaml"}, f"only-{project}")
    api = connect(tmp_path / "yard")
    assert [api.run(name).use_artifact("data").project for name in ("one", "two")] == ["one", "two"]
    assert api.run("one").use_artifact("only-two").project == "two"
    with pytest.raises(UserError) as caught:
        api.artifact("data")
    assert caught.value.value == "data"
    assert "one/data, two/data" in caught.value.what


@pytest.mark.parametrize(
    ("reference", "value", "hint"),
    [
        ("texts/corpse", "texts/corpse", "texts/corpus"),
        ("corpus:v7", "v7", "v0, v1"),
        ("corpus:dirty", "dirty", "clean"),
        ("a/../..:v1", "..", "project/name"),
    ],
)
def test_an_unknown_version_is_told_with_those_there_are(api: Api, reference: str, value: str, hint: str) -> None:
    with pytest.raises(UserError) as caught:
        api.artifact(reference)
    assert caught.value.value == value
    assert hint in caught.value.remedy


def test_lineage_both_ways(api: Api) -> None:
    maker, user = api.run("maker"), api.run("user")
    assert [found.path for found in maker.logged_artifacts()] == ["texts/corpus:v0", "texts/corpus:v1"]
    assert maker.used_artifacts() == []
    assert [found.path for found in user.used_artifacts()] == ["texts/corpus:v0"]
    assert [found.path for found in user.logged_artifacts()] == ["texts/model:v0"]
    first, second = maker.logged_artifacts()
    made_by = first.logged_by()
    assert made_by is not None
    assert made_by.id == maker.id
    assert [run.id for run in first.used_by()] == [user.id]
    assert second.used_by() == []


def test_the_manifest_that_the_files_layout_keeps_is_a_file_of_the_run(api: Api) -> None:
    found = api.run("user").files(pattern="artifact/*/wandb_manifest.json")
    assert len(found) == 1
    assert b"a.txt" in found[0].read()


def test_versions_and_runs_that_were_removed_are_in_no_list(yard: Path, api: Api) -> None:
    version = api.artifact("corpus:v0")
    remove(Yard(yard), ["corpus:v0"], force=True)
    assert api.run("user").used_artifacts() == []
    with pytest.raises(UserError) as caught:
        version.files()
    assert (caught.value.value, caught.value.place) == ("v0", "texts/corpus")
    second = api.artifact("corpus:v1")
    shutil.rmtree(yard / "texts/data/maker")
    assert second.logged_by() is None


def test_its_files(api: Api) -> None:
    version = api.artifact("corpus:v0")
    assert {file.name: (file.size, file.digest) for file in version.files()} == {
        name: (len(data), hashlib.sha256(data).hexdigest()) for name, data in FIRST.items()
    }
    assert [file.name for file in version.files(pattern="deep/*")] == ["deep/b.txt"]
    assert version.file("a.txt").read() == FIRST["a.txt"]
    assert {file.kind for file in version.files()} == {"artifact"}
    with pytest.raises(UserError) as caught:
        version.file("b.txt")
    assert caught.value.value == "b.txt"
    assert "deep/b.txt" in caught.value.remedy


def test_download(api: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert api.artifact("corpus:v0").download() == Path("artifacts/corpus-v0")
    assert contents(tmp_path / "artifacts/corpus-v0") == FIRST
    path = api.artifact("corpus:v1").download(tmp_path / "out")
    assert (path, contents(path)) == (tmp_path / "out", SECOND)
    api.artifact("corpus:v1").download(tmp_path / "out")
    assert api.artifact("corpus:v0").file("deep/b.txt").download("one") == Path("one/deep/b.txt")


def test_another_version_is_not_mixed_in(api: Api, tmp_path: Path) -> None:
    api.artifact("corpus:v0").download(tmp_path / "out")
    with pytest.raises(NameTakenError) as caught:
        api.artifact("corpus:v1").download(tmp_path / "out")
    assert caught.value.place == str(tmp_path / "out/a.txt")
    assert contents(tmp_path / "out") == FIRST
    api.artifact("corpus:v1").download(tmp_path / "out", replace=True)
    assert contents(tmp_path / "out") == SECOND


def test_what_was_downloaded_is_the_users_to_change(yard: Path, api: Api, tmp_path: Path) -> None:
    path = api.artifact("corpus:v0").download(tmp_path / "out")
    with (path / "a.txt").open("ab") as file:
        file.write(b"mine")
    assert api.artifact("corpus:v0").file("a.txt").read() == FIRST["a.txt"]


def test_a_link_in_the_way_is_replaced_not_followed(api: Api, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("precious")
    (tmp_path / "out").mkdir()
    (tmp_path / "out/a.txt").symlink_to(precious)
    with pytest.raises(NameTakenError):
        api.artifact("corpus:v0").download(tmp_path / "out")
    api.artifact("corpus:v0").download(tmp_path / "out", replace=True)
    assert precious.read_text() == "precious"
    assert contents(tmp_path / "out") == FIRST


def test_a_folder_in_the_way_is_found_before_anything_is_written(api: Api, tmp_path: Path) -> None:
    (tmp_path / "out/deep/b.txt").mkdir(parents=True)
    for replace in (False, True):
        with pytest.raises(NameTakenError):
            api.artifact("corpus:v0").download(tmp_path / "out", replace=replace)
    assert contents(tmp_path / "out") == {}


def test_a_killed_download_goes_on(yard: Path, tmp_path: Path) -> None:
    code = f"import trainyard; trainyard.open({str(yard)!r}).artifact('corpus:v0').download({str(tmp_path / 'out')!r})"
    for nth in range(1, 9, 3):
        shutil.rmtree(tmp_path / "out", ignore_errors=True)
        assert faults.run_killed(code, nth_call=nth).returncode == -9
        trainyard.open(yard).artifact("corpus:v0").download(tmp_path / "out")
        assert contents(tmp_path / "out") == FIRST, "and nothing half-written is left"


def test_a_damaged_version_is_not_handed_out(yard: Path, api: Api, tmp_path: Path) -> None:
    faults.flip_byte(yard / ".yard/artifacts/texts/corpus/v0/files/deep/b.txt", 0)
    with pytest.raises(CorruptError) as caught:
        api.artifact("corpus:v0").download(tmp_path / "out")
    assert caught.value.place == "deep/b.txt of artifact texts/corpus:v0"
    assert "copy=True" in caught.value.remedy
    assert set(contents(tmp_path / "out")) <= {"a.txt"}


def test_no_room_for_all_of_it(api: Api, tmp_path: Path) -> None:
    with faults.disk_full(5003), pytest.raises(DiskFullError):
        api.artifact("corpus:v0").download(tmp_path / "out")
    assert not (tmp_path / "out").exists()
