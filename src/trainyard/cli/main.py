"""The `trainyard` command: imports a command's module when it is called, and turns errors into exit codes.

A user's error prints what is wrong, where and what to do, without a traceback, and exits with 2; a
failed run exits with 1. Importing this module must stay fast: `trainyard --help` imports no command.
"""

from __future__ import annotations

import io
import os
import signal
import sys
import threading

import click

from trainyard.cli.lazy import LazyGroup
from trainyard.errors import TrainyardError

COMMANDS = {
    "train": "Train a recipe or a config file in a new run.",
    "resume": "Continue a run that was stopped, failed or killed, exactly.",
    "evaluate": "Evaluate a run's checkpoint on a split.",
    "predict": "Predict new data with a run's checkpoint.",
    "experiments": "List the experiments with speech encoders, or write their files.",
    "export": "Export a run's model for use in other programs.",
    "runs": "List runs, with filters, sorting and paging.",
    "show": "Show everything about a run.",
    "compare": "Compare the settings, data and results of runs.",
    "analyse": "Analyse predictions: mistakes, thresholds, calibration, seeds.",
    "artifact": "List, get, alias and remove versions of files; show their lineage.",
    "clean": "Free disk space: checkpoints, runs, logs, caches. Can be undone.",
    "undo": "Restore what the last clean removed.",
    "verify": "Verify files against their digests and numbers against the predictions.",
    "reindex": "Rebuild the index by walking the yard.",
    "doctor": "Check the installation and the yard.",
}
_GROUPS = {
    "Train": ("train", "resume", "evaluate", "predict", "export", "experiments"),
    "Look": ("runs", "show", "compare", "analyse"),
    "Keep": ("artifact", "clean", "undo", "verify", "reindex", "doctor"),
}


def _version(ctx: click.Context, _parameter: click.Parameter, value: bool) -> None:
    if value:
        from importlib.metadata import version

        click.echo(f"trainyard {version('trainyard')}")
        ctx.exit()


@click.group(
    cls=LazyGroup,
    package="trainyard.cli",
    sections={title: {name: COMMANDS[name] for name in names} for title, names in _GROUPS.items()},
    unknown="There is no command {name}.",
    called="`trainyard {name}`",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_version, help="Print the version."
)
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
