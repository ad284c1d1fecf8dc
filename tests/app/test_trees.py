"""What `trainyard train digits layout=X` leaves, file by file, in each layout.

Regenerate the trees: `TRAINYARD_UPDATE_GOLDEN=1 pytest tests/app/test_trees.py`
"""

from __future__ import annotations

import csv
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from trainyard.app.verify import Tally, verify_yard
from trainyard.layouts import LAYOUTS
from trainyard.layouts.kinds import KINDS, SHAREABLE
from trainyard.runs import RunReader, Yard, find_homes
from trainyard.testing import killing

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
    """Apart from what only a search, a later evaluation or the user writes."""
    run = trained(layout)
    written = {record.kind for record in run.snapshot.records}
    written |= {place for checkpoint in run.snapshot.checkpoints for place in checkpoint.paths}
    others = {"home", "step_checkpoint", "evaluation_log", "controller_log", "extra", "plots", "tensorboard"}
    wanted = {kind for kind in KINDS if run.layout.has(kind)} - others
    assert wanted <= written, f"not written: {wanted - written}"
    assert any("tfevents" in path for path in files(run.yard))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_two_trainings_at_the_same_moment_never_collide(tmp_path: Path, small: list[str], layout: str) -> None:
    yard = tmp_path / "yard"
    overrides = [*small, "training.epochs=1", "outputs.plots=false", f"layout={layout}"]
    overrides.remove("training.epochs=2")
    codes: list[int] = []
    threads = []
    for seed in (0, 1):
        (tmp_path / str(seed)).mkdir()
        arguments = (tmp_path / str(seed) / ".." / "yard", [*overrides, f"run.seed={seed}"])
        threads.append(threading.Thread(target=lambda arguments=arguments: codes.append(killing.run(*arguments))))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert codes == [0, 0]
    runs = [RunReader(Yard(yard), home) for home in sorted(find_homes(Yard(yard)))]
    assert [run.snapshot.state for run in runs] == ["finished", "finished"]
    assert {run.snapshot.seed for run in runs} == {0, 1}
    assert runs[0].snapshot.id != runs[1].snapshot.id
    paths = []
    for run in runs:
        own = {record.path for record in run.snapshot.records if record.kind not in SHAREABLE}
        paths.append(own | {path for c in run.snapshot.checkpoints for path in c.paths.values()})
    assert paths[0].isdisjoint(paths[1])
    assert len(paths[0]) == len(paths[1]) > 5
    assert list(verify_yard(Yard(yard), Tally())) == []
    if layout == "grouped":
        rows = list(csv.DictReader((yard / "demo/metrics.csv").read_text().splitlines()))
        assert sorted((row["id"], row["split"]) for row in rows) == sorted(
            (run.snapshot.id, split) for run in runs for split in ("val", "test")
        )


def test_the_real_recipe_reaches_97_percent(tmp_path: Path) -> None:
    """The command that a newcomer types first."""
    done = subprocess.run(
        [sys.executable, "-m", "trainyard", "train"], cwd=tmp_path, capture_output=True, text=True, timeout=400
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    (home,) = find_homes(Yard(tmp_path / "outputs"))
    run = RunReader(Yard(tmp_path / "outputs"), home)
    assert run.snapshot.state == "finished"
    assert run.snapshot.summary["test_accuracy"] >= 0.97
    assert f"kept in outputs/{run.snapshot.home}" in done.stdout
