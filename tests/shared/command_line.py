"""The command line as a user meets it, in this process.

A command that raises anything but `SystemExit` fails its test: users never see a traceback.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import killing

from trainyard.cli.main import app, main
from trainyard.runs import RunReader, Yard

SMALL = ("model=mlp", "model.hidden=[16]", "training.epochs=1", "outputs.plots=false", "run.device=cpu")
PROGRAM = (sys.executable, "-c", "from trainyard.cli.main import main; main()")


@dataclass(frozen=True)
class Outcome:
    """What a command printed, its exit code, and the error that it ended with, if any."""

    code: int
    out: str
    err: str
    error: Exception | None = None

    @property
    def json(self) -> Any:
        """What it printed, read as strictly as any JSON reader would."""
        return json.loads(self.out, parse_constant=lambda name: 1 / 0)


def trainyard(*arguments: object) -> Outcome:
    """Runs `trainyard ARGUMENTS` in this process."""
    out, err = io.StringIO(), io.StringIO()
    before, sys.argv = sys.argv, ["trainyard", *map(str, arguments)]
    handler = signal.getsignal(signal.SIGTERM)
    code: Any = 0
    errors: list[Exception] = []

    def run(*positional: Any, **named: Any) -> Any:
        """The application, which notes what it raises before `main` turns it into an exit code."""
        try:
            return type(app).main(app, *positional, **named)
        except Exception as error:
            errors.append(error)
            raise

    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), mock.patch.object(app, "main", run):
            main()
    except SystemExit as end:
        code = end.code or 0
    finally:
        sys.argv = before
        signal.signal(signal.SIGTERM, handler)
    return Outcome(code, out.getvalue(), err.getvalue(), errors[0] if errors else None)


def in_a_process(*arguments: object, **options: Any) -> subprocess.CompletedProcess[str]:
    """Runs `trainyard ARGUMENTS` in a process of its own."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **options.pop("env", {})}
    return subprocess.run(
        [*PROGRAM, *map(str, arguments)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        **options,
    )


def main_to_files(arguments: list[str], out: str, err: str) -> None:
    """For a process of its own: runs `trainyard ARGUMENTS` with what it prints in files, or on terminals."""
    import torch

    torch.set_num_threads(1)
    os.environ.update(TERM="xterm-256color", COLUMNS="100")
    sys.stdout, sys.stderr = (
        os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOCTTY), "w", buffering=1)
        for path in (out, err)
    )
    sys.argv = ["trainyard", *arguments]
    main()


class Training:
    """`trainyard train run.name=stopped` in a process of its own, past its first checkpoint.

    Ends with the test at the latest: a training that a failed test forgets must not go on.
    """

    def __init__(self, yard: Kept, *changes: str, out: str = os.devnull, err: str) -> None:
        arguments = ["train", *SMALL, "run.name=stopped", *changes, "--yard", str(yard.root)]
        self._process = killing.CONTEXT.Process(target=main_to_files, args=(arguments, out, err), daemon=True)
        self._process.start()
        journal = yard.root / "digits/digits/stopped/.run/journal.jsonl"
        deadline = time.monotonic() + 60
        while not (journal.exists() and b'"event":"checkpoint"' in journal.read_bytes()):
            assert self._process.is_alive(), "it ended by itself"
            assert time.monotonic() < deadline
            time.sleep(0.005)

    def send(self, *numbers: int) -> int | None:
        """Sends signals, waits for the end and returns the exit code."""
        assert self._process.pid is not None
        for number in numbers:
            os.kill(self._process.pid, number)
        self._process.join(60)
        if self._process.is_alive():
            self._process.kill()
        return self._process.exitcode


@dataclass(frozen=True)
class Kept:
    """A yard. Calling it runs a command on it."""

    root: Path

    def run(self, name: str) -> RunReader:
        """The only run of that name, as it is now."""
        (home,) = (path.parent for path in self.root.rglob(".run") if self._name(path) == name)
        return RunReader(Yard(self.root), home)

    def _name(self, own: Path) -> str:
        return "" if ".yard" in own.parts else RunReader(Yard(self.root), own.parent).snapshot.name

    def __call__(self, *arguments: object) -> Outcome:
        return trainyard(*arguments, "--yard", self.root)


def refused(yard: Kept, *arguments: object, says: tuple[str, ...]) -> str:
    """Runs `trainyard train`, which must be refused with these words and write nothing where the yard would be."""
    outcome = yard("train", *arguments)
    assert outcome.code == 2, outcome
    assert outcome.out == ""
    what, remedy, advice = outcome.err.partition("\n  → ")
    assert what.startswith("error: ")
    for words in says:
        assert words in outcome.err, outcome.err
    assert remedy, f"no remedy: {what}"
    assert len(advice.strip()) > 10
    assert not yard.root.parent.exists(), tree(yard.root.parent)
    return outcome.err


def tree(root: Path) -> dict[str, str]:
    """Every directory and file (with its digest) below `root`, but for what the yard keeps for itself."""
    found = {}
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if name != ".yard"]
        found.update({str(Path(folder, name).relative_to(root)): "directory" for name in folders})
        for name in names:
            path = Path(folder, name)
            found[str(path.relative_to(root))] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def flip_a_byte(path: Path, at: int = 100) -> None:
    """Damages a file as a failing disk does: the same size, one byte other."""
    data = bytearray(path.read_bytes())
    data[at] ^= 0xFF
    path.unlink()  # its other hard links stay whole
    path.write_bytes(data)


def left_behind(run: RunReader) -> dict[str, Any]:
    """What two runs that did the same have in common: metrics, weights, predictions."""
    return {
        "history": [{key: value for key, value in row.items() if key != "time"} for row in run.history()],
        "summary": {key: value for key, value in run.snapshot.summary.items() if key != "times_tested"},
        "weights": [
            file["sha256"] for c in run.snapshot.checkpoints for file in c.files if file["name"] == "model.safetensors"
        ],
        "predictions": [record.sha256 for record in run.snapshot.records if record.kind == "final_predictions"],
    }
