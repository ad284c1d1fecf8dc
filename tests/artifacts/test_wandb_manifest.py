"""Weights & Biases reads our manifest, and its digests are those that it computes itself."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

pytest.importorskip("wandb")

# In a process of its own: wandb changes warnings and signal handlers when it is imported.
READ = """
import json, sys, warnings
warnings.simplefilter("ignore")
import wandb
from wandb.sdk.artifacts.artifact_manifest import ArtifactManifest
read = ArtifactManifest.from_manifest_json(json.load(open(sys.argv[1])))
made = wandb.Artifact("data", "dataset")
made.add_dir(sys.argv[2])
theirs = made.manifest
print(json.dumps({
    "read": read.to_manifest_json(), "theirs": theirs.to_manifest_json(),
    "digests": [read.digest(), theirs.digest()], "sizes": [read.size(), theirs.size()],
    "sha256": read.entries["more/b.bin"].extra["sha256"],
}))
"""


def test_wandb_reads_it_as_its_own(store, folder, tmp_path, new_run):
    from trainyard.running.artifacts import log_artifact

    run = new_run("files")
    version = log_artifact(run, folder, "data", type="dataset")
    path = run.home / "files" / "artifact" / version.wandb_id / "wandb_manifest.json"
    assert [record.path for record in run.snapshot.records if record.kind == "artifact_manifest"] == [
        run.relative(path)
    ]
    environment = {
        **os.environ,
        "WANDB_MODE": "offline",
        "WANDB_DIR": str(tmp_path),
        "WANDB_CACHE_DIR": str(tmp_path),
        "WANDB_DATA_DIR": str(tmp_path),
        "WANDB_ERROR_REPORTING": "false",
    }
    done = subprocess.run(
        [sys.executable, "-c", READ, str(path), str(folder)],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=tmp_path,
        env=environment,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    ours = json.loads(path.read_bytes())
    assert found["read"] == ours, "nothing was lost in reading"
    without = {name: {"digest": e["digest"], "size": e["size"]} for name, e in ours["contents"].items()}
    assert {**ours, "contents": without} == found["theirs"]
    assert len(set(found["digests"])) == 1
    assert len(set(found["sizes"])) == 1
    assert found["sha256"] == version.files["more/b.bin"].sha256


def test_logging_again_writes_the_same_manifest(folder, new_run):
    from trainyard.running.artifacts import log_artifact

    run = new_run("files")
    for _ in range(2):
        log_artifact(run, folder, "data")
    assert len(list((run.home / "files" / "artifact").iterdir())) == 1
    (folder / "a.txt").unlink()
    (folder / "a.txt").write_text("other")
    log_artifact(run, folder, "data")
    assert len(list((run.home / "files" / "artifact").iterdir())) == 2
