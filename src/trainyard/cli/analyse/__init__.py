"""`trainyard analyse`: one file for each thing to look at, imported when it is used."""

from __future__ import annotations

import difflib
import importlib
from typing import Any

import click

from trainyard.cli.main import COMMANDS as EVERY

COMMANDS = {
    "errors": "The most confident mistakes, and which labels are taken for which.",
    "thresholds": "What the thresholds of each label reach, and what they could.",
    "per-class": "F1, precision and recall of each class.",
    "calibration": "Whether probabilities are as right as they say.",
    "diff": "What changed from one run to another, item by item.",
    "significance": "Whether one run is better than another, or was lucky.",
    "seeds": "Mean and spread over runs that differ in the seed alone.",
    "weights": "How much the head of each run listens to each layer of its encoder.",
}


class _Commands(click.Group):
    """Knows its commands by name and imports one when it is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"{__name__}.{name.replace('-', '_')}").command
        return command

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[Any, Any, list[str]]:
        if args and args[0] not in COMMANDS:
            near = difflib.get_close_matches(args[0], COMMANDS, 1)
            hint = f" Did you mean {near[0]}?" if near else ""
            raise click.UsageError(f"{args[0]!r} is nothing to look at; there are {', '.join(COMMANDS)}.{hint}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("What to look at"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(
    cls=_Commands,
    help=f"""{EVERY["analyse"]}

    Works from the predictions that runs saved: nothing is predicted again. Every command takes --yard DIR and
    --json, and most take --out FILE for a picture or a table.
    """,
)
def command() -> None:
    """Replaced by the help above."""
