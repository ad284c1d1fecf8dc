"""`trainyard verify`."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from trainyard.cli.options import counted, echo_json, find_run, json_option, trust_option, yard_option
from trainyard.units import human_size


@click.command("verify")
@click.argument("runs", nargs=-1, metavar="[RUN]...")
@yard_option
@trust_option
@json_option
def command(runs: tuple[str, ...], yard_root: Path, trust: bool, as_json: bool) -> None:
    """Check that files are what was written, and numbers what they say.

    Compares every checkpoint, file of record and artifact with the digest it was written with, reads
    every journal and history, and recomputes statistics and metrics from the saved predictions.
    Without RUN, the whole yard. Exits with 1 when something is wrong; what a kill left half-written is
    named, but is not.
    """
    from trainyard.runs import Yard
    from trainyard.upkeep.verify import Tally, verify_run, verify_yard

    tally = Tally()
    if runs:
        found = [finding for name in runs for finding in verify_run(find_run(yard_root, name), tally, trust=trust)]
    else:
        found = list(verify_yard(Yard(yard_root), tally, trust=trust))
    wrong = sum(not finding.harmless for finding in found)
    if as_json:
        echo_json({"checked": vars(tally), "findings": [vars(finding) for finding in found]})
    else:
        for finding in found:
            click.echo(f"{click.style(finding.home, bold=True)}: {finding.what}\n  → {finding.remedy}")
        looked_at = [counted(tally.runs, "run"), counted(tally.checkpoints, "checkpoint"), counted(tally.files, "file")]
        looked_at += [counted(tally.artifacts, "version") + " of artifacts"] if tally.artifacts else []
        verdict = counted(wrong, "problem") if wrong else "all as written"
        click.echo(f"{', '.join(looked_at)}, {human_size(tally.bytes)}: {verdict}")
    sys.exit(1 if wrong else 0)
