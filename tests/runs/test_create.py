from __future__ import annotations

import errno
import json
import os
import signal
import stat
from concurrent.futures import ProcessPoolExecutor
from datetime import datetime
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import faults
import pytest

from trainyard import durable
from trainyard.errors import BadNameError, DiskFullError, NameTakenError, TrainyardError, YardError
from trainyard.layouts import LAYOUTS, load_layout
from trainyard.runs import RunReader, RunWriter, Yard, create_run, find_homes

WHO: dict[str, Any] = {"project": "demo", "dataset": "digits", "model": "mlp"}
OWN_LAYOUT = """
description: mine
claim: run
checkpoint_format: pth
kinds:
  home: "by_model/{model}/{run}/"
  checkpoint: "{home}step_{step}.pth"
  log: "{home}train.log"
  extra: "{home}extra/"
"""


def readers(yard: Yard) -> list[RunReader]:
    return [RunReader(yard, home) for home in find_homes(yard)]


def temporaries(yard: Yard) -> list[Path]:
    return [path for path in yard.root.rglob(".tmp-*") if durable.is_temporary(path)]


def test_a_new_run_is_complete_and_reads_back(yard: Yard, layout_name: str) -> None:
    layout = load_layout(layout_name)
    config = {"lr": 0.1, "nested": {"deep": [1, 2, None]}, "nan": float("nan")}
    run = create_run(yard, layout, **WHO, name="first", config=config, seed=7, tags=["a"], note="why")
    assert run.home.relative_to(yard.root).as_posix() + "/" == run.snapshot.home
    [reader] = readers(yard)
    assert reader.home == run.home
    found = reader.snapshot
    assert found.to_dict() | {"config": 0} == run.snapshot.to_dict() | {"config": 0}
    assert repr(found.config) == repr(config)
    assert (found.project, found.dataset, found.model, found.name) == ("demo", "digits", "mlp", "first")
    assert (found.state, found.seed, found.tags, found.note, found.layout) == ("running", 7, ["a"], "why", layout_name)
    assert layout.path("home", found.facts) == found.home
    assert reader.is_alive()
    run.finish()
    [reader] = readers(yard)
    assert (reader.snapshot.state, reader.is_alive()) == ("finished", False)
    assert temporaries(yard) == []


def test_taken_default_names_are_numbered(yard: Yard, layout_name: str) -> None:
    runs = [create_run(yard, load_layout(layout_name), **WHO) for _ in range(3)]
    assert len({run.home for run in runs}) == len({run.id for run in runs}) == 3
    if load_layout(layout_name).claim == "run":
        assert [run.name for run in runs] == ["mlp", "mlp-2", "mlp-3"]
    for run in runs:
        run.finish()
    assert len(readers(yard)) == 3


def test_a_taken_explicit_name_is_refused_and_nothing_is_left(yard: Yard, layout_name: str) -> None:
    layout = load_layout(layout_name)
    create_run(yard, layout, **WHO, name="mine").finish()
    before = sorted(yard.root.rglob("*"))
    if layout.claim == "run":
        with pytest.raises(NameTakenError) as caught:
            create_run(yard, layout, **WHO, name="mine")
        assert caught.value.value == "mine"
        assert caught.value.place == str(readers(yard)[0].home)
        assert "run.name" in caught.value.remedy
        assert sorted(yard.root.rglob("*")) == before
    else:  # told apart by time or id
        create_run(yard, layout, **WHO, name="mine").finish()
        assert len(readers(yard)) == 2


def test_whatever_lies_there_is_not_replaced(yard: Yard) -> None:
    for name, make in (
        ("empty", Path.mkdir),
        ("file", Path.touch),
        ("dangling", lambda path: path.symlink_to("nowhere")),
    ):
        path = yard.root / "demo" / "digits" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        make(path)
        with pytest.raises(NameTakenError):
            create_run(yard, load_layout("grouped"), **WHO, name=name)
        run = create_run(yard, load_layout("grouped"), **{**WHO, "model": name})
        assert run.name == f"{name}-2"
        run.finish()


@pytest.mark.parametrize("every", [5, pytest.param(1, marks=pytest.mark.stress)])
def test_hostile_names_work_or_are_refused_before_anything_is_made(
    tmp_path: Path, layout_name: str, hostile_names: tuple[str, ...], every: int
) -> None:
    layout = load_layout(layout_name)
    made = 0
    tried = [(name, fact) for name in hostile_names for fact in ("project", "dataset", "model", "name")][::every]
    for n, (name, fact) in enumerate(tried):
        yard = Yard(tmp_path / str(n), create=True)
        try:
            run = create_run(yard, layout, **{**WHO, "name": "mine", fact: name})
        except BadNameError as error:
            if not error.remedy or any(yard.root.iterdir()):
                raise
            continue
        made += 1
        run.write("log", "a line")
        run.finish()
        [reader] = readers(yard)
        assert layout.path("home", reader.snapshot.facts) == reader.snapshot.home
        for recorded, path in reader.files().items():
            assert path.is_relative_to(yard.root)
            assert layout.match(recorded)
    assert made > len(tried) / 2


