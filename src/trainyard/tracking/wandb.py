"""Weights & Biases: a run's values under the same names, beside its own records.

Never stops, slows or fails the training: a bounded queue, a thread, and a process that has wandb to
itself (`wandb_process`); whatever goes wrong there becomes one warning. wandb's own variables
(WANDB_MODE, WANDB_API_KEY, WANDB_ENTITY, WANDB_BASE_URL …) mean what they always do.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from trainyard.errors import ConfigError
from trainyard.metric import Metric
from trainyard.tracking.queue import Forwarder
from trainyard.training.events import Event, StepLogged

_QUEUE = 10_000  # rows; at one every ten steps, hours of them


def check_installed() -> None:
    """Raises ConfigError when wandb is missing. To be asked before anything is written."""
    try:
        importlib.metadata.version("wandb")  # a folder called wandb would pass for the package
    except importlib.metadata.PackageNotFoundError:
        raise ConfigError(
            ["tracker=wandb, but the package wandb is not installed"], "Run `pip install 'trainyard[tracking]'`."
        ) from None


class WandbSink:
    """A run of Weights & Biases: metrics as `{split}/{metric}` by step, config, tags, a summary at the end.

    Leave its `with` block, or call `close`, after the summary. After a crash, wandb has every row that was
    emitted a moment before, and the run is marked as failed; a resumed run continues it under the same id.
    Steps that wandb already has are not logged again.

    Args:
        directory: wandb puts its own files into `wandb/` below it.
        project: wandb's project.
        name: what the run is called there.
        id: unique in the project; the same one continues a run.
        config: JSON-able.
        on_trouble: told at most once, in the thread that calls `emit` or `close`, what went wrong.
        tags: the run's.
        note: a sentence for people.
        commit: the git commit, if there is one.
        remote: its repository's address, without credentials.
        timeout_s: how long starting, and finishing, may take; `close` waits for twice that at the most.
    """

    def __init__(
        self,
        directory: Path,
        *,
        project: str,
        name: str,
        id: str,
        config: Mapping[str, Any],
        on_trouble: Callable[[str], None],
        tags: Sequence[str] = (),
        note: str = "",
        commit: str | None = None,
        remote: str | None = None,
        timeout_s: float = 20.0,
    ) -> None:
        self._on_trouble = on_trouble
        self._told = False
        self._given_up = False
        self._note: str | None = None
        self._timeout_s = timeout_s
        self._process: _Process | None = None
        self._directory = directory / "wandb"
        run = {
            "project": project,
            "name": name,
            "id": id,
            "config": dict(config),
            "dir": str(directory),
            "tags": list(tags),
            "notes": note,
        }
        start = {
            "run": run,
            "commit": commit,
            "remote": remote,
            "timeout_s": timeout_s,
            "argv": sys.argv or [""],
            "pid": os.getpid(),
        }
        self._forwarder = Forwarder(self._send, capacity=_QUEUE, name="trainyard-wandb")
        self._forwarder.put(start)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close(failed=kind is not None)

    def emit(self, event: Event) -> None:
        """Queues one row; returns in microseconds."""
        parts = {"train": event.values} if isinstance(event, StepLogged) else {"train": event.train, "val": event.val}
        row = {Metric(split, key).as_tag: value for split, values in parts.items() for key, value in values.items()}
        self._forwarder.put({"log": {**row, "epoch": event.epoch}, "step": event.step})
        self._tell(self._trouble())

    def summary(self, values: Mapping[str, Any]) -> None:
        """Queues final values; nested mappings are kept as such."""
        self._forwarder.put({"summary": dict(values)}, always=True)

    def close(self, *, failed: bool = False) -> None:
        """Finishes the run, as failed if it did; gives up, with a warning, when that takes too long."""
        self._forwarder.put({"finish": int(failed)}, always=True)
        if not self._forwarder.close(2 * self._timeout_s):
            self._given_up = True
            if self._process is not None:
                self._process.kill()
            self._forwarder.close(1.0)
            self._tell(f"it did not finish within {2 * self._timeout_s:g} s; {self._kept}")
        self._tell(self._trouble())
        if self._forwarder.dropped:
            self._tell(f"it was slower than the training: {self._forwarder.dropped} rows, the newest, were not sent")

    @property
    def _kept(self) -> str:
        return f"`wandb sync` sends what is kept below {self._directory}"

    def _trouble(self) -> str | None:
        return str(self._forwarder.error) if self._forwarder.error is not None else self._note

    def _tell(self, what: str | None) -> None:
        if what is not None and not self._told:
            self._told = True
            one_line = " ".join(what.split())
            self._on_trouble(f"Weights & Biases: {one_line}. The training and its own records are not affected.")

    # -- in the thread

    def _send(self, messages: Iterator[Mapping[str, Any]]) -> None:
        """Starts the process, sends it everything, waits for its end.

        Raises:
            ChildProcessError: it failed.
        """
        try:
            process = self._start(next(messages))
            for message in messages:
                if "finish" in message:
                    process.ask(message)
                else:
                    process.tell(message)
            process.join()
        finally:
            if self._process is not None:
                self._process.kill()
                self._process.join()

    def _start(self, message: Mapping[str, Any]) -> _Process:
        process = self._open()
        try:
            process.ask(message)
        except ChildProcessError as error:  # no login, no network: what `wandb sync` can send later is not lost
            process = self._open(WANDB_MODE="offline")
            process.ask(message)
            self._note = f"it could not be reached ({str(error).rstrip('.')}); {self._kept}"
        return process

    def _open(self, **variables: str) -> _Process:
        process = self._process = _Process(**variables)
        if self._given_up:  # `close` may have looked for it too early
            process.kill()
        return process


class _Process:
    """A `wandb_process` and the pipes to it."""

    def __init__(self, **variables: str) -> None:
        # -P and the path of this process: it imports what would be imported here.
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
        """Ends it, if it has not ended by itself. For any thread."""
        self._child.kill()

    def join(self) -> str:
        """Waits for its end, closes the pipes, and returns the last line that it wrote to standard error."""
        said = self._child.communicate()[1] or b""
        return said.decode(errors="replace").strip().rpartition("\n")[2]

    def tell(self, message: Mapping[str, Any]) -> None:
        """Sends one message.

        Raises:
            ChildProcessError: it failed.
        """
        assert self._child.stdin is not None
        try:
            self._child.stdin.write(json.dumps(message, default=_plain).encode() + b"\n")
            self._child.stdin.flush()
        except BrokenPipeError:
            self._hear()
            raise

    def ask(self, message: Mapping[str, Any]) -> None:
        """Sends a message that is answered when it is done.

        Raises:
            ChildProcessError: it failed.
        """
        self.tell(message)
        self._hear()

    def _hear(self) -> None:
        assert self._child.stdout is not None
        line = self._child.stdout.readline()
        error = json.loads(line) if line else ""
        if error is not None:
            self.kill()
            said = self.join()
            raise ChildProcessError(error or f"its process ended too early {said}".rstrip())


def _plain(value: Any) -> float | str:
    """Numbers that JSON does not know, of NumPy and torch, and paths."""
    return float(value) if hasattr(value, "__float__") else str(value)
