"""What README.md shows works: its Python runs, and its commands are commands with the options they are given."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest

from trainyard.cli.main import COMMANDS, app
from trainyard.layouts import LAYOUTS

README = (Path(__file__).parents[1] / "README.md").read_text()
COMMAND_LINES = [
    line.removeprefix("$ ") for line in README.splitlines() if line.startswith(("$ trainyard", "torchrun"))
]


def test_its_python_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", README, re.S)
    assert len(blocks) == 4
    names: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, "README.md", "exec"), names)
    assert capsys.readouterr().out == "Sequential ['probabilities']\nmodel 1.0 100\n"


@pytest.mark.parametrize("line", COMMAND_LINES)
def test_its_commands_are_understood(line, tmp_path):
    _, name, *words = shlex.split(line.split(" # ")[0])
    assert name in COMMANDS
    parent = click.Context(app, **app.context_settings)  # without it, commands would remember other help options
    command = app.get_command(parent, name)
    assert command is not None
    (tmp_path / "photos").mkdir()
    command.make_context(name, [word for word in words if word != "…"], parent=parent)


def test_it_lists_every_layout():
    table = re.findall(r"^\| `(\w+)` \|", README, re.M)
    assert table == list(LAYOUTS)


def test_it_names_every_file_of_the_default_layout():
    named = set(re.findall(r"[\w{}.-]+\.(?:csv|png|json|yaml|log|pt|pth|bin|safetensors)", README))
    assert {"metrics.csv", "history.csv", "summary.json", "config.yaml", "train.log", "manifest.json"} <= named
