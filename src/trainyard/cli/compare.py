"""`trainyard compare`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from trainyard.cli.options import echo_json, find_run, json_option, yard_option


@click.command("compare")
@click.argument("runs", nargs=-1, required=True, metavar="RUN RUN...")
@yard_option
@json_option
def command(runs: tuple[str, ...], yard_root: Path, as_json: bool) -> None:
    """Compare the settings, data and results of runs.

    Prints the settings and the data that differ, and the results side by side.
    """
    from trainyard.analysis.compare import compare

    if len(runs) < 2:
        raise click.UsageError(f"Pass two or more runs to compare, not only {runs[0]!r}.")
    found = compare([find_run(yard_root, reference).snapshot for reference in runs])
    if as_json:
        echo_json(vars(found))
        return
    header = ["", *(f"{run['run']} ({run['id']})" for run in found.runs)]
    sections = [("Settings that differ", found.config), ("Data that differs", found.data), ("Results", found.results)]
    rows = [[f"  {name}", *map(_text, values)] for _, section in sections for name, values in section.items()]
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]

    def line(row: list[str]) -> str:
        return "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()

    click.echo(click.style(line(header), bold=True))
    for title, section in sections:
        click.echo(click.style(title, bold=True) + ("" if section else ": none"))
        for name, values in section.items():
            click.echo(line([f"  {name}", *map(_text, values)]))


def _text(value: Any) -> str:
    if value is None:
        return "-"
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    return text if len(text) <= 40 else text[:37] + "…"
