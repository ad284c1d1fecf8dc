"""The files that say what a run was started with: its config, machine and packages, in every layout's form.

For training and for a user's own loop alike: needs no torch and no numpy.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from trainyard.runs import RunWriter, environment


def _yaml(value: Any) -> str:
    return yaml.safe_dump(value, sort_keys=False, allow_unicode=True)


_KINDS = (
    "hydra_overrides", "config", "hydra_config", "hydra_settings", "wandb_config", "wandb_metadata", "requirements",
    "environment",
)  # fmt: skip


def is_complete(run: RunWriter) -> bool:
    """Whether all of it is there: not so for a run that was killed while `write_start` wrote."""
    written = {record.kind for record in run.snapshot.records}
    return all(kind in written for kind in _KINDS if run.keeps(kind))


def write_start(
    run: RunWriter, config: Mapping[str, Any], overrides: Sequence[str], captured: Mapping[str, Any]
) -> None:
    """Config, environment and requirements, in every form that the layout asks for; what is there stays."""
    text = {
        "hydra_overrides": _yaml(list(overrides)),
        "config": _yaml(dict(config)),
        "hydra_config": _yaml(dict(config)),
        "hydra_settings": _yaml(_hydra_settings(run, overrides)),
        "wandb_config": _yaml({key: {"desc": None, "value": value} for key, value in config.items()}),
        "wandb_metadata": json.dumps(_wandb_metadata(captured, run), indent=2) + "\n",
        "requirements": environment.requirements(captured["packages"]),
        "environment": json.dumps(captured, indent=2) + "\n",
    }
    written = {record.kind for record in run.snapshot.records}
    for kind in _KINDS:
        if kind not in written:
            run.write(kind, text[kind])
    if run.keeps("default_config") and not run.path("default_config").exists():
        run.write("default_config", text["config"])


def _hydra_settings(run: RunWriter, overrides: Sequence[str]) -> dict[str, Any]:
    """hydra.yaml, as far as it means something here."""
    return {
        "hydra": {
            "run": {"dir": run.yard.relative(run.home)},
            "job": {"name": "trainyard", "override_dirname": ",".join(sorted(overrides))},
            "overrides": {"hydra": [], "task": list(overrides)},
            "runtime": {"version": environment.packages().get("hydra-core"), "output_dir": run.yard.relative(run.home)},
        }
    }


def _wandb_metadata(captured: Mapping[str, Any], run: RunWriter) -> dict[str, Any]:
    """wandb-metadata.json: what other tools look for, under the names they look for."""
    packages, git = captured["packages"], captured["git"]
    return {
        "os": captured["os"],
        "python": f"{platform.python_implementation()} {captured['python']}",
        "startedAt": run.snapshot.started,
        "host": captured["host"],
        "executable": captured["executable"],
        "args": captured["command"][1:],
        "program": captured["command"][0],
        "cpu_count": captured["cpu"]["cores"],
        "memory": {"total": captured["cpu"]["memory_bytes"]},
        "gpu": captured["gpus"][0]["name"] if captured["gpus"] else None,
        "gpu_count": len(captured["gpus"]),
        "gpu_devices": captured["gpus"],
        "cuda": captured.get("cuda"),
        "torch": packages.get("torch"),
        "transformers": packages.get("transformers"),
        "git": {"commit": git.get("commit"), "remote": git.get("remote"), "dirty": git.get("dirty")},
    }
