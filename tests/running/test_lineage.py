"""A checkpoint that another run was made from is known, recorded, and kept."""

from __future__ import annotations

from pathlib import Path

import faults
import pytest

from trainyard.config.compose import compose
from trainyard.retention import KeepPolicy, apply, rotate
from trainyard.retention.cleaning import clean_checkpoints, run_facts
from trainyard.retention.run_policy import find_uses
from trainyard.running.lineage import UsedSteps, source_of
from trainyard.running.train import train
from trainyard.runs import RunReader, Yard, amend
from trainyard.runs.events import ParentUsed

SMALL = ["model=mlp", "model.hidden=[8]", "outputs.plots=false", "run.device=cpu", "run.test=false"]


def test_a_run_made_from_anothers_checkpoint_protects_it(tmp_path: Path) -> None:
    home = train(compose("digits", [*SMALL, "training.epochs=3"]), tmp_path)
    assert home is not None
    yard = Yard(tmp_path)
    parent = RunReader(yard, home)
    first = parent.snapshot.checkpoints[0]
    path = parent.locate(first)
    assert path is not None
    used = UsedSteps(yard, parent.snapshot.id)
    assert used() == {}

    child_home = train(compose("digits", [*SMALL, "training.epochs=1", f"run.checkpoint_path={path}"]), tmp_path)
    assert child_home is not None
    child = RunReader(yard, child_home)
    assert child.snapshot.parents == [{"run": parent.snapshot.id, "step": first.step, "role": "initial weights"}]
    assert list(used()) == [first.step]

    everyone = [parent, child]
    uses = find_uses([run_facts(run) for run in everyone])
    plan = clean_checkpoints(yard, everyone, KeepPolicy(last=0), uses=uses)
    assert first.step not in {item.data["step"] for item in plan.items}
    assert any(str(first.step) in spared.what for spared in plan.spared)


OWN_LAYOUT = """\
claim: run
checkpoint_format: pth
kinds:
  home: "experiments/{project}/{run}/"
  checkpoint: "weights of {project}/{run}/epoch {epoch}.pth"
  best: "best of {project}/{run}.pth"
  log: "{home}log.txt"
"""


@pytest.mark.parametrize("place", ["checkpoint", "best"])
def test_a_teacher_in_a_layout_of_the_users_own_is_protected(tmp_path: Path, place: str) -> None:
    """Its checkpoints lie outside its home, at paths that no shipped layout has."""
    (tmp_path / "own.yaml").write_text(OWN_LAYOUT)
    common = [*SMALL, f"layout={tmp_path / 'own.yaml'}"]
    home = train(compose("digits", [*common, "training.epochs=3", "run.name=teacher"]), tmp_path / "yard")
    assert home is not None
    yard = Yard(tmp_path / "yard")
    teacher = RunReader(yard, home)
    chosen = teacher.snapshot.checkpoints[0]
    if place == "best":
        assert teacher.snapshot.best is not None
        found = teacher.snapshot.checkpoint(teacher.snapshot.best.step)
        assert found is not None
        chosen = found
    (tmp_path / "link").symlink_to(yard.root)
    path = tmp_path / "link" / chosen.paths[place]
    taught = ["training.distillation.enabled=true", f"training.distillation.teacher_model_path={path}"]
    child_home = train(compose("digits", [*common, "training.epochs=1", "run.name=student", *taught]), yard.root)
    assert child_home is not None
    child = RunReader(yard, child_home)
    assert child.snapshot.parents == [{"run": teacher.snapshot.id, "step": chosen.step, "role": "teacher"}]

    everyone = [teacher, child]
    uses = find_uses([run_facts(run) for run in everyone])
    plan = clean_checkpoints(yard, everyone, KeepPolicy(last=0), uses=uses)
    assert chosen.step not in {item.data["step"] for item in plan.items if item.run_id == teacher.snapshot.id}
    apply(yard, plan)
    assert path.exists()

    with amend(yard, home) as run:
        rotate(run, KeepPolicy(last=1, best=0), protected_steps=UsedSteps(yard, run.id)())
    assert path.exists()
    assert RunReader(yard, home).snapshot.checkpoint(chosen.step) is not None


def test_a_file_inside_a_checkpoint_belongs_to_its_run(tmp_path: Path) -> None:
    home = train(compose("digits", [*SMALL, "training.epochs=1"]), tmp_path)
    assert home is not None
    run = RunReader(Yard(tmp_path), home)
    path = run.locate(run.snapshot.checkpoints[0])
    assert path is not None
    assert path.is_dir()
    for asked in (path, next(path.glob("*.safetensors"))):
        assert source_of(run.yard, asked, "x") == ParentUsed(run.snapshot.id, run.snapshot.checkpoints[0].step, "x")
    assert source_of(run.yard, home / "summary.json", "x") is None
    assert source_of(run.yard, path / "missing", "x") == source_of(run.yard, path, "x")
    assert source_of(run.yard, tmp_path / "missing" / "x", "x") is None


def test_a_run_that_cannot_be_read_does_not_hide_the_others(tmp_path: Path) -> None:
    homes = [train(compose("digits", [*SMALL, "training.epochs=1"]), tmp_path) for _ in range(2)]
    assert homes[0] is not None
    assert homes[1] is not None
    (homes[1] / ".run/run.json").unlink()
    faults.flip_byte(homes[1] / ".run/journal.jsonl", 30)
    run = RunReader(Yard(tmp_path), homes[0])
    path = run.locate(run.snapshot.checkpoints[0])
    assert path is not None
    assert source_of(run.yard, path, "x") == ParentUsed(run.snapshot.id, run.snapshot.checkpoints[0].step, "x")


def test_a_checkpoint_from_elsewhere_is_no_parent(tmp_path: Path) -> None:
    Yard(tmp_path / "yard", create=True)
    (tmp_path / "weights.pth").write_bytes(b"x")
    assert source_of(Yard(tmp_path / "yard"), tmp_path / "weights.pth", "initial weights") is None
