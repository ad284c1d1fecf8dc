"""Faults in a user's YAML: each is found, reported with its file and key, together with the others."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from trainyard.errors import LayoutError, UserError
from trainyard.layouts import LAYOUTS, load_layout

GOOD = {
    "claim": "run",
    "checkpoint_format": "hf",
    "kinds": {"home": "{project}/{run}/", "checkpoint": "{home}{step}/", "log": "{home}log.txt"},
}


def write(folder: Path, table: object, **kinds: object) -> Path:
    if kinds:
        assert isinstance(table, dict)
        table = {**table, "kinds": {k: v for k, v in {**table["kinds"], **kinds}.items() if v is not ...}}
    path = folder / "mine.yaml"
    path.write_text(table if isinstance(table, str) else yaml.safe_dump(table, sort_keys=False), encoding="utf-8")
    return path


def refused(path: Path) -> LayoutError:
    with pytest.raises(LayoutError) as raised:
        load_layout(path)
    assert raised.value.remedy
    return raised.value


def test_a_good_one_loads(tmp_path: Path) -> None:
    layout = load_layout(str(write(tmp_path, {**GOOD, "description": "Mine."}, history={"path": "{home}h.csv"})))
    assert (layout.name, layout.claim, layout.checkpoint_format) == ("mine", "run", "hf")
    assert layout.description == "Mine."
    assert layout.path("history", {"project": "p", "run": "r"}) == "p/r/h.csv"
    assert layout.tree() == (
        "outputs/\n└── {project}/\n    └── {run}/\n        ├── {step}/\n        ├── log.txt\n        └── h.csv\n"
    )


@pytest.mark.parametrize(
    ("kinds", "key", "value"),
    [
        ({"chekpoint": "{home}x"}, "kinds.chekpoint", "chekpoint"),
        ({"log": "{home}{rnu}.log"}, "kinds.log", "{rnu}"),
        ({"log": "{home}{step:06d}.log"}, "kinds.log", "{step:06d}"),
        ({"log": "{home}{}.log"}, "kinds.log", "{}"),
        ({"log": "{home}{run.log"}, "kinds.log", "{{run.log"),
        ({"log": "{home}run}.log"}, "kinds.log", "{run}.log"),
        ({"home": ...}, "kinds.home", None),
        ({"checkpoint": ...}, "kinds.checkpoint", None),
        ({"log": "/var/log/{run}.log"}, "kinds.log", "/"),
        ({"log": "~/{run}.log"}, "kinds.log", "~"),
        ({"log": "C:\\{run}.log"}, "kinds.log", "C:"),
        ({"log": "{home}../{run}.log"}, "kinds.log", ".."),
        ({"home": "../{run}/"}, "kinds.home", ".."),
        ({"log": "./{run}.log"}, "kinds.log", "."),
        ({"log": "{home}a//b.log"}, "kinds.log", "a//b.log"),
        ({"log": ""}, "kinds.log", ""),
        ({"log": "{home} log.txt"}, "kinds.log", " log.txt"),
        ({"log": "{home}a\nb"}, "kinds.log", "a\nb"),
        ({"log": ".yard/{run}.log"}, "kinds.log", ".yard"),
        ({"log": "{home}.run/log"}, "kinds.log", ".run"),
        ({"summary": "{home}log.txt"}, "kinds.summary", "log"),
        ({"summary": "{project}/{run}/log.txt"}, "kinds.summary", "log"),
        ({"plots": "{home}", "tensorboard": "{home}", "checkpoint": "{home}"}, "kinds.checkpoint", "{home}"),
        ({"home": "{project}/"}, "kinds.home", "run"),
        ({"home": "{project}/{run}/{epoch}/"}, "kinds.home", "{epoch}"),
        ({"home": "{home}{run}/"}, "kinds.home", "{home}"),
        ({"home": "{project}/{run}", "log": "x/{project}/{run}.log"}, "kinds.home", "directory"),
        ({"checkpoint": "{home}{step}"}, "kinds.checkpoint", "checkpoint"),
        ({"best": "{home}best.pth"}, "kinds.best", "checkpoint"),
        ({"tensorboard": "{home}events"}, "kinds.tensorboard", "directory"),
        ({"log": "{home}log/"}, "kinds.log", "file"),
        ({"log": "logs/{home}x.log"}, "kinds.log", "logs/"),
        ({"log": "{home}{run}{model}.log"}, "kinds.log", "}{"),
        ({"checkpoint": "{home}checkpoint/"}, "kinds.checkpoint", "{home}checkpoint/"),
        ({"checkpoint": "checkpoints/{step}/"}, "kinds.checkpoint", ("project", "run")),
        ({"log": "logs/{run}.log"}, "kinds.log", ("project", "run")),
        ({"log": None}, "kinds.log", None),
        ({"log": ["a"]}, "kinds.log", ["a"]),
        ({"log": {"pth": "{home}log"}}, "kinds.log.pth", "pth"),
        ({"log": {"path": "{home}log", "about": 3}}, "kinds.log", 3),
        ({"summary": "{home}{epoch}.txt", "results": "{home}{step}.txt"}, "kinds", "project/name/0.txt"),
        ({"history": "{home}a-7.csv", "summary": "{home}a-{epoch}.csv"}, "kinds", "project/name/a-7.csv"),
        ({"history": "{home}0/x.csv"}, "kinds", "project/name/0/"),
        ({"metrics_table": "{project}/{dataset}/x.csv"}, "kinds", "project/name/"),
    ],
)
def test_faults_in_kinds(kinds: dict, key: str, value: object, tmp_path: Path) -> None:
    path = write(tmp_path, GOOD, **kinds)
    error = refused(path)
    assert error.place == str(path)
    assert error.value[key] == value


@pytest.mark.parametrize(
    ("table", "faults"),
    [
        ({**GOOD, "clam": "run"}, {"clam": "clam"}),
        ({**GOOD, "claim": "rum"}, {"claim": "rum"}),
        ({"kinds": GOOD["kinds"], "claim": "run"}, {"checkpoint_format": None}),
        ({**GOOD, "checkpoint_format": "pt"}, {"checkpoint_format": "pt"}),
        ({**GOOD, "checkpoint_format": ["hf"]}, {"checkpoint_format": ["hf"]}),
        ({**GOOD, "description": 3}, {"description": 3}),
        ({**GOOD, "kinds": ["home"]}, {"kinds": ["home"]}),
        ({"claim": "run", "checkpoint_format": "hf"}, {"kinds": None}),
        ("claim: run\nkinds:\n  log: a\n  log: b\nclaim: id\n", {"kinds.log": 4, "claim": 5}),
    ],
)
def test_faults_in_the_table(table: object, faults: dict, tmp_path: Path) -> None:
    path = write(tmp_path, table)
    error = refused(path)
    assert (error.value, error.place) == (faults, str(path))


@pytest.mark.parametrize(("text", "content"), [("", None), ("- a\n- b\n", ["a", "b"])])
def test_a_file_that_is_not_a_table(text: str, content: object, tmp_path: Path) -> None:
    path = write(tmp_path, text)
    error = refused(path)
    assert (error.value, error.place) == (content, str(path))


@pytest.mark.parametrize(
    ("text", "line"), [("claim: [run\n", 2), ("kinds:\n  home: {run}/\n", 2), ("a: 1\n\tb: 2\n", 2)]
)
def test_a_file_that_is_not_yaml(text: str, line: int, tmp_path: Path) -> None:
    path = write(tmp_path, text)
    error = refused(path)
    assert error.place == f"{path}:{line}"
    assert "quotes" in error.remedy


def test_a_value_that_yaml_cannot_construct(tmp_path: Path) -> None:
    path = write(tmp_path, "claim: 2026-99-99\n")
    assert refused(path).place == str(path)


def test_all_faults_are_reported_together(tmp_path: Path) -> None:
    error = refused(write(tmp_path, {**GOOD, "claim": "rum"}, logg="x", log="/x", home=...))
    assert error.value == {"claim": "rum", "kinds.logg": "logg", "kinds.log": "/", "kinds.home": None}
    assert all(f"{key}: " in error.what for key in error.value)


@pytest.mark.parametrize("claim", ["time", "id"])
def test_a_home_needs_the_fact_of_its_claim(claim: str, tmp_path: Path) -> None:
    assert refused(write(tmp_path, {**GOOD, "claim": claim})).value == {"kinds.home": claim}


def test_an_unknown_name() -> None:
    error = refused(Path("groupd"))
    assert error.value == "groupd"
    assert "'grouped'" in error.remedy
    assert all(name in error.remedy for name in LAYOUTS)
    assert isinstance(error, UserError)


@pytest.mark.parametrize("name", ["missing.yaml", "folder.yml", "binary.yaml", "nul\0.yaml", "some/where"])
def test_a_file_that_cannot_be_read(name: str, tmp_path: Path) -> None:
    (tmp_path / "folder.yml").mkdir()
    (tmp_path / "binary.yaml").write_bytes(b"claim: \xff\n")
    assert refused(tmp_path / name).place == str(tmp_path / name)


def test_a_file_with_a_shipped_name(tmp_path: Path) -> None:
    path = tmp_path / "grouped.yaml"
    path.write_text(yaml.safe_dump(GOOD))
    error = refused(path)
    assert (error.value, error.place) == ("grouped", str(path))


def test_shipped_layouts_are_parsed_once() -> None:
    assert load_layout("dated") is load_layout("dated")
