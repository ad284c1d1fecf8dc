from __future__ import annotations

import importlib.metadata
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from google.protobuf import json_format
from packaging.requirements import Requirement
from wandb.proto import wandb_internal_pb2

from trainyard.running import start_files
from trainyard.runs import environment
from trainyard.runs.snapshot import Attempt, Snapshot

STARTED = "2026-01-31T20:43:01.123Z"
ADDED = {"torch", "transformers", "cuda", "gpu_driver", "git_dirty"}
H100 = {"name": "NVIDIA H100 80GB HBM3", "memory": "81559 MiB", "driver": "580.82.07"}


def as_wandb_reads(metadata: dict[str, Any]) -> Any:
    """wandb's own record; fails on a key that it does not know and on a value of another type."""
    known = {key: value for key, value in metadata.items() if key not in ADDED}
    return json_format.Parse(json.dumps(known), wandb_internal_pb2.EnvironmentRecord())


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    def git(*words: str) -> None:
        subprocess.run(["git", *words], cwd=tmp_path, check=True, capture_output=True)

    git("init")
    (tmp_path / "a.txt").write_text("a")
    git("add", "a.txt")
    git("-c", "user.name=a", "-c", "user.email=a@b.c", "commit", "-m", "a")
    git("remote", "add", "origin", "https://me:ghp_s3cret@example.com/r.git")
    return tmp_path


def test_the_metadata_is_a_record_of_wandb(repository: Path) -> None:
    captured = environment.capture(repository)
    metadata = start_files.wandb_metadata(captured, started=STARTED)
    record = as_wandb_reads(metadata)
    assert record.started_at.ToJsonString() == STARTED
    assert record.git.commit == captured["git"]["commit"]
    assert record.git.remote_url == "https://example.com/r.git"
    assert (record.cpu_count_logical, record.memory.total) == (os.cpu_count(), captured["cpu"]["memory_bytes"])
    assert 0 < record.cpu_count <= record.cpu_count_logical
    assert 0 < record.disk["/"].used < record.disk["/"].total
    assert (metadata["git_dirty"], metadata["gpu"], metadata["cuda"]) == (False, None, None)
    assert metadata["torch"] == importlib.metadata.version("torch")
    assert metadata["transformers"] == importlib.metadata.version("transformers")


def test_gpus_as_wandb_describes_them() -> None:
    captured = {**environment.capture(), "gpus": [H100, {"name": "other"}], "cuda": "12.8"}
    metadata = start_files.wandb_metadata(captured, started=STARTED)
    record = as_wandb_reads(metadata)
    assert (record.gpu_type, record.gpu_count, record.cuda_version) == (H100["name"], 2, "12.8")
    assert [(gpu.name, gpu.memory_total) for gpu in record.gpu_nvidia] == [(H100["name"], 81559 << 20), ("other", 0)]
    assert (metadata["cuda"], metadata["gpu_driver"]) == ("12.8", "580.82.07")


def test_without_git_and_with_little_known_it_is_one_all_the_same() -> None:
    captured = environment.capture()
    captured |= {"git": {}, "packages": {}, "cpu": {"model": "", "cores": 1, "memory_bytes": None}}
    record = as_wandb_reads(start_files.wandb_metadata(captured, started=None))
    assert (record.git.commit, record.memory.total) == ("", 0)


def test_the_files_of_a_run(new_run: Any, repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "k3y-s3cret")
    run, config = new_run("files"), {"training": {"epochs": 2, "rate": None}, "tags": ["a: b", "é"], "seed": 1}
    start_files.write_start(run, config, ["training.epochs=2"], environment.capture(repository))
    assert start_files.is_complete(run)
    files = run.home / "files"
    shaped = yaml.safe_load((files / "config.yaml").read_text())
    assert shaped == {key: {"value": value} for key, value in config.items()}
    requirements = [Requirement(line) for line in (files / "requirements.txt").read_text().splitlines()]
    assert requirements
    for requirement in requirements:
        assert str(requirement.specifier) == f"=={importlib.metadata.version(requirement.name)}"
    as_wandb_reads(json.loads((files / "wandb-metadata.json").read_text()))
    for path in files.iterdir():
        assert "s3cret" not in path.read_text()


def test_a_summary_has_final_values_last_values_and_the_time_of_every_attempt() -> None:
    run = Snapshot(
        step=40,
        epoch=2.0,
        metrics={"train_loss": 0.5, "val_f1_macro": 0.25, "val_loss": 0.75},
        attempts=[
            Attempt(1, 7, "h", "2026-01-31T20:00:00.000Z", ended="2026-01-31T20:01:00.500Z"),
            Attempt(2, 8, "h", "2026-01-31T21:00:00.000Z"),  # killed: nobody knows when
            Attempt(3, 9, "h", "2026-01-31T22:00:00.000Z", ended="2026-01-31T22:00:30.000Z"),
        ],
    )
    summary = start_files.wandb_summary(run, {"best_epoch": 1, "per_class": {"joy": {"f1_score": 0.5}}})
    assert summary.pop("_timestamp") > 1_700_000_000
    assert summary == {
        "train/loss": 0.5,
        "val/f1_macro": 0.25,
        "val/loss": 0.75,
        "epoch": 2.0,
        "best_epoch": 1,
        "per_class": {"joy": {"f1_score": 0.5}},
        "_step": 40,
        "_runtime": 90.5,
        "_wandb": {"runtime": 90},
    }
