"""The command itself: help, version, what it says of a wrong word, and its exit codes."""

from __future__ import annotations

import importlib
import importlib.metadata

import click
import pytest
from command_line import Kept, in_a_process, trainyard

from trainyard.cli.main import COMMANDS


def test_the_list_of_commands_is_that_of_the_files():
    out = trainyard("--help").out
    for name, summary in COMMANDS.items():
        assert name in out
        assert summary in out


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_help_of_each_command_names_its_options(name, flag):
    outcome = trainyard(name, flag)
    assert outcome.code == 0
    assert outcome.err == ""
    assert "\b" not in outcome.out
    command = importlib.import_module(f"trainyard.cli.{name}").command
    assert command.help.splitlines()[0] == COMMANDS[name], "the list and the command must say the same"
    for parameter in command.params:
        shown = parameter.opts[-1] if isinstance(parameter, click.Option) else parameter.make_metavar(None)
        assert shown in outcome.out
        if isinstance(parameter, click.Option):
            assert parameter.help or parameter.name == "split", f"{shown} has no help"
    assert "--yard" in outcome.out


def test_help_fits_a_terminal():
    for name in COMMANDS:
        assert max(map(len, trainyard(name, "--help").out.splitlines())) <= 100


def test_version():
    assert trainyard("--version").out == f"trainyard {importlib.metadata.version('trainyard')}\n"


def test_without_a_command_it_shows_the_help():
    outcome = trainyard()
    assert outcome.code == 2
    assert outcome.out == ""
    assert outcome.err.startswith("Usage: trainyard")
    assert "resume" in outcome.err


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("trian", "train"),
        ("show-run", "show"),
        ("eval", "evaluate"),
        ("re-index", "reindex"),
        ("RUNS", None),
        ("xyzzy", None),
    ],
)
def test_an_unknown_command_is_refused_and_the_nearest_offered(word, meant):
    outcome = trainyard(word, "x")
    assert outcome.code == 2
    assert f"There is no command {word!r}." in outcome.err
    assert (f"`trainyard {meant}`?" in outcome.err) == bool(meant)
    assert "`trainyard --help`" in outcome.err


def test_an_unknown_option_is_refused_and_the_nearest_offered():
    outcome = trainyard("runs", "--ofset", "3")
    assert outcome.code == 2
    assert "'--ofset'" in outcome.err
    assert "--offset" in outcome.err
    assert "`trainyard runs --help`" in outcome.err


def test_the_yard_comes_from_the_option_then_the_environment_then_outputs(kept, monkeypatch, tmp_path):
    monkeypatch.setenv("TRAINYARD_YARD", str(kept.root))
    assert "done" in trainyard("runs").out
    outcome = trainyard("runs", "--yard", tmp_path / "elsewhere")
    assert outcome.code == 2
    assert str(tmp_path / "elsewhere") in outcome.err
    monkeypatch.delenv("TRAINYARD_YARD")
    assert "outputs" in trainyard("runs").err
    (tmp_path / "here" / "outputs").symlink_to(kept.root)
    assert "done" in trainyard("runs").out


@pytest.mark.parametrize(
    "command", ["runs", "show last", "verify", "reindex", "clean", "undo", "resume last", "evaluate last"]
)
def test_commands_that_read_need_a_yard_and_make_none(command, empty):
    outcome = empty(*command.split())
    assert outcome.code == 2
    assert f"There is no yard at {empty.root}." in outcome.err
    assert "--yard DIR" in outcome.err
    assert not empty.root.parent.exists()


def test_a_pipe_that_closes_is_no_error(kept):
    """`trainyard show --json | head -1` must end quietly."""
    script = 'set -o pipefail; "$@" show done --json | head -1; echo "${PIPESTATUS[0]}"'
    import subprocess

    from command_line import PROGRAM

    done = subprocess.run(
        ["bash", "-c", script, "x", *PROGRAM],
        env={"TRAINYARD_YARD": str(kept.root), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stderr == ""
    assert done.stdout.splitlines()[0] == "{"
    assert done.stdout.splitlines()[1] in ("0", "141")


def test_what_a_terminal_cannot_show_is_escaped(kept: Kept):
    done = in_a_process("runs", "cnn→", "--yard", kept.root, env={"PYTHONIOENCODING": "latin-1", "PYTHONUTF8": "0"})
    assert done.returncode == 0
    assert done.stdout == "No run matches 'cnn\\u2192'.\n"
    assert done.stderr == ""
