"""Finding runs by the API, and what they say of themselves."""

from __future__ import annotations

import ast
import hashlib
import json
import math
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas
import pytest

import trainyard
import trainyard.api
from trainyard.api import Api
from trainyard.errors import CorruptError, QueryError, RunNotFoundError, UserError, YardError
from trainyard.layouts import LAYOUTS
from trainyard.testing.contracts import HOSTILE_NAMES

Connect = Callable[[Path], Api]


@pytest.fixture(scope="module")
def yard(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve runs of two projects, numbered in `config.n`; the last one failed."""
    root = tmp_path_factory.mktemp("runs") / "yard"
    for n in range(12):
        run = trainyard.start_run(
            "even" if n % 2 == 0 else "odd",
            config={"n": n, "training": {"learning_rate": 10.0**-n}, "name": 'a "b" \\ c, d', "on": n < 3, "h": [n, 1]},
            model="net",
            yard=root,
            tags=["x,y", f"t{n}"],
            note="said",
            seed=n,
        )
        with run:
            run.log({"loss": 1 / (n + 1)}, step=1)
            run.summary(score=n / 10)
    with pytest.raises(ZeroDivisionError), trainyard.start_run("odd", model="net", yard=root, config={"n": 12}):
        raise ZeroDivisionError
    return root


@pytest.fixture
def api(yard: Path, connect: Connect) -> Api:
    return connect(yard)


def numbers(runs: Any) -> list[int]:
    return [run.config["n"] for run in runs]


# -- one run


def test_a_run_says_what_the_yard_says(yard: Path, api: Api) -> None:
    run = api.run("even/net")
    kept = json.loads((yard / "even/data/net/.run/run.json").read_bytes())
    for name in ("id", "name", "project", "dataset", "model", "state", "config", "summary", "metrics"):
        assert getattr(run, name) == kept[name]
    assert (run.tags, run.note, run.seed, run.layout, run.error) == (["x,y", "t0"], "said", 0, "grouped", None)
    assert run.created <= str(run.started) <= str(run.ended)
    assert run.path == f"even/{run.id}"
    assert repr(run) == f"<run even/data/net {run.id} finished>"
    assert "ZeroDivisionError" in str(api.run("last").error)


def test_every_way_of_naming_a_run(api: Api, yard: Path) -> None:
    run = api.run("odd/net-2")
    for reference in (
        run.id,
        f"odd/{run.id}",
        f"someone/odd/{run.id}",
        f"a/b/odd/{run.id}",
        f"/someone/odd/{run.id}/",
        "someone/odd/net-2",
        "odd/data/net-2",
        run.id[:6],
        str(yard / "odd/data/net-2"),
    ):
        assert api.run(reference).id == run.id, reference


def test_a_project_dataset_and_name_are_no_user_project_and_name(tmp_path: Path, connect: Connect) -> None:
    for project, dataset in (("a", "b"), ("b", "data")):
        trainyard.start_run(project, dataset=dataset, name="x", yard=tmp_path / "yard").finish()
    assert connect(tmp_path / "yard").run("a/b/x").project == "a"
    assert connect(tmp_path / "yard").run("c/b/x").project == "b"


def test_an_unknown_run_is_told_with_those_named_like_it(api: Api) -> None:
    run = api.run("odd/net")
    near_id = run.id[:-1] + ("x" if run.id[-1] != "x" else "y")
    for reference in (f"odd/{near_id}", f"someone/odd/{near_id}", f"even/{run.id}", f"a/even/{run.id}"):
        with pytest.raises(RunNotFoundError) as caught:
            api.run(reference)
        assert f"odd/{run.id}" in caught.value.remedy
    with pytest.raises(RunNotFoundError) as caught:
        api.run("odd/nett")
    assert caught.value.value == "odd/nett"
    assert "odd/net" in caught.value.remedy
    with pytest.raises(RunNotFoundError) as caught:
        api.run("nothing like it")
    assert caught.value.value == "nothing like it"
    for reference in ("", "/", "//", "a/", "\0", 'x/"', "x/\\", "../..", "odd/*"):
        with pytest.raises(UserError):
            api.run(reference)


def test_a_name_in_two_data_sets_is_never_guessed(tmp_path: Path, connect: Connect) -> None:
    for dataset in ("a", "b"):
        trainyard.start_run("p", dataset=dataset, name="x", yard=tmp_path / "yard").finish()
    with pytest.raises(RunNotFoundError) as caught:
        connect(tmp_path / "yard").run("p/x")
    assert caught.value.value == "p/x"
    for run in trainyard.open(tmp_path / "yard").runs():
        assert run.id in caught.value.what


def test_copies_of_a_run_have_one_id_and_files_of_their_own(tmp_path: Path, connect: Connect) -> None:
    yard = tmp_path / "yard"
    with trainyard.start_run("p", name="x", yard=yard) as run:
        run.save_file(b"one", "a.txt")
    shutil.copytree(run.home, yard / "kept/x")
    (yard / "kept/x/extra/a.txt").write_bytes(b"two")
    subprocess.run([sys.executable, "-m", "trainyard", "reindex", "--yard", str(yard)], check=True, capture_output=True)
    api = connect(yard)
    with pytest.raises(RunNotFoundError) as caught:
        api.run(f"p/{run.id}")
    assert "path" in caught.value.remedy
    assert api.run("kept/x").path == api.run("p/data/x").path
    with pytest.raises(CorruptError) as damage:
        api.run("kept/x").file("extra/a.txt").read()
    assert damage.value.value == hashlib.sha256(b"two").hexdigest()
    assert damage.value.place.startswith("extra/a.txt of run p/")
    assert api.run(str(run.home)).file("extra/a.txt").read() == b"one"


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, tuple[str, str]]]:
    """A yard of runs, projects and files with ugly names: each name's project as it is kept, and the run's id."""
    root = tmp_path_factory.mktemp("hostile") / "yard"
    made = {}
    for n, name in enumerate(HOSTILE_NAMES):
        with trainyard.start_run(name, dataset=f"d{n}", name=name, yard=root) as run:
            run.save_file(b"1", name)
        made[name] = (run._writer.snapshot.project, run.id)
    return root, made


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_any_name_a_run_may_have(
    tmp_path: Path, connect: Connect, hostile: tuple[Path, dict[str, tuple[str, str]]], name: str
) -> None:
    root, made = hostile
    project, run_id = made[name]
    found = connect(root).run(f"someone/{project}/{run_id}")
    assert found.id == run_id
    assert connect(root).run(found.path).name == found.name
    (extra,) = found.files(kinds="extra")
    assert extra.download(tmp_path / "out").read_bytes() == b"1"


# -- where


def test_the_yard_is_the_one_of_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, yard: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TRAINYARD_YARD", raising=False)
    with pytest.raises(YardError) as caught:
        trainyard.Api()
    assert caught.value.place == str(tmp_path / "outputs")
    (tmp_path / "outputs").symlink_to(yard)
    assert len(trainyard.Api().runs()) == 13
    monkeypatch.setenv("TRAINYARD_YARD", str(yard))
    assert repr(trainyard.Api()) == repr(trainyard.open()) == f"Api({str(yard)!r})"


@pytest.mark.parametrize("address", ["http://yard.example", "HTTPS://yard.example/x"])
def test_addresses_are_not_directories(address: str) -> None:
    for connect in (trainyard.open, trainyard.Api):
        with pytest.raises(YardError) as caught:
            connect(address)
        assert caught.value.value == address
        assert caught.value.remedy


def test_opening_a_yard_gives_the_same_as_the_api(yard: Path) -> None:
    opened, api = trainyard.open(yard), trainyard.Api(yard)
    assert type(opened) is type(api)
    assert isinstance(opened.run("odd/net"), trainyard.Run)
    assert [run.id for run in opened.runs("project:odd")] == [run.id for run in api.runs({"project": "odd"})]


def test_a_home_is_on_this_machine_or_an_error_says_so(yard: Path, connect_remote: Connect) -> None:
    assert trainyard.open(yard).run("odd/net").home == yard / "odd/data/net"
    with pytest.raises(YardError) as caught:
        print(connect_remote(yard).run("odd/net").home)
    assert caught.value.place == f"wire:{yard}"
    assert "download" in caught.value.remedy


def test_a_yard_that_is_read_only(tmp_path: Path, yard: Path, connect: Connect) -> None:
    copy = tmp_path / "yard"
    shutil.copytree(yard, copy)
    before = sorted((str(path), path.stat().st_mtime_ns) for path in copy.rglob("*"))
    for path in (copy, copy / ".yard"):
        path.chmod(0o555)
    try:
        assert connect(copy).run("odd/net").file("config.yaml").read()
    finally:
        for path in (copy, copy / ".yard"):
            path.chmod(0o755)
    if os.geteuid() != 0:  # to root nothing is read-only, and its index is brought up to date
        assert before == sorted((str(path), path.stat().st_mtime_ns) for path in copy.rglob("*"))


def test_importing_it_is_light() -> None:
    code = (
        "import sys, trainyard; trainyard.Api; trainyard.open; trainyard.Run; "
        "heavy = {'torch', 'numpy', 'pandas', 'matplotlib'} & set(sys.modules); "
        "assert not heavy, heavy; assert 'trainyard.running' not in sys.modules"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)


def test_only_the_transport_of_a_directory_knows_the_yard() -> None:
    """What the API is made of uses the transport, plain values and the means to read and write files; nothing else."""
    allowed = {
        "trainyard.errors",
        "trainyard.durable",
        "trainyard.tensors",
        "trainyard.units",
        "trainyard.wording",
        "trainyard",
        "trainyard.api",
    }
    for path in Path(trainyard.api.__file__).parent.glob("*.py"):
        if path.name == "directory.py":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("trainyard"):
                assert node.module in allowed or str(node.module).startswith("trainyard.api."), path
                assert {"durable"} >= {alias.name for alias in node.names} or node.module != "trainyard", path


# -- many runs


def test_runs_come_newest_first_a_page_at_a_time(yard: Path, connect: Connect) -> None:
    api = connect(yard)
    asked: list[tuple[int, int]] = []
    inner = api._transport.list_runs

    def list_runs(query: str, start: int, count: int) -> dict[str, Any]:
        asked.append((start, count))
        return inner(query, start, count)

    api._transport.list_runs = list_runs  # type: ignore[method-assign]
    runs = api.runs(per_page=5)
    assert len(runs) == 13
    assert asked == [(0, 5)]
    assert runs[4].config["n"] == 8
    assert len(asked) == 1
    assert numbers(runs) == list(range(12, -1, -1))
    assert numbers(runs) == list(range(12, -1, -1))
    assert asked[:2] == [(0, 5), (5, 10)], "pages grow: whoever wants many runs asks seldom"
    assert (runs[-1].config["n"], numbers(runs[2:4]), numbers(runs[-2:])) == (0, [10, 9], [1, 0])
    for position in (13, -14):
        with pytest.raises(IndexError):
            runs[position]
    assert list(connect(yard).runs("state:running")) == []


def test_a_run_that_begins_meanwhile_makes_no_run_appear_twice(tmp_path: Path, connect: Connect) -> None:
    for n in range(4):
        trainyard.start_run("p", config={"n": n}, yard=tmp_path / "yard").finish()
    runs = iter(connect(tmp_path / "yard").runs(per_page=2))
    first = next(runs)
    trainyard.start_run("p", config={"n": 4}, yard=tmp_path / "yard").finish()
    assert numbers([first, *runs]) == [3, 2, 1, 0]


LR = "config.training.learning_rate"


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ("state:failed", [12]),
        ("project:even sort:config.n limit:3", [0, 2, 4]),
        ("sort:config.n limit:7 offset:5", [5, 6, 7, 8, 9, 10, 11]),
        ({"state": "failed"}, [12]),
        ({}, list(range(12, -1, -1))),
        ({"project": "even", LR: {"$lt": 1e-6}}, [10, 8]),
        ({LR: {"$lte": 1e-6, "$gt": 1e-8}}, [7, 6]),
        ({"config.n": {"$gte": 10}}, [12, 11, 10]),
        ({"config.n": 3}, [3]),
        ({"config.n": {"$eq": 3}}, [3]),
        ({"config.n": {"$in": [3, 5, 99]}}, [5, 3]),
        ({"config.n": {"$nin": [3, 5, *range(6, 13)]}}, [4, 2, 1, 0]),
        ({"config.n": {"$nin": []}, "state": {"$ne": "finished"}}, [12]),
        ({"summary_metrics.score": {"$gt": 0.95}}, [11, 10]),
        ({"summary.score": {"$exists": False}}, [12]),
        ({"summary.score": None}, [12]),
        ({"summary.score": {"$exists": True}, "config.n": {"$gt": 9}}, [11, 10]),
        ({"config.on": True}, [2, 1, 0]),
        ({"config.on": False, "config.n": {"$lt": 5}}, [4, 3]),
        ({"config.name": 'a "b" \\ c, d', "config.n": {"$lt": 2}}, [1, 0]),
        ({"config.name": "a"}, []),
        ({"config.name": "a*"}, []),
        ({"config.h": [3, 1]}, [3]),
        ({"tags": "t7"}, [7]),
        ({"tags": {"$in": ["t7", "t8"]}}, [8, 7]),
        ({"tags": "x,y", "config.n": 1}, [1]),
        ({"$and": [{"config.n": {"$gt": 3}}, {"config.n": {"$lt": 5}}]}, [4]),
        ({"created_at": {"$lt": "2001-01-01T00:00:00"}}, []),
        ({"created_at": {"$gt": "2001-01-01"}, "display_name": "net-3"}, [5, 4]),
    ],
)
def test_filters(api: Api, filters: Any, expected: list[int]) -> None:
    runs = api.runs(filters, per_page=3)
    assert numbers(runs) == expected
    assert len(runs) == len(expected)


def test_order(api: Api) -> None:
    assert numbers(api.runs({"project": "even"}, order="+config.n")) == [0, 2, 4, 6, 8, 10]
    assert numbers(api.runs("project:even", order=["seed"])) == [0, 2, 4, 6, 8, 10]
    assert numbers(api.runs(order=["project", "-summary_metrics.score"]))[:7] == [10, 8, 6, 4, 2, 0, 11]


@pytest.mark.parametrize(
    ("filters", "value", "hint"),
    [
        ({"$or": [{"state": "failed"}]}, "$or", "$in"),
        ({"name": {"$regex": "x"}}, "$regex", "$exists"),
        ({"config.n": math.nan}, "nan", "None"),
        ({"config.n": {"$in": []}}, "[]", "at least one"),
        ({"config.m": 3}, "config.m", "config.n"),
        ({"state": "done"}, "done", "finished"),
        ({"config.n": {"$lt": "many"}}, "many", "1e-4"),
        ("state:", "state:", "without spaces"),
    ],
)
def test_filters_that_cannot_be_read(api: Api, filters: Any, value: str, hint: str) -> None:
    with pytest.raises(QueryError) as caught:
        api.runs(filters)
    assert str(caught.value.value).strip('"') == value
    assert caught.value.place.startswith("filter")
    assert hint in caught.value.remedy


# -- history


@pytest.fixture(params=LAYOUTS)
def logged(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    with trainyard.start_run("p", yard=tmp_path / "yard", layout=request.param) as run:
        for step in range(1, 7):
            run.log({"loss": 1 / step}, step=step)
            if step % 3 == 0:
                run.log({"loss": 2 / step, "f1": math.nan}, step=step, epoch=step / 3, split="val")
    return tmp_path / "yard"


def test_history(logged: Path, connect: Connect) -> None:
    run = connect(logged).run("last")
    rows = run.history()
    assert [row["loss"] for row in rows if row["split"] == "train"] == [1 / step for step in range(1, 7)]
    assert json.dumps(rows) == json.dumps(trainyard.open(logged).run("last").history())
    assert list(run.scan_history(split="val")) != rows
    assert [(row["step"], row["epoch"]) for row in run.history(split="val")] == [(3, 1.0), (6, 2.0)]
    only = run.history("f1")
    assert [list(row) for row in only] == [["step", "epoch", "split", "time", "f1"]] * 2
    assert run.history(["f1", "loss"], split="train") == run.history(split="train")
    assert run.history("none of them") == []
    frame = run.history(pandas=True)
    pandas.testing.assert_frame_equal(frame, pandas.DataFrame(rows))
    assert frame["f1"].isna().all()


def test_history_of_a_run_without_any(tmp_path: Path, connect: Connect) -> None:
    trainyard.start_run(yard=tmp_path / "yard").finish()
    run = connect(tmp_path / "yard").run("last")
    assert run.history() == []
    assert run.history(pandas=True).empty
