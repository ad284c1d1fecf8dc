"""What `trainyard train digits layout=X` leaves, file by file, in each layout.

Regenerate the trees: `TRAINYARD_UPDATE_GOLDEN=1 pytest tests/running/test_trees.py`
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from trainyard.layouts import LAYOUTS
from trainyard.layouts.kinds import KINDS
from trainyard.runs import RunReader, Yard, find_homes

GOLDEN = Path(__file__).parent / "golden"
Trained = Callable[[str], RunReader]


def files(yard: Yard) -> list[str]:
    """Every file in the yard, relative to it."""
    return sorted(yard.relative(path) for path in yard.root.rglob("*") if path.is_file())


def masked(run: RunReader) -> str:
    """The files, with what differs from run to run replaced by its name."""
    facts = run.snapshot.facts
    text = "\n".join(files(run.yard)) + "\n"
    text = re.sub(r"trash/\d{8}-\d{6}-[0-9a-f]+-rotation-[0-9a-z]+", "trash/<when>-rotation-<run>", text)
    for fact in ("id", "timestamp", "date", "time"):
        text = text.replace(str(facts[fact]), f"<{fact}>")
    text = re.sub(r"(events\.out\.tfevents\.)\d+\.\S+", r"\1<second>.<host>", text)
    text = re.sub(r"objects/[0-9a-f]{2}/[0-9a-f]{64}", "objects/<digest>", text)
    return "\n".join(sorted(text.splitlines())) + "\n"


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_tree_is_the_golden_one(trained: Trained, layout: str) -> None:
    tree, golden = masked(trained(layout)), GOLDEN / f"{layout}.txt"
    if os.environ.get("TRAINYARD_UPDATE_GOLDEN"):
        GOLDEN.mkdir(exist_ok=True)
        golden.write_text(tree, encoding="utf-8")
    assert tree == golden.read_text(encoding="utf-8"), "if meant: TRAINYARD_UPDATE_GOLDEN=1"


def test_no_golden_tree_is_left_over() -> None:
    assert {path.stem for path in GOLDEN.iterdir()} == set(LAYOUTS)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_layout_knows_every_file(trained: Trained, layout: str) -> None:
    """By its own path, or by that of the checkpoint or folder of events it lies in."""
    run = trained(layout)
    facts = run.snapshot.facts
    for path in files(run.yard):
        parts = path.split("/")
        if ".run" in parts or parts[0] == ".yard":
            continue
        folders = ["/".join(parts[:depth]) + "/" for depth in range(1, len(parts))]
        found = [match for name in (path, *folders) for match in run.layout.match(name) if match.kind != "home"]
        if "tfevents" in path:
            tensorboard = run.layout.path("tensorboard", facts)
            assert path.startswith(tensorboard)
            continue
        assert found, f"{path} is nothing that the layout knows"
        known = {**facts, "split": ("val", "test"), "epoch": (1, 2), "step": (15, 20, 30, 40)}
        for name, value in found[0].facts.items():
            assert value == known[name] or value in known[name], f"{path}: {name} is read as {value!r}"


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_run_knows_every_file_and_every_file_it_knows_is_there(trained: Trained, layout: str) -> None:
    run = trained(layout)
    recorded = {record.path for record in run.snapshot.records}
    for checkpoint in run.snapshot.checkpoints:
        for place, path in checkpoint.paths.items():
            assert run.resolve(path).exists(), (place, path)
            recorded.add(path)
    for path in recorded:
        assert run.resolve(path).exists(), path
        assert path.endswith("/") == run.resolve(path).is_dir(), path
    for path in files(run.yard):
        parts = path.split("/")
        if ".run" in parts or parts[0] == ".yard":
            continue
        inside = [folder for folder in recorded if folder.endswith("/") and path.startswith(folder)]
        assert path in recorded or inside or "tfevents" in path, f"{path} is not in the journal"


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_kind_that_the_layout_has_is_written(trained: Trained, layout: str) -> None:
    """Apart from what only an encoder, an export, a search, a later evaluation or the user writes."""
    run = trained(layout)
    written = {record.kind for record in run.snapshot.records}
    written |= {place for checkpoint in run.snapshot.checkpoints for place in checkpoint.paths}
    others = {"home", "step_checkpoint", "evaluation_log", "controller_log", "extra", "plots", "tensorboard"}
    others |= {"layer_weights", "encoder_weights", "exports", "artifact_manifest"}
    wanted = {kind for kind in KINDS if run.layout.has(kind)} - others
    assert wanted <= written, f"not written: {wanted - written}"
    assert any("tfevents" in path for path in files(run.yard))


def test_the_real_recipe_reaches_97_percent(tmp_path: Path) -> None:
    """The command that a newcomer types first."""
    done = subprocess.run(
        [sys.executable, "-m", "trainyard", "train"],
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=400,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    (home,) = find_homes(Yard(tmp_path / "outputs"))
    run = RunReader(Yard(tmp_path / "outputs"), home)
    assert run.snapshot.state == "finished"
    assert run.snapshot.summary["test_accuracy"] >= 0.97
    assert f"kept in outputs/{run.snapshot.home}" in done.stdout
