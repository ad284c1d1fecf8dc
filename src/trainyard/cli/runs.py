"""`trainyard runs`."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from trainyard.cli import options
from trainyard.cli.options import echo_json
from trainyard.runs import Yard
from trainyard.units import human_size

_COLOURS = {"finished": "green", "running": "cyan", "crashed": "red", "failed": "red", "stopped": "yellow"}


@click.command("runs", context_settings=options.FILTERED)
@options.filter_argument
@options.yard_option
@options.limit_option
@options.offset_option
@options.json_option
def command(query: str, yard_root: Path, limit: int | None, offset: int, as_json: bool) -> None:
    """List runs, with filters, sorting and paging.

    The newest run comes first unless the filter sorts.

    \b
    trainyard runs state:finished dataset:digits
    trainyard runs 'summary.test_accuracy>0.97' sort:-summary.test_accuracy
    trainyard runs -state:finished 'created>7d' config.training.epochs:10
    trainyard runs 'name:cnn*' tag:paper --json

    Fields: state name project dataset model layout id seed tag note step epoch size created
    started ended best.value, and any metrics.X, summary.X and config.X.
    """
    from trainyard.index import Index

    index = Index(Yard(yard_root))
    page = index.query(query, limit=limit or (None if as_json else options.PAGE), offset=offset)
    for home, why in index.problems():
        click.echo(f"skipped: {home}: {why}", err=True)
    if as_json:
        echo_json(page.rows)
        return
    if not page.rows:
        empty = "There are no runs yet; `trainyard train` creates the first."
        click.echo(f"No run matches {query!r}." if query else empty)
        return
    rows = [_cells(row) for row in page.rows]
    tested = "test_acc" if {_tested(row) for row in page.rows} <= {"accuracy"} else "test"
    if tested == "test":  # of several tasks, or of one that has no accuracy: each says what it is
        rows = [(*cells[:6], _named(row, cells[6]), *cells[7:]) for row, cells in zip(page.rows, rows, strict=True)]
    header = ("id", "run", "layout", "state", "epoch", "val_loss", tested, "size", "created")
    options.print_table(header, rows, colours=_COLOURS)
    options.tell_of_more(offset, len(rows), page.total)


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    summary, metrics = row["summary"], row["metrics"]
    title = f"{row['project']}/{row['dataset']}/{row['name']}"
    val_loss = _number(summary.get("val_loss", metrics.get("val_loss")))
    test = _number(summary.get(f"test_{_tested(row)}"))
    size, age = human_size(row["size_bytes"]), _age(row["created"])
    return (row["id"], title, row["layout"], row["state"], f"{row['epoch']:g}", val_loss, test, size, age)


def _tested(row: dict[str, Any]) -> str:
    """The metric that the run's task shows first, after the loss."""
    headline = row.get("task", {}).get("headline") or ["accuracy"]
    return str(next((name for name in headline if name != "loss"), "loss"))


def _named(row: dict[str, Any], value: str) -> str:
    return value if value == "-" else f"{_tested(row)} {value}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _age(created: str) -> str:
    seconds = (datetime.now(UTC) - datetime.fromisoformat(created)).total_seconds()
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{int(seconds // size)} {unit} ago"
    return "just now"
