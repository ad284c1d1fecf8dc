"""A yard written by an older version opens, lists, verifies, evaluates and resumes as if nothing had changed."""

from __future__ import annotations

import contextlib
import io
import json
import signal
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest
import torch

from trainyard.cli.main import main

HERE = Path(__file__).parent
FINISHED = ("done_grouped", "done_shared", "done_dated", "done_trials", "done_files", "sound", "texts", "speech")
KILLED = ("killed_grouped", "killed_trials", "killed_texts", "killed_speech")


def trainyard(*arguments: object) -> str:
    """What the command prints; it must succeed."""
    out, err = io.StringIO(), io.StringIO()
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        patch.setattr(sys, "argv", ["trainyard", *map(str, arguments)])
        with contextlib.suppress(SystemExit):
            main()
    for number, handler in handlers.items():
        signal.signal(number, handler)
    assert not err.getvalue()
    return out.getvalue()


@pytest.fixture
def yard(tmp_path: Path) -> Path:
    """A copy of the yard of the first version."""
    root = tmp_path / "yard"
    with tarfile.open(HERE / "yard-0.1.tar.xz") as archive:
        archive.extractall(root, filter="data")
    return root


def shown(yard: Path, name: str) -> dict[str, Any]:
    """The run as `trainyard show --json` gives it."""
    run: dict[str, Any] = json.loads(trainyard("show", name, "--json", "--yard", yard))
    return run


def test_it_lists_and_verifies(yard: Path) -> None:
    rows = {row["name"]: row for row in json.loads(trainyard("runs", "--json", "--yard", yard))}
    assert {name: rows[name]["state"] for name in (*FINISHED, "loop")} == dict.fromkeys((*FINISHED, "loop"), "finished")
    assert {name: rows[name]["state"] for name in KILLED} == dict.fromkeys(KILLED, "crashed")
    assert rows["done_grouped"]["summary"]["test_accuracy"] == pytest.approx(0.2702, abs=1e-4)
    verified = json.loads(trainyard("verify", "--json", "--yard", yard))
    assert (verified["checked"]["runs"], verified["checked"]["checkpoints"]) == (13, 33)
    assert verified["findings"] == []


@pytest.mark.parametrize("name", FINISHED)
def test_a_finished_run_is_measured_as_it_was(yard: Path, name: str) -> None:
    recorded = shown(yard, name)["summary"]
    measured = json.loads(trainyard("evaluate", name, "--json", "--yard", yard))["metrics"]
    assert measured == {key: pytest.approx(recorded[f"test_{key}"], rel=1e-4, abs=1e-6) for key in measured}


def tensors(yard: Path, run: dict[str, Any], step: int) -> dict[str, torch.Tensor]:
    """Every weight in the checkpoint of that step, read by torch and safetensors alone."""
    from safetensors.torch import load_file

    path = yard / next(c for c in run["checkpoints"] if c["step"] == step)["paths"]["checkpoint"]
    if path.is_file():
        found: dict[str, torch.Tensor] = torch.load(path, weights_only=True)["model"]
        return found
    if (path / "pytorch_model.bin").exists():
        whole: dict[str, torch.Tensor] = torch.load(path / "pytorch_model.bin", weights_only=True)
        return whole
    return {key: value for file in path.glob("*.safetensors") for key, value in load_file(file).items()}


@pytest.mark.parametrize("name", KILLED)
def test_a_killed_run_resumes_to_where_an_undisturbed_one_ends(yard: Path, tmp_path: Path, name: str) -> None:
    began = shown(yard, name)
    trainyard("resume", name, "--yard", yard)
    resumed = shown(yard, name)
    assert resumed["state"] == "finished"
    assert json.loads(trainyard("verify", name, "--json", "--yard", yard))["findings"] == []

    other = tmp_path / "undisturbed"
    overrides = ["checkpoint.keep_last=null", f"run.name={name}"]
    config = tmp_path / "config.yaml"
    config.write_text(json.dumps(began["config"]), encoding="utf-8")
    trainyard("train", config, *overrides, "--yard", other)
    undisturbed = shown(other, name)
    assert resumed["step"] == undisturbed["step"]
    common = began["checkpoints"][-1]["step"]
    here, there = tensors(yard, began, common), tensors(other, undisturbed, common)
    # On the kind of machine that wrote the yard all bits are the same; another one rounds otherwise from the start.
    same_machine = all(torch.equal(here[key], there[key]) for key in here)
    last, final = tensors(yard, resumed, resumed["step"]), tensors(other, undisturbed, undisturbed["step"])
    assert last.keys() == final.keys()
    for key in last:
        if same_machine:
            assert torch.equal(last[key], final[key]), key
        else:
            torch.testing.assert_close(last[key], final[key], rtol=1e-2, atol=1e-3)
    if same_machine:
        assert resumed["summary"] == undisturbed["summary"]
