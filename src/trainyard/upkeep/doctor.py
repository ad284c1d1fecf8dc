"""Checks whether this machine can train and whether a yard is in order. Changes nothing."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from trainyard import durable
from trainyard.errors import TrainyardError
from trainyard.runs import RunReader, find_homes
from trainyard.runs.yard import Yard

_NEEDED_TO_TRAIN = ("torch", "numpy", "scikit-learn", "safetensors", "pillow", "matplotlib", "tensorboardX")
_LOW_BYTES = 2_000_000_000


@dataclass(frozen=True)
class Check:
    """One check: its status (`ok`, `warn` or `fail`), what was found, and what to do about it."""

    status: str
    subject: str
    found: str
    remedy: str = ""


def examine(root: Path) -> Iterator[Check]:
    """Runs every check, the general ones first."""
    yield Check("ok", "python", f"{platform.python_version()} on {platform.platform()}, {os.cpu_count()} cores")
    yield from _packages()
    if not root.exists():
        yield Check("ok", "yard", f"{root} does not exist yet; `trainyard train` creates it")
        return
    if not root.is_dir():
        yield Check("fail", "yard", f"{root} is not a directory", "Choose another directory with --yard DIR.")
        return
    yard = Yard(root)
    yield from _disk(yard)
    yield from _runs(yard)


def _packages() -> Iterator[Check]:
    found: dict[str, str] = {}
    for name in _NEEDED_TO_TRAIN:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    missing = ", ".join(name for name in _NEEDED_TO_TRAIN if name not in found)
    if missing:
        remedy = "To train, run `pip install 'trainyard[train]'`."
        yield Check("warn", "packages", f"not installed: {missing}", remedy)
        return
    yield Check("ok", "packages", ", ".join(f"{name} {version}" for name, version in found.items()))
    if "torch" not in sys.modules:
        code = "import torch; print(torch.cuda.device_count(), torch.get_num_threads())"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        if done.returncode:
            yield Check("fail", "torch", done.stderr.strip().splitlines()[-1], "Reinstall torch.")
        else:
            gpus, threads = done.stdout.split()
            yield Check("ok", "torch", f"{gpus} CUDA devices, {threads} CPU threads")


def _disk(yard: Yard) -> Iterator[Check]:
    free = shutil.disk_usage(yard.root).free
    found = f"{free / 1e9:.1f} GB free for {yard.root}"
    remedy = "Free some space: `trainyard clean --dry-run` lists what can be removed."
    yield Check("ok", "disk", found) if free > _LOW_BYTES else Check("warn", "disk", found, remedy)
    if not yard.writable:
        yield Check("warn", "yard", f"{yard.root} is read-only", "Runs can be read, but not trained or cleaned.")
        return
    with tempfile.TemporaryDirectory(dir=yard.root, prefix=".doctor-") as folder:
        source = Path(folder, "a")
        source.write_bytes(b"x")
        linked = durable.link_or_copy(source, Path(folder, "b"))
    if linked:
        yield Check("ok", "hard links", "work")
    else:
        remedy = "Frozen weights are copied into each checkpoint; put the yard on a local disk to share them."
        yield Check("warn", "hard links", "do not work on this file system", remedy)


def _runs(yard: Yard) -> Iterator[Check]:
    states: Counter[str] = Counter()
    for home in find_homes(yard):
        try:
            states[RunReader(yard, home).snapshot.state] += 1
        except TrainyardError as error:
            yield Check("fail", "run", error.what, error.remedy)
    counts = ", ".join(f"{count} {state}" for state, count in sorted(states.items())) or "none"
    remedy = "`trainyard runs state:crashed` lists the runs to resume."
    yield Check("warn", "runs", counts, remedy) if states["crashed"] else Check("ok", "runs", counts)
