"""A checkpoint that another run was made from is known, recorded, and kept."""

from __future__ import annotations

from pathlib import Path

from trainyard.config.compose import compose
from trainyard.retention import KeepPolicy, clean_checkpoints, find_uses, run_facts
from trainyard.running.lineage import UsedSteps, source_of
from trainyard.running.train import train
from trainyard.runs import RunReader, Yard

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


def test_a_checkpoint_from_elsewhere_is_no_parent(tmp_path: Path) -> None:
    Yard(tmp_path / "yard", create=True)
    (tmp_path / "weights.pth").write_bytes(b"x")
    assert source_of(Yard(tmp_path / "yard"), tmp_path / "weights.pth", "initial weights") is None
