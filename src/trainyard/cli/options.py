"""Options and output that several commands share."""

from __future__ import annotations

import json
import math
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from trainyard.runs import RunReader, Yard

F = TypeVar("F", bound=Callable[..., Any])


class _Device(click.ParamType[str]):
    name = "DEVICE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Checks the form of the name; whether the device exists is checked when it is used."""
        if re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", str(value)) is None:
            self.fail(f"invalid device {value!r}; use auto, cpu, cuda, cuda:N or mps", param, ctx)
        return str(value)


class _NewFile(click.Path):
    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Checks that the file can be written, before any work is done."""
        path = Path(os.fsdecode(super().convert(value, param, ctx)))
        if not path.parent.is_dir():
            self.fail(f"the folder {str(path.parent)!r} for {path.name!r} does not exist", param, ctx)
        if not os.access(path.parent, os.W_OK):
            self.fail(f"the folder {str(path.parent)!r} is not writable", param, ctx)
        return path


yard_option = click.option(
    "--yard",
    "yard_root",
    metavar="DIR",
    envvar="TRAINYARD_YARD",
    default="outputs",
    show_default=True,
    type=click.Path(path_type=Path),
    help="The directory of the runs (or TRAINYARD_YARD).",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
dry_run_option = click.option("--dry-run", is_flag=True, help="Print the plan and change nothing.")
checkpoint_option = click.option(
    "--checkpoint", metavar="best|last|STEP", help="The checkpoint to use; best by default."
)
device_option = click.option(
    "--device", type=_Device(), default="auto", show_default=True, help="auto, cpu, cuda, cuda:N or mps."
)


def _trust(_context: click.Context, _parameter: click.Parameter, trust: bool) -> bool:
    """What is trusted may lie in the current directory too, which `python -m` looks in and a script does not."""
    if trust and not {"", os.getcwd()} & set(sys.path):
        sys.path.append(os.getcwd())
    return trust


trust_option = click.option(
    "--trust",
    is_flag=True,
    callback=_trust,
    help="Allow _target_ outside the allowed packages, here or installed. Such objects can run any code.",
)
run_argument = click.argument("run", metavar="RUN")

# A filter may begin with a dash (-state:finished), so -h cannot be an option beside it.
FILTERED = {"ignore_unknown_options": True, "help_option_names": ["--help"]}


def _filter(context: click.Context, _parameter: click.Parameter, words: tuple[str, ...]) -> str:
    """Joins the words to one filter; a word that begins with two dashes is an unknown option."""
    if "-h" in words:
        click.echo(context.get_help())
        context.exit()
    for word in words:
        if word.startswith("--"):
            known = [name for parameter in context.command.params for name in parameter.opts]
            raise click.NoSuchOption(word, possibilities=known, ctx=context)
    return " ".join(words)


filter_argument = click.argument("query", nargs=-1, metavar="[FILTER]...", callback=_filter)


def out_option(text: str) -> Callable[[F], F]:
    """`--out FILE`, with its help text."""
    return click.option("--out", type=_NewFile(path_type=Path, dir_okay=False), metavar="FILE", help=text)


def find_run(yard_root: Path, reference: str) -> RunReader:
    """Finds a run by a reference from the command line: a name, an id, a path or `last`."""
    from trainyard.index import Index

    yard = Yard(yard_root)
    return RunReader(yard, Index(yard).find(reference))


def echo_json(value: Any) -> None:
    """Prints `value` as indented JSON; NaN and infinity, which JSON cannot express, as null."""
    try:
        text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
    except ValueError:
        text = json.dumps(_finite(value), indent=2, ensure_ascii=False, allow_nan=False)
    click.echo(text)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def counted(number: float, noun: str, nouns: str = "") -> str:
    """`1 run`, `2 runs`; `nouns` is the plural where adding an s is wrong."""
    return f"{number:g} {noun if number == 1 else nouns or f'{noun}s'}"


def confirm(question: str) -> None:
    """Asks the user and returns only if the answer is yes.

    Raises:
        click.UsageError: stdin is not a terminal.
        click.exceptions.Exit: the answer is no; the exit code is 1.
    """
    if not sys.stdin.isatty():
        raise click.UsageError(f"stdin is not a terminal, so there is no answer to: {question} Pass --yes.")
    if not click.confirm(question, err=True):
        click.echo("Nothing was changed.", err=True)
        raise click.exceptions.Exit(1)
