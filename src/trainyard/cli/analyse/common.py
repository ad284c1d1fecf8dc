"""What the commands of `trainyard analyse` share: options, tables on a terminal, and files instead of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from trainyard.errors import ConfigError, UserError
from trainyard.runs import RunReader
from trainyard.wording import did_you_mean, listed

_LONGEST_TEXT = 72

split_option = click.option(
    "--split", type=click.Choice(["train", "val", "test"]), default="test", show_default=True, help="Which predictions."
)
label_option = click.option("--label", metavar="LABEL", help="Only what concerns this label.")


def limit_option(text: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """`--limit N` of ten, with its help text."""
    return click.option("--limit", type=click.IntRange(0), metavar="N", default=10, show_default=True, help=text)


def require_suffix(out: Path | None, *suffixes: str) -> None:
    """Refuses `--out` of another kind before any work is done."""
    if out is not None and out.suffix.lower() not in suffixes:
        kinds = f"neither a {suffixes[0]} nor a {suffixes[1]}" if len(suffixes) == 2 else f"no {suffixes[0]}"
        raise click.UsageError(f"--out {str(out)!r} is {kinds}.")


def write(out: Path, what: str, *, table: Callable[[], str], picture: Callable[[], bytes] | None = None) -> None:
    """Writes the table or the picture that the file's name asks for, and says so."""
    from trainyard import durable

    if picture is None or out.suffix.lower() == ".csv":
        durable.write_text(out, table())
    else:
        try:
            durable.write_bytes(out, picture())
        except ModuleNotFoundError as error:
            raise ConfigError([f"a picture needs {error.name}."], "pip install 'trainyard[train]'") from error
    click.echo(f"{what} in {out}")


def title(reader: RunReader) -> str:
    """What a run is called, with its id."""
    run = reader.snapshot
    return f"{run.project}/{run.dataset}/{run.name} ({run.id})"


def number_of(label: str | None, classes: Sequence[str], reader: RunReader) -> int | None:
    """The place of a label among the classes; None for none.

    Raises:
        UserError: the run has no such label.
    """
    if label is None:
        return None
    if label not in classes:
        raise UserError(
            f"Run {reader.snapshot.name} has no label {label!r}.",
            did_you_mean(label, classes) or f"It has {listed(classes, 30)}.",
        )
    return classes.index(label)


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]], *, left: int = 1) -> None:
    """Prints aligned columns: the first `left` and the last column of words to the left, numbers to the right."""
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
    """A score between 0 and 1 as people read it."""
    return "-" if value is None else f"{value:.3f}"


def as_json(record: object) -> dict[str, Any]:
    """A record for JSON on a terminal: what UTF-8 cannot hold as the files have it."""
    from trainyard.analysis.csv_cells import visible

    return {key: visible(value) if isinstance(value, str) else value for key, value in vars(record).items()}


def set_of(names: Sequence[str | None]) -> str:
    """Labels in one cell."""
    return ", ".join(one_line(name or "nothing") for name in names) or "nothing"


def one_line(text: str) -> str:
    """The text in one line of a table: what a terminal would act upon is left out, and its end if it is long."""
    line = " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())
    return line if len(line) <= _LONGEST_TEXT else line[: _LONGEST_TEXT - 1] + "…"
