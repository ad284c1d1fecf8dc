"""`trainyard undo`."""

from __future__ import annotations

from pathlib import Path

import click

from trainyard.cli.options import counted, yard_option
from trainyard.runs import Yard


@click.command("undo")
@click.argument("entry", required=False)
@yard_option
@click.option("--list", "only_list", is_flag=True, help="List the entries of the trash.")
def command(entry: str | None, yard_root: Path, only_list: bool) -> None:
    """Restore what the last clean removed.

    ENTRY names an earlier entry of the trash. Files whose paths are taken now stay in the trash and are
    reported.
    """
    from trainyard.retention import list_trash, undo

    yard = Yard(yard_root)
    if only_list:
        for item in list_trash(yard):
            click.echo(f"{item.name}  {item.kind:<9} {counted(len(item.items), 'item')}")
        return
    click.echo(undo(yard, entry).describe(), nl=False)
