"""The `trainyard` command: imports a command's module when it is called, and turns errors into exit codes.

A user's error prints what is wrong, where and what to do, without a traceback, and exits with 2; a
failed run exits with 1. Importing this module must stay fast: `trainyard --help` imports no command.
"""

from __future__ import annotations

import importlib
import io
import os
import signal
import sys
import threading
from collections.abc import Mapping
from typing import Any

import click

from trainyard.errors import TrainyardError
from trainyard.wording import nearest

_SECTIONS = {
    "Train": {
        "train": "Train a recipe or a config file in a new run.",
        "resume": "Continue a run that was stopped, failed or killed, exactly.",
        "evaluate": "Evaluate a run's checkpoint on a split.",
        "predict": "Predict new data with a run's checkpoint.",
        "export": "Export a run's model for use in other programs.",
        "experiments": "List the experiments with speech encoders, or write their files.",
    },
    "Look": {
        "runs": "List runs, with filters, sorting and paging.",
        "show": "Show everything about a run.",
        "compare": "Compare the settings, data and results of runs.",
        "analyse": "Analyse predictions: mistakes, thresholds, calibration, seeds.",
    },
    "Keep": {
        "artifact": "List, get, alias and remove versions of files; show their lineage.",
        "clean": "Free disk space: checkpoints, runs, logs, caches. Can be undone.",
        "undo": "Restore what the last clean removed.",
        "verify": "Verify files against their digests and numbers against the predictions.",
        "reindex": "Rebuild the index by walking the yard.",
        "doctor": "Check the installation and the yard.",
    },
}
COMMANDS = {name: about for section in _SECTIONS.values() for name, about in section.items()}


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
        self._package, self._sections, self._unknown, self._called = package, sections, unknown, called
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
        """Resolves the arguments to a command; UsageError, with the nearest name, when there is no such command."""
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


@click.group(
    cls=LazyGroup,
    package="trainyard.cli",
    sections=_SECTIONS,
    unknown="There is no command {name}.",
    called="`trainyard {name}`",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(package_name="trainyard", message="%(prog)s %(version)s", help="Print the version.")
def app() -> None:
    """Train classifiers on audio, images and text, and keep the files of every run in order.

    \b
    trainyard train                     train the digits recipe
    trainyard train cfg.yaml model=mlp  train a config file, with changes
    trainyard runs state:finished sort:-summary.test_accuracy
    trainyard show last

    Every command accepts --yard DIR (or TRAINYARD_YARD); the default is ./outputs.
    """


def main() -> None:
    """Runs the command line and exits with its code."""
    # Read by libgomp when torch is loaded: threads that wait give their core away instead of spinning on it, which
    # costs little on an idle machine and a third of the time on a busy one.
    os.environ.setdefault("GOMP_SPINCOUNT", "0")
    if isinstance(sys.stdout, io.TextIOWrapper):  # a name that a terminal cannot show must not end in a traceback
        sys.stdout.reconfigure(errors="surrogateescape" if sys.stdout.encoding == "utf-8" else "backslashreplace")
    try:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, signal.default_int_handler)  # like Ctrl-C, so that cleanup code runs
        sys.exit(app.main(prog_name="trainyard", standalone_mode=False) or 0)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        sys.exit(error.exit_code)
    except click.ClickException as error:
        _report(error.format_message(), _help_for(error))
        sys.exit(2)
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        sys.exit(130)
    except TrainyardError as error:
        _report(error.what, error.remedy)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        # The reader of the pipe has exited: not an error of ours, and nothing more can be printed.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)


def _report(what: str, remedy: str) -> None:
    click.echo(f"{click.style('error:', fg='red', bold=True)} {what}", err=True)
    if remedy:
        click.echo(f"  {click.style('→', fg='cyan')} {remedy}", err=True)


def _help_for(error: click.ClickException) -> str:
    context = error.ctx if isinstance(error, click.UsageError) else None
    return f"`{context.command_path if context else 'trainyard'} --help` shows its arguments and options."
