"""Shared by the commands of `trainyard analyse`: options, tables on a terminal, and output files."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import click

from trainyard.cli import options
from trainyard.errors import UserError
from trainyard.runs import RunReader, Yard
from trainyard.wording import did_you_mean, listed

_LONGEST_TEXT = 72
Cell = str | int | float | Sequence[str | None] | None

split_option = options.choice_option("--split", ["train", "val", "test"], "test", "The predictions to use.")
label_option = click.option("--label", metavar="LABEL", help="Only this label.")


def require_suffix(out: Path | None, *suffixes: str) -> None:
    """Refuses an `--out` with another suffix before any work is done."""
    if out is not None and out.suffix.lower() not in suffixes:
        raise click.UsageError(f"--out {str(out)!r} must end in {' or '.join(suffixes)}.")


def write(out: Path, what: str, *, table: Callable[[], str], picture: Callable[[], bytes] | None = None) -> None:
    """Writes the table or the picture, depending on the file's suffix, and prints the path."""
    from trainyard import durable

    if picture is None or out.suffix.lower() == ".csv":
        durable.write_text(out, table())
    else:
        try:
            durable.write_bytes(out, picture())
        except ModuleNotFoundError as error:
            what = f"A picture needs {error.name}, which is not installed."
            raise UserError(what, "Run `pip install 'trainyard[train]'`.", value=error.name, place=out) from error
    click.echo(f"{what} in {out}")


def title(reader: RunReader) -> str:
    """The full name of a run with its id."""
    run = reader.snapshot
    return f"{run.project}/{run.dataset}/{run.name} ({run.id})"


def number_of(label: str | None, classes: Sequence[str], reader: RunReader) -> int | None:
    """The index of a label among the classes, None if `label` is None; UserError when the run has no such label."""
    if label is None:
        return None
    if label not in classes:
        name, remedy = reader.snapshot.name, did_you_mean(label, classes) or f"Its labels: {listed(classes, 30)}."
        raise UserError(f"Run {name} has no label {label!r}.", remedy, value=label, place=name)
    return classes.index(label)


def matching(yard_root: Path, query: str) -> list[RunReader]:
    """The runs that match a filter, in its order."""
    from trainyard.index import Index

    yard = Yard(yard_root)
    return [RunReader(yard, yard.root / row["home"]) for row in Index(yard).query(query).rows]


def print_table(header: Sequence[str], rows: Iterable[Sequence[Cell]], *, left: int = 1) -> None:
    """Prints the first `left` columns aligned to the left, the others, which are numbers, to the right."""
    options.print_table(header, [[_text(cell) for cell in row] for row in rows], left=left)


def _text(cell: Cell) -> str:
    """A score from 0 to 1 with three digits, a count with separators, text on one line, labels with commas, or "-"."""
    if isinstance(cell, str):
        return one_line(cell)
    if isinstance(cell, int):
        return f"{cell:,}"
    if isinstance(cell, float):
        return f"{cell:.3f}"
    return "-" if cell is None else ", ".join(one_line(name or "nothing") for name in cell) or "nothing"


def as_json(record: object) -> dict[str, Any]:
    """A record for JSON, in which characters that UTF-8 cannot encode are escaped as in the CSV files."""
    from trainyard.analysis.csv_cells import visible

    return {key: visible(value) if isinstance(value, str) else value for key, value in vars(record).items()}


def one_line(text: str) -> str:
    """The text on one line: without control characters, and cut if it is long."""
    line = " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())
    return line if len(line) <= _LONGEST_TEXT else line[: _LONGEST_TEXT - 1] + "…"
