"""A group of commands, each in a module of its own that is imported when it is used."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

import click

from trainyard.wording import nearest


class LazyGroup(click.Group):
    """Knows its commands by name, and each as `command` of the module of that name.

    Args:
        package: where the modules are.
        sections: heading of the help to the names of its commands to a line about each.
        unknown: what is said of a name that is none; `{name}` and `{names}`, all there are, are put in.
        called: what is typed for a command, where `{name}` is its name.
        settings: what a `click.Group` takes.
    """

    def __init__(
        self, *, package: str, sections: Mapping[str, Mapping[str, str]], unknown: str, called: str, **settings: Any
    ) -> None:
        super().__init__(**settings)
        self._package = package
        self._sections = sections
        self._unknown = unknown
        self._called = called
        self._names = [name for section in sections.values() for name in section]

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names, in the order of the help."""
        return self._names

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """The command, imported now; None: there is none of that name."""
        if name not in self._names:
            return None
        command: click.Command = importlib.import_module(f"{self._package}.{name.replace('-', '_')}").command
        return command

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[Any, Any, list[str]]:
        """What the arguments call.

        Raises:
            click.UsageError: the first is no command; the nearest name is offered.
        """
        if args and args[0] not in self._names:
            near = nearest(args[0], self._names)
            hint = f" Did you mean {self._called.format(name=near)}?" if near else ""
            raise click.UsageError(self._unknown.format(name=repr(args[0]), names=", ".join(self._names)) + hint, ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes the help's list from the lines about the commands, importing none."""
        for heading, commands in self._sections.items():
            with formatter.section(heading):
                formatter.write_dl(list(commands.items()))
