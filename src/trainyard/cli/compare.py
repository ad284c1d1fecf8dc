"""`trainyard compare`."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Any

import click

from trainyard.cli.options import aligned, echo_json, find_run, json_option, yard_option


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
    lines = aligned([header, *rows])
    click.echo(click.style(next(lines), bold=True))
    for title, section in sections:
        click.echo(click.style(title, bold=True) + ("" if section else ": none"))
        for line in islice(lines, len(section)):
            click.echo(line)


def _text(value: Any) -> str:
    if value is None:
        return "-"
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    return text if len(text) <= 40 else text[:37] + "…"
