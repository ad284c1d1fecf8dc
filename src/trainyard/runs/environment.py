"""The environment of a run: system, Python, packages, git commit and diff, processor, GPU.

Never imports a heavy package (a version is read from its metadata). What cannot be determined is left out.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import platform
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

_DIFF_LIMIT = 1 << 20  # bytes of git diff that are kept


def _output(command: list[str], cwd: Path | None = None) -> str | None:
    if shutil.which(command[0]) is None:
        return None
    try:
        done = subprocess.run(command, cwd=cwd, capture_output=True, timeout=10, check=True)
    except (subprocess.SubprocessError, OSError):
        return None
    return done.stdout.decode("utf-8", "replace").rstrip("\n")


def packages() -> dict[str, str]:
    """Name and version of every installed distribution, sorted by name."""
    found = {
        str(one.metadata["Name"]): one.version for one in importlib.metadata.distributions() if one.metadata["Name"]
    }
    return dict(sorted(found.items(), key=lambda item: item[0].lower()))


def requirements(found: dict[str, str]) -> str:
    """`found` as the text of a requirements.txt."""
    return "".join(f"{name}=={version}\n" for name, version in found.items())


def git(directory: Path | None = None) -> dict[str, Any]:
    """Commit, branch, remote without credentials, dirty or not, and the diff; empty outside of git (default: cwd)."""
    directory = directory or Path.cwd()
    commit = _output(["git", "rev-parse", "HEAD"], directory)
    if commit is None:
        return {}
    diff = _output(["git", "diff", "--no-ext-diff", "--no-color", "HEAD"], directory) or ""
    remote = _output(["git", "config", "--get", "remote.origin.url"], directory)
    return {
        "commit": commit,
        "branch": _output(["git", "rev-parse", "--abbrev-ref", "HEAD"], directory),
        "remote": remote and re.sub("(?<=//)[^/]*@", "", remote),  # there may be a token before the @
        "dirty": bool(_output(["git", "--no-optional-locks", "status", "--porcelain"], directory)),
        "diff": diff[:_DIFF_LIMIT],
    }


def _processor() -> str:
    with contextlib.suppress(OSError):  # not Linux: use the little that platform knows
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _memory_bytes() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        return None


def _gpus() -> list[dict[str, str]]:
    listing = _output(["nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]) or ""
    rows = [[part.strip() for part in line.split(",")] for line in listing.splitlines()]
    return [dict(zip(("name", "memory", "driver"), row, strict=False)) for row in rows]


def capture(directory: Path | None = None) -> dict[str, Any]:
    """The environment of this process, ready for JSON; `directory` is where git runs (default: cwd)."""
    directory = directory or Path.cwd()
    return {
        "os": platform.platform(),
        "host": socket.gethostname(),
        "python": platform.python_version(),
        "executable": sys.executable,
        "command": sys.argv,
        "directory": str(directory),
        "cpu": {"model": _processor(), "cores": os.cpu_count(), "memory_bytes": _memory_bytes()},
        "gpus": _gpus(),
        "git": git(directory),
        "packages": packages(),
    }
