"""Options and output that several commands share."""

from __future__ import annotations

import json
import math
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from trainyard.runs import RunReader, Yard

if TYPE_CHECKING:
    from trainyard.retention import Plan, TrashEntry

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


PAGE = 30  # rows that a list prints unless --limit is given

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
yes_option = click.option("--yes", is_flag=True, help="Do not ask.")
_CHECKPOINT = "The checkpoint to use; best by default."
checkpoint_option = click.option("--checkpoint", metavar="best|last|STEP", help=_CHECKPOINT)
_DEVICES = "auto, cpu, cuda, cuda:N or mps."
device_option = click.option("--device", type=_Device(), default="auto", show_default=True, help=_DEVICES)
_LIMIT = f"Rows to print; {PAGE} by default, all with --json."
limit_option = click.option("--limit", type=click.IntRange(1), metavar="N", help=_LIMIT)
offset_option = click.option("--offset", type=click.IntRange(0), metavar="N", default=0, help="Rows to skip.")


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


def number_option(name: str, default: int, text: str, *, least: int = 0, most: int | None = None) -> Callable[[F], F]:
    """An option with a whole number, N, and its help text."""
    allowed = click.IntRange(least, most)
    return click.option(name, type=allowed, metavar="N", default=default, show_default=True, help=text)


def choice_option(name: str, choices: Sequence[str], default: str, text: str | None = None) -> Callable[[F], F]:
    """An option with one of a few words, and its help text."""
    return click.option(name, type=click.Choice(choices), default=default, show_default=True, help=text)


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


def tell_of_more(offset: int, shown: int, total: int) -> None:
    """Says which rows of a list were printed, if there are more, and how to see those."""
    if shown and total > offset + shown:
        click.echo(f"{offset + 1}-{offset + shown} of {total}; more with --offset {offset + shown}")


def print_fields(fields: Iterable[tuple[str, str]]) -> None:
    """Prints a line for each label that has a value."""
    for label, value in fields:
        if value:
            click.echo(f"  {label:<9} {value}")


def confirm(question: str) -> None:
    """Asks the user; UsageError when stdin is not a terminal, and exit code 1 when the answer is no."""
    if not sys.stdin.isatty():
        raise click.UsageError(f"stdin is not a terminal, so there is no answer to: {question} Pass --yes.")
    if not click.confirm(question, err=True):
        click.echo("Nothing was changed.", err=True)
        raise click.exceptions.Exit(1)


def carry_out(plan: Plan, apply: Callable[[], TrashEntry | None], *, yes: bool, dry_run: bool, as_json: bool) -> None:
    """Prints a plan of removal, asks unless `yes`, applies it, and reports what was kept and how to undo it."""
    if as_json:
        echo_json(plan.to_dict())
    else:
        click.echo(plan.describe(), nl=False)
    if dry_run or not plan.items:
        return
    if not yes:
        confirm("Continue?")
    entry = apply()
    if entry is not None and not as_json:
        for what, why in entry.skipped:
            click.echo(f"kept: {what}: {why}")
        click.echo(f"moved to the trash as {entry.name}; `trainyard undo` restores it")


def aligned(
    rows: Sequence[Sequence[str]], *, left: int | None = None, colours: Mapping[str, str] | None = None
) -> Iterator[str]:
    """The rows as lines of aligned columns: the first `left` (None: all) to the left, the others to the right.

    `colours` are those of cells with these texts.
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = []
        for at, (text, width) in enumerate(zip(row, widths, strict=True)):
            padded = text.ljust(width) if left is None or at < left else text.rjust(width)
            cells.append(click.style(padded, fg=colours[text]) if colours and text in colours else padded)
        yield "  ".join(cells).rstrip()


def print_table(
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    left: int | None = None,
    colours: Mapping[str, str] | None = None,
) -> None:
    """Prints `aligned` columns below a bold header."""
    first, *others = aligned([header, *rows], left=left, colours=colours)
    click.echo(click.style(first, bold=True))
    for line in others:
        click.echo(line)
