"""The files that record how a run was started: its config, machine and packages, in the forms of every layout.

Used by training and by a user's own loop: needs no torch and no numpy. Files with names of Weights & Biases have
its keys and types. Nothing is taken from environment variables.
"""

from __future__ import annotations

import json
import platform
import re
import shutil
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml

from trainyard.runs import RunWriter, environment
from trainyard.runs.identity import utc_now
from trainyard.runs.snapshot import Snapshot

_HYDRA = ("hydra_overrides", "config", "hydra_config", "hydra_settings")
_KINDS = (*_HYDRA, "wandb_config", "wandb_metadata", "requirements", "environment")


def is_complete(run: RunWriter) -> bool:
    """Whether all these files exist; false for a run that was killed during `write_start`."""
    written = {record.kind for record in run.snapshot.records}
    return all(kind in written for kind in _KINDS if run.keeps(kind))


def write_start(
    run: RunWriter, config: Mapping[str, Any], overrides: Sequence[str], captured: Mapping[str, Any]
) -> None:
    """Writes config, environment and requirements in every form that the layout has; keeps existing files."""
    home = run.yard.relative(run.home)
    hydra_settings = {  # the parts of hydra.yaml that apply
        "run": {"dir": home},
        "job": {"name": "trainyard", "override_dirname": ",".join(sorted(overrides))},
        "overrides": {"hydra": [], "task": list(overrides)},
        "runtime": {"version": captured["packages"].get("hydra-core"), "output_dir": home},
    }
    text = {
        "hydra_overrides": _yaml(list(overrides)),
        "config": _yaml(dict(config)),
        "hydra_config": _yaml(dict(config)),
        "hydra_settings": _yaml({"hydra": hydra_settings}),
        "wandb_config": _yaml(wandb_config(config)),
        "wandb_metadata": json.dumps(wandb_metadata(captured, started=run.snapshot.started), indent=2) + "\n",
        "requirements": environment.requirements(captured["packages"]),
        "environment": json.dumps(captured, indent=2) + "\n",
    }
    written = {record.kind for record in run.snapshot.records}
    for kind in _KINDS:
        if kind not in written:
            run.write(kind, text[kind])
    if run.keeps("default_config") and not run.path("default_config").exists():
        run.write("default_config", text["config"])


def _yaml(value: Any) -> str:
    return yaml.safe_dump(value, sort_keys=False, allow_unicode=True)


def wandb_config(config: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """config.yaml as wandb writes it: each key's value under `value`."""
    return {key: {"value": value} for key, value in config.items()}


def wandb_metadata(captured: Mapping[str, Any], *, started: str | None) -> dict[str, Any]:
    """wandb-metadata.json: wandb's own keys and types (its EnvironmentRecord), and five more.

    `captured` is the result of `environment.capture`, perhaps with "cuda", the version that torch was built with. As
    in wandb, sizes are strings, in bytes. The added keys (`torch`, `transformers`, `cuda`, `gpu_driver`, `git_dirty`)
    may be null.
    """
    packages, git, gpus, cpu = captured["packages"], captured["git"], captured["gpus"], captured["cpu"]
    disk = shutil.disk_usage("/")
    return {
        "os": captured["os"],
        "python": f"{platform.python_implementation()} {captured['python']}",
        "startedAt": started,
        "args": captured["command"][1:],
        "program": captured["command"][0],
        "git": {key: git[key] for key in ("remote", "commit") if git.get(key)},
        "root": captured["directory"],
        "host": captured["host"],
        "executable": captured["executable"],
        "cpu_count": _physical_cores() or cpu["cores"],
        "cpu_count_logical": cpu["cores"],
        "gpu": gpus[0]["name"] if gpus else None,
        "gpu_count": len(gpus),
        "disk": {"/": {"total": str(disk.total), "used": str(disk.used)}},
        "memory": {"total": str(cpu["memory_bytes"])} if cpu["memory_bytes"] else None,
        "cpu": {"model": cpu["model"]},
        "gpu_nvidia": [_nvidia(gpu) for gpu in gpus],
        "cudaVersion": captured.get("cuda"),
        "torch": packages.get("torch"),
        "transformers": packages.get("transformers"),
        "cuda": captured.get("cuda"),
        "gpu_driver": gpus[0].get("driver") if gpus else None,
        "git_dirty": git.get("dirty"),
    }


def _nvidia(gpu: Mapping[str, str]) -> dict[str, str]:
    """One GPU; nvidia-smi reports its memory as "81559 MiB"."""
    amount = re.fullmatch(r"(\d+) MiB", gpu.get("memory", ""))
    return {"name": gpu["name"], **({"memoryTotal": str(int(amount[1]) << 20)} if amount else {})}


def _physical_cores() -> int | None:
    """Cores without hyper-threading; None if /proc/cpuinfo does not list them."""
    try:
        processors = Path("/proc/cpuinfo").read_text().split("\n\n")
    except OSError:
        return None
    cores = {tuple(re.findall(r"^(?:physical id|core id)\s*: (\d+)$", text, re.MULTILINE)) for text in processors}
    return len(cores - {()}) or None


def wandb_summary(run: Snapshot, values: Mapping[str, Any]) -> dict[str, Any]:
    """wandb-summary.json: final `values`, the last values of the history, and wandb's own keys."""
    now = utc_now()
    # The end of an attempt that was killed is unknown, so its time is not counted.
    known = [attempt for attempt in run.attempts if attempt.ended or attempt is run.attempts[-1]]
    runtime_s = sum(_time(attempt.ended or now) - _time(attempt.started) for attempt in known)
    last = {key.replace("_", "/", 1): value for key, value in run.metrics.items()}  # train_loss: train/loss
    own = {"_step": run.step, "_runtime": runtime_s, "_timestamp": _time(now), "_wandb": {"runtime": int(runtime_s)}}
    return {**last, "epoch": run.epoch, **values, **own}


def _time(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
