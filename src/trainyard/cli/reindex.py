"""`trainyard reindex`."""

from __future__ import annotations

import time
from pathlib import Path

import click

from trainyard.cli.options import counted, yard_option
from trainyard.runs import Yard


@click.command("reindex")
@yard_option
def command(yard_root: Path) -> None:
    """Rebuild the index by walking the yard.

    Needed after copying a run's folder into the yard by hand. Nothing is lost, because the index contains
    only what is in the runs' own files.
    """
    from trainyard.index import Index

    started = time.perf_counter()
    index = Index(Yard(yard_root))
    index.rebuild()
    total = index.query("", limit=1).total
    click.echo(f"{counted(total, 'run')} indexed in {time.perf_counter() - started:.2f} s")
