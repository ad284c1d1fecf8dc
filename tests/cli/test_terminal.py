"""What is printed on a terminal, beside what goes into a pipe or a file: colours, a bar, a question."""

from __future__ import annotations

import contextlib
import io
import os
import re
import signal
import sys
import threading
from pathlib import Path

import click
import killing
import pytest
from command_line import SMALL, Kept, Training, main_to_files

COLOUR = re.compile(r"\x1b\[[0-9;]*m")


class Terminal:
    """A terminal that remembers all that was sent to it."""

    def __init__(self) -> None:
        self._ours, theirs = os.openpty()
        self.name = os.ttyname(theirs)
        self._theirs = theirs
        self._parts: list[bytes] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        with contextlib.suppress(OSError):  # the other side is closed
            while part := os.read(self._ours, 65536):
                self._parts.append(part)

    def close(self) -> str:
        os.close(self._theirs)
        self._reader.join(10)
        os.close(self._ours)
        return b"".join(self._parts).decode()


def on_a_terminal(*arguments: object) -> tuple[int | None, str]:
    terminal = Terminal()
    process = killing.CONTEXT.Process(target=main_to_files, args=([*map(str, arguments)], terminal.name, terminal.name))
    process.start()
    process.join(60)
    return process.exitcode, terminal.close()


def shown(sent: str) -> list[str]:
    """The lines that stay: each as the last carriage return or erasure left it, without colours."""
    lines: list[str] = [""]
    row = 0
    for token in re.findall(r"\x1b\[[0-9;?]*[A-Za-z]|\r|\n|[^\x1b\r\n]+", sent):
        if token == "\n":
            row += 1
            lines += [""] * (row == len(lines))
        elif token == "\x1b[2K":
            lines[row] = ""
        elif token.endswith("A") and token.startswith("\x1b["):
            row -= int(token[2:-1])
        elif not token.startswith("\x1b") and token != "\r":
            lines[row] += token
    return [line for line in lines if line.strip()]


def test_training_on_a_terminal_leaves_the_same_lines_as_in_a_file(empty: Kept):
    words = ("train", *SMALL, "training.epochs=3", "--yard", empty.root)
    code, sent = on_a_terminal(*words, "run.name=a")
    assert code == 0
    assert "training" in sent, "a bar"
    assert "/60" in sent
    assert sent.rindex("\x1b[?25h") > sent.rindex("\x1b[?25l"), "the cursor is back"
    plain = empty("train", *SMALL, "training.epochs=3", "run.name=b").out
    assert "\x1b" not in plain

    def without_times(lines: list[str]) -> list[str]:
        return [re.sub(r"\d+\.\d s \(\d+% waiting for data\)", "", line) for line in lines]

    assert without_times(shown(sent)) == [line.replace("/b/", "/a/") for line in without_times(plain.splitlines())]


def test_a_run_that_is_stopped_gives_the_cursor_back(empty: Kept):
    terminal = Terminal()
    training = Training(empty, "training.epochs=2000", out=terminal.name, err=terminal.name)
    code = training.send(signal.SIGINT)
    sent = terminal.close()
    assert code == 130
    assert sent.rindex("\x1b[?25h") > sent.rindex("\x1b[?25l")
    assert "Stopped on request" in shown(sent)[-2]


@pytest.mark.parametrize("command", ["runs", "show done", "clean --dry-run", "verify", "doctor", "undo", "runs --help"])
def test_colours_are_all_that_a_terminal_adds(yard: Kept, command):
    code, sent = on_a_terminal(*command.split(), "--yard", yard.root)
    plain = yard(*command.split())
    assert code == plain.code
    assert "\x1b" not in plain.out + plain.err
    changing = re.compile(r"\d+ (min|h) ago|just now|\d+\.\d+ GB free")
    told = [changing.sub("", line) for line in COLOUR.sub("", sent).replace("\r", "").splitlines()]
    assert told == [changing.sub("", line) for line in (plain.out + plain.err).splitlines()]


def test_states_and_errors_have_colours(kept: Kept):
    _, sent = on_a_terminal("runs", "--yard", kept.root)
    assert "\x1b[32mfinished" in sent
    assert "\x1b[31mcrashed" in sent
    _, sent = on_a_terminal("show", "nothing", "--yard", kept.root)
    assert "\x1b[31m\x1b[1merror:" in sent


class Keyboard(io.StringIO):
    """Somebody who types."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("typed", "code", "left"), [("y\n", 0, 1), ("n\n", 1, 3), ("\n", 1, 3), ("", 130, 3)])
def test_cleaning_asks_at_a_terminal(yard: Kept, monkeypatch, typed, code, left):
    monkeypatch.setattr(sys, "stdin", Keyboard(typed))
    outcome = yard("clean", "name:done")
    assert outcome.code == code
    assert "[y/N]" in outcome.err
    assert len(yard.run("done").snapshot.checkpoints) == left


@pytest.mark.parametrize("typed", ["n\n", "y\n", ""])
def test_nothing_is_removed_without_a_terminal(yard: Kept, monkeypatch, typed):
    monkeypatch.setattr(sys, "stdin", io.StringIO(typed))
    outcome = yard("clean", "name:done")
    assert outcome.code == 2
    assert isinstance(outcome.error, click.UsageError)
    assert "--yes" in outcome.err
    assert len(yard.run("done").snapshot.checkpoints) == 3


def test_emptying_the_trash_asks_too(yard: Kept, monkeypatch):
    yard("clean", "name:done", "--yes")
    monkeypatch.setattr(sys, "stdin", Keyboard("n\ny\n"))
    assert yard("clean", "--trash").code == 1
    assert yard("undo", "--list").out
    assert yard("clean", "--trash").code == 0
    assert not yard("undo", "--list").out


def test_progress_does_not_go_into_the_file_of_a_redirected_run(empty: Kept, tmp_path):
    out = tmp_path / "out.txt"
    process = killing.CONTEXT.Process(
        target=main_to_files, args=(["train", *SMALL, "--yard", str(empty.root)], str(out), os.devnull)
    )
    process.start()
    process.join(60)
    text = Path(out).read_text()
    assert "\x1b" not in text
    assert "\r" not in text
    assert all(len(line.split()) > 2 for line in text.splitlines())
