"""A run's log files, among them one of errors if the layout has it; and its console."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from rich.console import Console
from rich.text import Text

from trainyard import durable
from trainyard.runs import RunWriter


@contextlib.contextmanager
def logging_to(run: RunWriter, *kinds: str) -> Iterator[logging.Logger]:
    """A logger that writes to the run's files of these kinds, if its layout has them.

    "error_log" takes warnings and errors; the others take everything. Files are appended to, so a resumed run
    continues them.
    """
    logger = logging.getLogger(f"trainyard.run.{run.id}")
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    opened: list[tuple[str, logging.StreamHandler[TextIO]]] = []
    for kind in filter(run.keeps, kinds):
        handler = logging.StreamHandler(durable.open_log(run.path(kind)))
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(message)s"))
        handler.setLevel(logging.WARNING if kind == "error_log" else logging.DEBUG)
        logger.addHandler(handler)
        opened.append((kind, handler))
    try:
        yield logger
    finally:
        for kind, handler in opened:
            logger.removeHandler(handler)
            path = run.path(kind)
            handler.stream.close()
            if path.exists() and not run.closed:
                run.note_record(kind, path)


class RunConsole(Console):
    """A console that becomes silent when its pipe is closed, so that the training goes on."""

    def on_broken_pipe(self) -> None:
        """Stops printing; rich's own method would end the training."""
        self.quiet = True
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())  # Python flushes the buffered output when the process ends
        os.close(null)


def tell(console: Console, text: str, *, label: str = "", logger: logging.Logger | None = None) -> None:
    """Prints one line without wrapping, and logs it; square brackets in names and paths are not markup.

    A line with a label, such as "warning: ", is printed after it and logged as a warning.
    """
    console.print(Text.assemble((label, "yellow"), text), soft_wrap=True, highlight=False)
    if logger is not None:
        logger.log(logging.WARNING if label else logging.INFO, "%s", text)


def kept_in(home: Path) -> str:
    """A line with the run's home, relative to the current directory if it is inside."""
    return f"kept in {home.relative_to(Path.cwd()) if home.is_relative_to(Path.cwd()) else home}/"
