"""`trainyard resume`."""

from __future__ import annotations

from pathlib import Path

import click

from trainyard.cli.options import find_run, run_argument, trust_option, yard_option


@click.command("resume")
@run_argument
@yard_option
@click.option("--step", type=int, help="Resume from this checkpoint instead of the newest intact one.")
@trust_option
@click.option("--quiet", is_flag=True, help="Print only errors.")
def command(run: str, yard_root: Path, step: int | None, trust: bool, quiet: bool) -> None:
    """Continue a run that was stopped, failed or killed, exactly.

    RUN is a name, an id, a path, or `last`. The newest intact checkpoint is used; damaged ones are
    set aside and reported. The data must be the same as when the run began.
    """
    reader = find_run(yard_root, run)
    from trainyard.running.logs import RunConsole
    from trainyard.running.resume import resume

    resume(reader.yard, reader.home, step=step, trust=trust, console=RunConsole(quiet=quiet))
