"""`trainyard undo`."""

from __future__ import annotations

from pathlib import Path

import click

from trainyard.cli.options import counted, yard_option


@click.command("undo")
@click.argument("entry", required=False)
@yard_option
@click.option("--list", "only_list", is_flag=True, help="List what is in the trash.")
def command(entry: str | None, yard_root: Path, only_list: bool) -> None:
    """Bring back what the last clean took away.

    ENTRY names an earlier one. What would replace something that exists now stays in the trash,
    and is named.
    """
    from trainyard.retention import list_trash, undo
    from trainyard.runs import Yard

    yard = Yard(yard_root)
    if only_list:
        for item in list_trash(yard):
            click.echo(f"{item.name}  {item.kind:<9} {counted(len(item.items), 'item')}")
        return
    click.echo(undo(yard, entry).describe(), nl=False)
