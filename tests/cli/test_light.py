"""What a command imports: looking at a yard needs no array, tensor or plotting library, and starts in no time."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import pytest
from command_line import Kept
from fresh_process import HEAVY, MAIN, imported


@pytest.mark.parametrize("statement", ["import trainyard", "import trainyard.cli.main"])
def test_importing(statement):
    found = imported(statement)
    assert not found & {*HEAVY, "rich", "yaml", "hydra", "sqlite3"}


def test_the_library_is_there_when_it_is_asked_for():
    found = imported("import trainyard; trainyard.start_run; trainyard.open")
    assert not found & set(HEAVY)


@pytest.mark.parametrize(
    "command",
    [
        "--help",
        "train --help",
        "runs",
        "runs state:finished --json",
        "show last",
        "show done --files",
        "clean --dry-run",
        "undo --list",
        "verify nan",
        "reindex",
        "compare done other",
    ],
)
def test_commands_that_look(yard: Kept, command):
    more = [] if "--help" in command else ["--yard", str(yard.root)]
    found = imported(MAIN, *command.split(), *more)
    assert not found & {*HEAVY, "hydra"}
    if command == "--help":
        assert not found & {"rich", "yaml", "sqlite3", "hashlib", "socket"}


def test_the_configuration_is_read_without_torch():
    found = imported(MAIN, "train", "digits", "model=mlp", "--print-config")
    assert not found & {"torch", "transformers", "pandas", "matplotlib", "sklearn"}
    assert "hydra" in found


@pytest.mark.parametrize("command", ["--help", "runs", "train --print-config"])
def test_seconds_to_start(yard: Kept, command):
    """Printed (`pytest -s`), not asserted: a busy machine proves nothing."""
    program = Path(sys.executable).with_name("trainyard")
    if not program.exists():
        pytest.skip("the trainyard script is not installed")
    wall, cpu = [], []
    for _ in range(3):
        before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        environment = {**os.environ, "TRAINYARD_YARD": str(yard.root)}
        subprocess.run([program, *command.split()], env=environment, stdout=subprocess.DEVNULL, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        wall.append(time.perf_counter() - started)
        cpu.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    print(f"trainyard {command}: {min(cpu):.3f} s of CPU, {min(wall):.3f} s")
