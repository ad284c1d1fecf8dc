"""Faults in a user's YAML: each is found, named with its file and key, and reported with the others."""

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


def fault(path: Path) -> str:
    with pytest.raises(LayoutError) as caught:
        load_layout(path)
    assert repr(str(path)) in caught.value.what
    assert caught.value.remedy
    return caught.value.what


def test_a_good_one_loads(tmp_path: Path) -> None:
    layout = load_layout(str(write(tmp_path, {**GOOD, "description": "Mine."}, history={"path": "{home}h.csv"})))
    assert (layout.name, layout.claim, layout.checkpoint_format) == ("mine", "run", "hf")
    assert layout.description == "Mine."
    assert layout.path("history", {"project": "p", "run": "r"}) == "p/r/h.csv"
    assert layout.tree() == (
        "outputs/\n└── {project}/\n    └── {run}/\n        ├── {step}/\n        ├── log.txt\n        └── h.csv\n"
    )


@pytest.mark.parametrize(
    ("kinds", "words"),
    [
        ({"chekpoint": "{home}x"}, ["kinds.chekpoint", "unknown kind", "did you mean `checkpoint`?"]),
        ({"log": "{home}{rnu}.log"}, ["kinds.log", "{rnu}", "did you mean `run`?"]),
        ({"log": "{home}{step:06d}.log"}, ["{step:06d}", "did you mean `step`?"]),
        ({"log": "{home}{}.log"}, ["unknown fact {}"]),
        ({"log": "{home}{run.log"}, ["kinds.log", "brace"]),
        ({"log": "{home}run}.log"}, ["brace"]),
        ({"home": ...}, ["kinds.home: missing"]),
        ({"checkpoint": ...}, ["kinds.checkpoint: missing"]),
        ({"log": "/var/log/{run}.log"}, ["absolute path"]),
        ({"log": "~/{run}.log"}, ["absolute path"]),
        ({"log": "C:\\{run}.log"}, ["absolute path"]),
        ({"log": "{home}../{run}.log"}, ["'..'"]),
        ({"home": "../{run}/"}, ["kinds.home", "'..'"]),
        ({"log": "./{run}.log"}, ["'.'"]),
        ({"log": "{home}a//b.log"}, ["empty component"]),
        ({"log": ""}, ["kinds.log", "is empty"]),
        ({"log": "{home} log.txt"}, ["begins or ends with a space"]),
        ({"log": "{home}a\nb"}, ["control character"]),
        ({"log": ".yard/{run}.log"}, ["'.yard'"]),
        ({"log": "{home}.run/log"}, ["'.run'"]),
        ({"summary": "{home}log.txt"}, ["kinds.summary", "'log' already"]),
        ({"summary": "{project}/{run}/log.txt"}, ["kinds.summary", "'log' already"]),
        ({"plots": "{home}", "tensorboard": "{home}", "checkpoint": "{home}"}, ["kinds.checkpoint"]),
        ({"home": "{project}/"}, ["kinds.home", "{run}", "claim: run"]),
        ({"home": "{project}/{run}/{epoch}/"}, ["kinds.home", "{epoch}"]),
        ({"home": "{home}{run}/"}, ["names itself"]),
        ({"home": "{project}/{run}"}, ["kinds.home", 'end with "/"']),
        ({"checkpoint": "{home}{step}"}, ["kinds.checkpoint", "'hf'", 'must end with "/"']),
        ({"best": "{home}best.pth"}, ["kinds.best", 'must end with "/"']),
        ({"tensorboard": "{home}events"}, ["kinds.tensorboard", 'must end with "/"']),
        ({"log": "{home}log/"}, ["kinds.log", 'must not end with "/"']),
        ({"log": "logs/{home}x.log"}, ["can only come first"]),
        ({"log": "{home}{run}{model}.log"}, ["without text between"]),
        ({"checkpoint": "{home}checkpoint/"}, ["kinds.checkpoint", "{step}", "all have one path"]),
        ({"checkpoint": "checkpoints/{step}/"}, ["kinds.checkpoint", "one path for several runs", "{project}, {run}"]),
        ({"log": "logs/{run}.log"}, ["kinds.log", "several runs"]),
        ({"log": None}, ["kinds.log", "must be a path"]),
        ({"log": ["a"]}, ["kinds.log", "must be a path"]),
        ({"log": {"pth": "{home}log"}}, ["kinds.log.pth", "did you mean `path`?"]),
        ({"log": {"path": "{home}log", "about": 3}}, ["kinds.log", "text"]),
        (
            {"summary": "{home}{epoch}.txt", "results": "{home}{step}.txt"},
            ["each other's way", "'summary'", "'results'"],
        ),
        (
            {"history": "{home}a-7.csv", "summary": "{home}a-{epoch}.csv"},
            ["each other's way", "'history'", "'summary'"],
        ),
        ({"history": "{home}0/x.csv"}, ["each other's way", "'checkpoint'", "'project/name/0/'", "'history'"]),
        ({"metrics_table": "{project}/{dataset}/x.csv"}, ["get in each other's way", "metrics_table"]),
    ],
)
def test_faults_in_kinds(kinds: dict, words: list[str], tmp_path: Path) -> None:
    what = fault(write(tmp_path, GOOD, **kinds))
    assert all(word in what for word in words), what


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({**GOOD, "clam": "run"}, ["clam: unknown key", "did you mean `claim`?"]),
        ({**GOOD, "claim": "rum"}, ["claim: 'rum'", "did you mean `run`?", "id, run, time"]),
        ({"kinds": GOOD["kinds"], "claim": "run"}, ["checkpoint_format: missing", "hf, hf-bin, pth"]),
        ({**GOOD, "checkpoint_format": "pt"}, ["checkpoint_format: 'pt'", "did you mean `pth`?"]),
        ({**GOOD, "checkpoint_format": ["hf"]}, ["checkpoint_format"]),
        ({**GOOD, "description": 3}, ["description"]),
        ({**GOOD, "kinds": ["home"]}, ["kinds: must be a table", "a list"]),
        ({"claim": "run", "checkpoint_format": "hf"}, ["kinds: must be a table", "nothing"]),
        ("", ["it holds nothing"]),
        ("- a\n- b\n", ["it holds a list"]),
        ("claim: [run\n", ["not valid YAML", "line"]),
        ("kinds:\n  home: {run}/\n", ["not valid YAML", "quotes"]),
        ("claim: 2026-99-99\n", ["not valid YAML"]),
        (
            "claim: run\nkinds:\n  log: a\n  log: b\nclaim: id\n",
            ["kinds.log: given twice", "line 4", "claim: given twice"],
        ),
    ],
)
def test_faults_in_the_table(table: object, words: list[str], tmp_path: Path) -> None:
    what = fault(write(tmp_path, table))
    assert all(word in what for word in words), what


