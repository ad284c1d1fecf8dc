"""`trainyard analyse weights` over the runs of encoders, and where there are none."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from command_line import Kept
from PIL import Image

from trainyard.analysis import layer_weights
from trainyard.layouts import load_layout
from trainyard.runs import Yard, create_run

WEIGHTS = {"a": [0.5, 0.3, 0.2], "b": [0.25, 0.75], "none": []}


@pytest.fixture
def weighted(tmp_path: Path) -> Kept:
    """Runs with made-up weights: `a` and `b` on calls, `a` on cries, and `none`, of no encoder."""
    yard = Yard(tmp_path / "weighted", create=True)
    runs = [("p", "calls", "a"), ("p", "calls", "b"), ("p", "cries", "a"), ("p", "calls", "none")]
    for project, dataset, name in runs:
        leave(yard, "grouped", project, dataset, name)
    return Kept(yard.root)


def leave(yard: Yard, layout: str, project: str, dataset: str, name: str) -> str:
    run = create_run(yard, load_layout(layout), project=project, dataset=dataset, model="whisper", name=name)
    with run:
        if WEIGHTS[name]:
            run.write(layer_weights.KIND, layer_weights.to_csv(WEIGHTS[name]))
    return run.id


def test_a_line_a_run(weighted: Kept) -> None:
    outcome = weighted("analyse", "weights")
    assert outcome.code == 0, outcome
    lines = sorted(outcome.out.splitlines())
    assert [line.split()[0] for line in lines] == ["calls/a", "calls/b", "cries/a"]
    assert lines[0].endswith("50.0  30.0  20.0  % (most: input)")
    assert lines[1].endswith("25.0  75.0  % (most: layer 0)")


def test_as_json_of_the_chosen_runs(weighted: Kept) -> None:
    assert weighted("analyse", "weights", "dataset:calls", "--json").json == {
        "calls/a": WEIGHTS["a"],
        "calls/b": WEIGHTS["b"],
    }


def test_as_a_table_and_a_picture(weighted: Kept) -> None:
    outcome = weighted("analyse", "weights", "--out", "w.csv")
    assert outcome.code == 0, outcome
    assert outcome.out == "3 runs in w.csv\n"
    with Path("w.csv").open(newline="") as file:
        rows = {row["run"]: row for row in csv.DictReader(file)}
    assert rows["calls/b"] == {"run": "calls/b", "layer_0": "0.25", "layer_1": "0.75", "layer_2": ""}
    assert weighted("analyse", "weights", "--out", "w.PNG").code == 0
    with Image.open("w.PNG") as picture:
        assert picture.format == "PNG"
        assert min(picture.size) > 200


def test_runs_of_one_name_are_told_apart(weighted: Kept) -> None:
    yard = Yard(weighted.root)
    leave(yard, "grouped", "q", "calls", "a")
    found = weighted("analyse", "weights", "--json").json
    assert set(found) == {"p/calls/a", "p/calls/b", "p/cries/a", "q/calls/a"}
    ids = [leave(yard, "files", "q", "calls", "a"), leave(yard, "files", "q", "calls", "a")]
    found = weighted("analyse", "weights", "project:q", "--json").json
    assert len(found) == 3
    assert all(f"q/calls/a ({id_})" in found for id_ in ids)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("weights", "name:none"), ("1 run", "trainyard train vocalizations")),
        (("weights", "name:nobody"), ("trainyard train vocalizations",)),
        (("weights", "name="), ("name",)),
        (("heads",), ("'heads'", "weights")),
        (("weights", "--out", "w.svg"), ("'w.svg'", ".png", ".csv")),
        (("weights", "--out", "none/w.png"), ("--out", "'none'")),
    ],
)
def test_refused(weighted: Kept, arguments: tuple[str, ...], says: tuple[str, ...]) -> None:
    outcome = weighted("analyse", *arguments)
    assert outcome.code == 2
    assert outcome.out == ""
    assert all(words in outcome.err for words in says), outcome.err
    assert not list(Path().iterdir())