def test_unsafe_names_are_refused_in_every_layout(yard: Yard, layout_name: str, unsafe_names: tuple[str, ...]) -> None:
    for name in unsafe_names:
        for fact in ("project", "dataset", "model", "name"):
            with pytest.raises(BadNameError):
                create_run(yard, load_layout(layout_name), **{**WHO, "name": "fine", fact: name})
    assert list(yard.root.iterdir()) == []


def test_two_spellings_of_one_name_are_one_name(yard: Yard) -> None:
    create_run(yard, load_layout("grouped"), **WHO, name="nai\u0308ve").finish()
    with pytest.raises(NameTakenError):
        create_run(yard, load_layout("grouped"), **WHO, name="naïve")
    assert readers(yard)[0].snapshot.name == "naïve"


def test_a_run_is_never_inside_another(yard: Yard, tmp_path: Path) -> None:
    create_run(yard, load_layout("shared"), **{**WHO, "model": "digits"}).finish()  # artifacts/digits/
    with pytest.raises(BadNameError) as caught:
        create_run(yard, load_layout("grouped"), **{**WHO, "project": "artifacts"})
    assert caught.value.place == str(readers(yard)[0].home)


def test_a_config_that_is_no_json_leaves_nothing(yard: Yard) -> None:
    with pytest.raises(TypeError, match="JSON"):
        create_run(yard, load_layout("grouped"), **WHO, config={"where": yard.root})
    assert readers(yard) == temporaries(yard) == []


def test_the_run_keeps_a_layout_of_the_users_own(yard: Yard, tmp_path: Path) -> None:
    source = tmp_path / "by_model.yaml"
    source.write_text(OWN_LAYOUT)
    run = create_run(yard, load_layout(source), **WHO)
    run.finish()
    source.unlink()
    assert run.home == yard.root / "by_model" / "mlp" / "mlp"
    [reader] = readers(yard)
    assert reader.layout.name == "by_model" == reader.snapshot.layout
    assert reader.layout.kinds == run.layout.kinds


def _create_many(arguments: tuple[str, str, int]) -> list[tuple[str, str]]:
    root, layout, count = arguments
    made = []
    for _ in range(count):
        with create_run(Yard(root, create=True), load_layout(layout), **WHO) as run:
            run.log({"loss": 1.0}, step=1)
            made.append((run.id, run.snapshot.home))
    return made


@pytest.mark.parametrize("count", [3, pytest.param(40, marks=pytest.mark.stress)])
def test_eight_processes_creating_runs_lose_none(tmp_path: Path, layout_name: str, count: int) -> None:
    root = tmp_path / "new" / "yard"
    with ProcessPoolExecutor(8, mp_context=get_context("fork")) as pool:
        made = [pair for pairs in pool.map(_create_many, [(str(root), layout_name, count)] * 8) for pair in pairs]
    assert len(made) == len({id_ for id_, _ in made}) == len({home for _, home in made}) == 8 * count
    yard = Yard(root)
    found = readers(yard)
    assert {(r.snapshot.id, r.snapshot.home) for r in found} == set(made)
    assert {r.snapshot.state for r in found} == {"finished"}
    assert all(len(r.history()) == 1 for r in found)
    assert set((yard.changes_path).read_text().split()) == {home for _, home in made}
    assert temporaries(yard) == []


def _take_one_name(root: str) -> str | None:
    try:
        with create_run(Yard(root), load_layout("grouped"), **WHO, name="wanted") as run:
            return run.id
    except NameTakenError:
        return None


def test_one_of_eight_processes_gets_an_explicit_name(yard: Yard) -> None:
    for _ in range(3):
        with ProcessPoolExecutor(8, mp_context=get_context("fork")) as pool:
            [winner] = [id_ for id_ in pool.map(_take_one_name, [str(yard.root)] * 8) if id_]
        [reader] = readers(yard)
        assert (reader.snapshot.id, reader.snapshot.state) == (winner, "finished")
        assert temporaries(yard) == []
        durable.remove(reader.home)


