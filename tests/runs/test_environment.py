from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from trainyard.runs import environment


def git(directory: Path, *arguments: str) -> None:
    identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run(["git", *identity, *arguments], cwd=directory, check=True, capture_output=True)


def test_outside_git_and_without_tools_it_still_tells_the_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))  # neither git nor nvidia-smi
    found = environment.capture(tmp_path)
    assert (found["git"], found["gpus"]) == ({}, [])
    assert found["cpu"]["cores"] == os.cpu_count()
    assert "pytest" in found["packages"]
    json.dumps(found)
    monkeypatch.undo()
    assert environment.capture(tmp_path)["git"] == {}


def test_the_commit_and_what_was_changed_since(tmp_path: Path) -> None:
    git(tmp_path, "init", "-b", "trunk")
    git(tmp_path, "commit", "--allow-empty", "-m", "a")
    (tmp_path / "a.py").write_text("old\n")
    git(tmp_path, "add", "a.py")
    git(tmp_path, "commit", "-m", "b")
    git(tmp_path, "remote", "add", "origin", "https://user:secret@example.org/a.git")
    clean = environment.capture(tmp_path)["git"]
    assert (len(clean["commit"]), clean["branch"], clean["dirty"], clean["diff"]) == (40, "trunk", False, "")
    assert clean["remote"] == "https://example.org/a.git"
    (tmp_path / "a.py").write_text("new ä\n")
    dirty = environment.capture(tmp_path)["git"]
    assert dirty["dirty"]
    assert "+new ä" in dirty["diff"]


def test_an_empty_repository_has_no_commit(tmp_path: Path) -> None:
    git(tmp_path, "init")
    assert environment.capture(tmp_path)["git"] == {}


def test_tools_that_fail_or_talk_nonsense_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, script in (("git", "exit 3"), ("nvidia-smi", "echo 'A100, 40960 MiB, 550.1'; printf '\\377\\n'")):
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    found = environment.capture(tmp_path)
    assert found["git"] == {}
    assert found["gpus"][0] == {"name": "A100", "memory": "40960 MiB", "driver": "550.1"}


def test_it_loads_nothing_heavy() -> None:
    code = """
import sys, trainyard.runs.environment
trainyard.runs.environment.capture()
print(sorted({"torch", "numpy", "transformers"} & set(sys.modules)))
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.strip() == "[]"


def test_requirements_are_what_pip_reads() -> None:
    assert environment.requirements({"a": "1.0", "b": "2"}) == "a==1.0\nb==2\n"
    assert list(environment.packages()) == sorted(environment.packages(), key=str.lower)
