"""`trainyard verify`."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from trainyard.cli.options import echo_json, find_run, human_size, json_option, yard_option


@click.command("verify")
@click.argument("runs", nargs=-1, metavar="[RUN]...")
@yard_option
@json_option
def command(runs: tuple[str, ...], yard_root: Path, as_json: bool) -> None:
    """Check that files are what was written.

    Compares every checkpoint and every file of record with the digest it was written with, and
    reads every journal and history. Without RUN, the whole yard. Exits with 1 when something is
    wrong.
    """
    from trainyard.app.verify import Tally, verify_run, verify_yard
    from trainyard.runs import Yard

    tally = Tally()
    if runs:
        found = [finding for name in runs for finding in verify_run(find_run(yard_root, name), tally)]
    else:
        found = list(verify_yard(Yard(yard_root), tally))
    if as_json:
        echo_json({"checked": vars(tally), "findings": [vars(finding) for finding in found]})
    else:
        for finding in found:
            click.echo(f"{click.style(finding.home, bold=True)}: {finding.what}\n  → {finding.remedy}")
        click.echo(
            f"{tally.runs} runs, {tally.checkpoints} checkpoints, {tally.files} files, {human_size(tally.bytes)}: "
            + (f"{len(found)} problems" if found else "all as written")
        )
    sys.exit(1 if found else 0)
