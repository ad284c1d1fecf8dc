"""Weights & Biases: logs a run's values there under the same names, in addition to the run's own records.

Never stops, slows or fails the training: a bounded queue, a thread, and a separate process that runs
wandb (`wandb_process`); any failure there becomes one warning. wandb's own environment variables
(WANDB_MODE, WANDB_API_KEY, WANDB_ENTITY, WANDB_BASE_URL …) keep their meaning.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from trainyard.errors import ConfigError
from trainyard.tracking.queue import Forwarder
from trainyard.training.events import Event

_QUEUE = 10_000  # rows; at one every ten steps, hours of them


def check_installed() -> None:
    """Raises ConfigError when wandb is not installed. Call it before anything is written."""
    try:
        importlib.metadata.version("wandb")  # importing would accept a folder called wandb
    except importlib.metadata.PackageNotFoundError:
        why, remedy = "needs the package wandb, which is not installed", "Run `pip install 'trainyard[tracking]'`."
        raise ConfigError.of("tracker", "wandb", why, remedy) from None


class WandbSink:
    """A run of Weights & Biases: metrics as `{split}/{metric}` by step, config, tags, a summary at the end.

    Leave its `with` block, or call `close`, after the summary. After a crash, wandb has every row except
    those of the last moment, and the run is marked as failed; a resumed run continues it under the same
    id. Steps that wandb already has are not logged again.

    Args:
        directory: wandb writes its own files to `wandb/` below it.
        on_trouble: called at most once with what went wrong, in the thread that calls `emit` or `close`.
        commit: the git commit, if there is one.
        remote: the address of the git repository, without credentials.
        timeout_s: how long starting and finishing may take each; `close` waits at most twice as long.
        run: `wandb.init`'s project, name, config (JSON-serialisable), tags and notes, and an id that is unique in
            the project: the same id continues a run.
    """

    def __init__(
        self,
        directory: Path,
        *,
        on_trouble: Callable[[str], None],
        commit: str | None = None,
        remote: str | None = None,
        timeout_s: float = 20.0,
        **run: Any,
    ) -> None:
        self._on_trouble = on_trouble
        self._reported = self._given_up = False
        self._note: str | None = None
        self._timeout_s = timeout_s
        self._process: _Process | None = None
        self._directory = directory / "wandb"
        process = {"argv": sys.argv or [""], "pid": os.getpid()}
        start = {"run": {"dir": str(directory), **run}, "commit": commit, "remote": remote, "timeout_s": timeout_s}
        self._forwarder = Forwarder(self._send, capacity=_QUEUE, name="trainyard-wandb")
        self._forwarder.put(start | process)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close(failed=kind is not None)

    def emit(self, event: Event) -> None:
        """Queues one row; returns in microseconds."""
        row = {metric.as_tag: value for metric, value in event.metrics.items()}
        self._forwarder.put({"log": {**row, "epoch": event.epoch}, "step": event.step})
        self._report(self._trouble())

    def summary(self, values: Mapping[str, Any]) -> None:
        """Queues final values; nested mappings are kept as such."""
        self._forwarder.put({"summary": dict(values)}, always=True)

    def close(self, *, failed: bool = False) -> None:
        """Finishes the run, marked as failed if `failed`; gives up with a warning when that takes too long."""
        self._forwarder.put({"finish": int(failed)}, always=True)
        if not self._forwarder.close(2 * self._timeout_s):
            self._given_up = True
            if self._process is not None:
                self._process.kill()
            self._forwarder.close(1.0)
            self._report(f"it did not finish within {2 * self._timeout_s:g} s; {self._kept}")
        self._report(self._trouble())
        if self._forwarder.dropped:
            self._report(f"it was slower than the training: the newest {self._forwarder.dropped} rows were not sent")

    @property
    def _kept(self) -> str:
        return f"`wandb sync` uploads what was stored in {self._directory}"

    def _trouble(self) -> str | None:
        return str(self._forwarder.error) if self._forwarder.error is not None else self._note

    def _report(self, what: str | None) -> None:
        if what is not None and not self._reported:
            self._reported = True
            one_line = " ".join(what.split())
            self._on_trouble(f"Weights & Biases: {one_line}. The training and its own records are not affected.")

    # -- in the thread

    def _send(self, messages: Iterator[Mapping[str, Any]]) -> None:
        """Starts the process, sends it all messages and waits for it to end; ChildProcessError if it failed."""
        try:
            process = self._start(next(messages))
            for message in messages:
                (process.ask if "finish" in message else process.send)(message)
            process.join()
        finally:
            if self._process is not None:
                self._process.kill()
                self._process.join()

    def _start(self, message: Mapping[str, Any]) -> _Process:
        process = self._open()
        try:
            process.ask(message)
        except ChildProcessError as error:  # no login or no network: offline, `wandb sync` can upload it later
            process = self._open(WANDB_MODE="offline")
            process.ask(message)
            self._note = f"it could not be reached ({str(error).rstrip('.')}); {self._kept}"
        return process

    def _open(self, **variables: str) -> _Process:
        process = self._process = _Process(**variables)
        if self._given_up:  # `close` may have run before the process existed
            process.kill()
        return process


class _Process:
    """A subprocess running `wandb_process`, and the pipes to it."""

    def __init__(self, **variables: str) -> None:
        # -P and this process's path, so that it imports the same packages as this process.
        inherited = {key: value for key, value in os.environ.items() if key != "WANDB_SERVICE"}
        own = {"PYTHONPATH": os.pathsep.join(sys.path), "WANDB_ERROR_REPORTING": "false"}
        self._child = subprocess.Popen(
            [sys.executable, "-P", "-m", "trainyard.tracking.wandb_process"],
            env=inherited | own | variables,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )

    def kill(self) -> None:
        """Kills the process if it is still running. May be called from any thread."""
        self._child.kill()

    def join(self) -> str:
        """Waits for the process to end, closes the pipes, and returns the last line of its standard error."""
        errors = self._child.communicate()[1] or b""
        return errors.decode(errors="replace").strip().rpartition("\n")[2]

    def send(self, message: Mapping[str, Any]) -> None:
        """Sends one message; ChildProcessError if the process failed."""
        assert self._child.stdin is not None
        try:
            self._child.stdin.write(json.dumps(message, default=_plain).encode() + b"\n")
            self._child.stdin.flush()
        except BrokenPipeError:
            self._read_answer()
            raise

    def ask(self, message: Mapping[str, Any]) -> None:
        """Sends a message and waits for its answer; ChildProcessError if the process failed."""
        self.send(message)
        self._read_answer()

    def _read_answer(self) -> None:
        assert self._child.stdout is not None
        line = self._child.stdout.readline()
        error = json.loads(line) if line else ""
        if error is not None:
            self.kill()
            last_line = self.join()
            raise ChildProcessError(error or f"its process ended too early {last_line}".rstrip())


def _plain(value: Any) -> float | str:
    """NumPy and torch numbers as floats, anything else (such as paths) as text."""
    return float(value) if hasattr(value, "__float__") else str(value)
