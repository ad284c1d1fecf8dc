"""A group of commands, each in its own module, which is imported when the command is used."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

import click

from trainyard.wording import nearest


class LazyGroup(click.Group):
    """A group that knows its commands by name and imports each as `command` from the module of that name.

    Args:
        package: the package of the modules.
        sections: by heading of the help, the names of its commands with one line about each.
        unknown: the message about an unknown name, with `{name}` and `{names}`, all known ones.
        called: how a command is typed, with `{name}`.
        settings: the arguments of `click.Group`.
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
        """The names in the order of the help."""
        return self._names

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """Imports the command; None when there is none of that name."""
        if name not in self._names:
            return None
        command: click.Command = importlib.import_module(f"{self._package}.{name.replace('-', '_')}").command
        return command

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[Any, Any, list[str]]:
        """Resolves the arguments to a command.

        Raises:
            click.UsageError: the first argument is not a command; the nearest name is suggested.
        """
        if args and args[0] not in self._names:
            near = nearest(args[0], self._names)
            hint = f" Did you mean {self._called.format(name=near)}?" if near else ""
            raise click.UsageError(self._unknown.format(name=repr(args[0]), names=", ".join(self._names)) + hint, ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes the help's list of commands without importing any."""
        for heading, commands in self._sections.items():
            with formatter.section(heading):
                formatter.write_dl(list(commands.items()))
