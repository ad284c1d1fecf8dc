"""Shared by the commands of `trainyard analyse`: options, tables on a terminal, and output files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from trainyard.errors import UserError
from trainyard.runs import RunReader
from trainyard.wording import did_you_mean, listed

_LONGEST_TEXT = 72

split_option = click.option(
    "--split",
    type=click.Choice(["train", "val", "test"]),
    default="test",
    show_default=True,
    help="The predictions to use.",
)
label_option = click.option("--label", metavar="LABEL", help="Only this label.")


def limit_option(text: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """`--limit N`, 10 by default, with its help text."""
    return click.option("--limit", type=click.IntRange(0), metavar="N", default=10, show_default=True, help=text)


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
            raise UserError(
                f"A picture needs {error.name}, which is not installed.",
                "Run `pip install 'trainyard[train]'`.",
                value=error.name,
                place=out,
            ) from error
    click.echo(f"{what} in {out}")


def title(reader: RunReader) -> str:
    """The full name of a run with its id."""
    run = reader.snapshot
    return f"{run.project}/{run.dataset}/{run.name} ({run.id})"


def number_of(label: str | None, classes: Sequence[str], reader: RunReader) -> int | None:
    """The index of a label among the classes; None if `label` is None.

    Raises:
        UserError: the run has no such label.
    """
    if label is None:
        return None
    if label not in classes:
        raise UserError(
            f"Run {reader.snapshot.name} has no label {label!r}.",
            did_you_mean(label, classes) or f"Its labels: {listed(classes, 30)}.",
            value=label,
            place=reader.snapshot.name,
        )
    return classes.index(label)


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]], *, left: int = 1) -> None:
    """Prints aligned columns: the first `left` columns to the left, the others, which are numbers, to the right."""
    widths = [max(len(row[at]) for row in [header, *rows]) for at in range(len(header))]

    def line(row: Sequence[str]) -> str:
        cells = (
            cell.ljust(width) if at < left else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        return "  ".join(cells).rstrip()

    click.echo(click.style(line(header), bold=True))
    for row in rows:
        click.echo(line(row))


def score(value: float | None) -> str:
    """A score between 0 and 1 with three digits, or "-"."""
    return "-" if value is None else f"{value:.3f}"


def as_json(record: object) -> dict[str, Any]:
    """A record for JSON, in which characters that UTF-8 cannot encode are escaped as in the CSV files."""
    from trainyard.analysis.csv_cells import visible

    return {key: visible(value) if isinstance(value, str) else value for key, value in vars(record).items()}


def set_of(names: Sequence[str | None]) -> str:
    """Labels as one table cell."""
    return ", ".join(one_line(name or "nothing") for name in names) or "nothing"


def one_line(text: str) -> str:
    """The text on one line: without control characters, and cut if it is long."""
    line = " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())
    return line if len(line) <= _LONGEST_TEXT else line[: _LONGEST_TEXT - 1] + "…"
