"""Options and output that several commands share."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from trainyard.runs import RunReader, Yard

F = TypeVar("F", bound=Callable[..., Any])

yard_option = click.option(
    "--yard", "yard_root", metavar="DIR", envvar="TRAINYARD_YARD", default="outputs", show_default=True,
    type=click.Path(path_type=Path), help="The directory of runs (or TRAINYARD_YARD).",
)  # fmt: skip
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
dry_run_option = click.option("--dry-run", is_flag=True, help="Print the plan and change nothing.")
run_argument = click.argument("run", metavar="RUN")


def find_run(yard_root: Path, reference: str) -> RunReader:
    """The run that a reference on the command line means: a name, an id, a path, `last`."""
    from trainyard.index import Index

    yard = Yard(yard_root)
    return RunReader(yard, Index(yard).find(reference))


def echo_json(value: Any) -> None:
    """Prints `value` as indented JSON."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def human_size(size_bytes: float) -> str:
    """Bytes for people: 1.2 GB, in powers of 1000."""
    for unit in ("B", "kB", "MB", "GB"):
        if abs(size_bytes) < 1000:
            return f"{size_bytes:.0f} {unit}" if unit == "B" else f"{size_bytes:.1f} {unit}"
        size_bytes /= 1000
    return f"{size_bytes:.1f} TB"