@pytest.mark.parametrize(
    ("layout_name", "error"),
    [("grouped", errno.EIO), ("files", errno.ENOSPC)]
    + [pytest.param(name, e, marks=pytest.mark.stress) for name in LAYOUTS for e in (errno.EIO, errno.ENOSPC)],
)
def test_every_fault_while_creating_leaves_no_run_or_a_whole_one(layout_name: str, error: int, tmp_path: Path) -> None:
    n = 0
    made: list[RunWriter] = []

    def fresh() -> Yard:
        nonlocal n
        n += 1
        return Yard(tmp_path / str(n), create=True)

    def create(yard: Yard) -> None:
        made.append(create_run(yard, load_layout(layout_name), **WHO, name="mine"))

    def check(yard: Yard) -> None:
        assert temporaries(yard) == []
        if made:  # it survived the fault
            [reader] = readers(yard)
            assert reader.snapshot.state == "running"
            made.pop().finish()
            durable.remove(reader.home)
        assert readers(yard) == []
        assert [path for path in yard.root.rglob("*") if path.is_file() and ".yard" not in path.parts] == []

    def succeeded(yard: Yard) -> None:
        run = made.pop()
        assert run.name == "mine"
        run.log({"loss": 1.0}, step=1)
        run.finish()
        [reader] = readers(yard)
        assert (reader.snapshot.state, len(reader.history())) == ("finished", 1)

    before = len(os.listdir("/proc/self/fd"))
    tried = faults.sweep(create, check, fresh=fresh, succeeded=succeeded, error=error)
    assert tried > 30
    for run in made:
        run.abandon()
    assert len(os.listdir("/proc/self/fd")) == before


_CREATE = """
from trainyard.layouts import load_layout
from trainyard.runs import Yard, create_run
run = create_run(Yard({root!r}), load_layout({layout!r}), project="demo", dataset="digits", model="mlp", name="mine")
run.log({{"loss": 1.0}}, step=1)
run.finish()
"""


def _calls_of_creating(tmp_path: Path) -> int:
    yard = Yard(tmp_path / "counted", create=True)
    return faults.count(lambda: create_run(yard, load_layout("grouped"), **WHO).finish())


@pytest.mark.parametrize("part", [0.15, 0.4, 0.6, 0.75, 0.95])
def test_a_kill_while_creating_leaves_no_run_or_a_whole_one(part: float, tmp_path: Path) -> None:
    _kill_while_creating(tmp_path, round(part * _calls_of_creating(tmp_path)))


@pytest.mark.stress
def test_every_kill_while_creating_leaves_no_run_or_a_whole_one(tmp_path: Path) -> None:
    for nth in range(1, _calls_of_creating(tmp_path) + 1):
        _kill_while_creating(tmp_path / str(nth), nth)


def _kill_while_creating(root: Path, nth: int) -> None:
    yard = Yard(root / "yard", create=True)
    done = faults.run_killed(_CREATE.format(root=str(yard.root), layout="grouped"), nth_call=nth)
    assert done.returncode == -signal.SIGKILL, done.stderr
    for reader in readers(yard):
        assert reader.snapshot.state in ("crashed", "finished")
        assert reader.snapshot.name == "mine"
        durable.remove(reader.home)
    create_run(yard, load_layout("grouped"), **WHO, name="mine").finish()
    assert [reader.snapshot.state for reader in readers(yard)] == ["finished"]
    assert temporaries(yard) == []


def test_a_full_disk_and_a_forbidden_yard_are_explained(yard: Yard, tmp_path: Path) -> None:
    with faults.disk_full(100), pytest.raises(DiskFullError):
        create_run(yard, load_layout("grouped"), **WHO)
    with faults.failing(1, error=errno.EROFS), pytest.raises(YardError) as caught:
        create_run(yard, load_layout("grouped"), **WHO)
    assert "--yard" in caught.value.remedy
    assert readers(yard) == temporaries(yard) == []
    (tmp_path / "file").touch()
    for root in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(YardError):
            Yard(root, create=True)
    with pytest.raises(YardError) as caught:
        Yard(tmp_path / "missing")
    assert caught.value.place == str(tmp_path / "missing")
    assert "trainyard train" in caught.value.remedy
    assert not (tmp_path / "missing").exists()


def test_only_a_trainyard_error_or_an_os_error_leaves_create_run(yard: Yard) -> None:
    with faults.failing(3, error=errno.EIO), pytest.raises((OSError, TrainyardError)):
        create_run(yard, load_layout("grouped"), **WHO)


def test_files_of_a_run_can_be_read_by_others(yard: Yard) -> None:
    with create_run(yard, load_layout("grouped"), **WHO) as run:
        run.write("summary", json.dumps({"a": 1}))
        run.save_file(b"x", "note.txt")
    umask = os.umask(0)
    os.umask(umask)
    for path in run.home.rglob("*"):
        expected = (0o777 if path.is_dir() else 0o666) & ~umask
        assert stat.S_IMODE(path.stat().st_mode) == expected, path


@pytest.mark.parametrize("layout", LAYOUTS)
def test_runs_of_one_second_have_names_of_their_own(yard: Yard, layout: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Frozen(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:
            return datetime(2026, 1, 31, 20, 43, 1)

    monkeypatch.setattr("trainyard.runs.writer.datetime", Frozen)
    runs = [create_run(yard, load_layout(layout), **WHO) for _ in range(3)]
    for kind in ("log", "checkpoint", "final_predictions"):
        paths = {run.path(kind, step=1, epoch=1, split="test") for run in runs}
        assert len(paths) == 3
    for run in runs:
        run.finish()