def test_all_faults_are_reported_together(tmp_path: Path) -> None:
    what = fault(write(tmp_path, {**GOOD, "claim": "rum"}, logg="x", log="/x", home=...))
    assert "4 faults" in what
    assert all(key in what for key in ("claim:", "kinds.logg:", "kinds.log:", "kinds.home:"))


@pytest.mark.parametrize("claim", ["time", "id"])
def test_a_home_needs_the_fact_of_its_claim(claim: str, tmp_path: Path) -> None:
    assert "kinds.home" in fault(write(tmp_path, {**GOOD, "claim": claim}))


def test_an_unknown_name() -> None:
    with pytest.raises(LayoutError) as caught:
        load_layout("groupd")
    assert "'groupd'" in caught.value.what
    assert "'grouped'" in caught.value.remedy
    assert all(name in caught.value.remedy for name in LAYOUTS)
    assert isinstance(caught.value, UserError)


@pytest.mark.parametrize("name", ["missing.yaml", "folder.yml", "binary.yaml", "nul\0.yaml", "some/where"])
def test_a_file_that_cannot_be_read(name: str, tmp_path: Path) -> None:
    (tmp_path / "folder.yml").mkdir()
    (tmp_path / "binary.yaml").write_bytes(b"claim: \xff\n")
    fault(tmp_path / name)


def test_a_file_with_a_shipped_name(tmp_path: Path) -> None:
    path = tmp_path / "grouped.yaml"
    path.write_text(yaml.safe_dump(GOOD))
    assert "ships with Trainyard" in fault(path)


def test_shipped_layouts_are_parsed_once() -> None:
    assert load_layout("dated") is load_layout("dated")
