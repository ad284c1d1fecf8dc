"""`trainyard verify`."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from trainyard.cli.options import counted, echo_json, find_run, json_option, trust_option, yard_option
from trainyard.runs import Yard
from trainyard.units import human_size


@click.command("verify")
@click.argument("runs", nargs=-1, metavar="[RUN]...")
@yard_option
@trust_option
@json_option
def command(runs: tuple[str, ...], yard_root: Path, trust: bool, as_json: bool) -> None:
    """Verify files against their digests and numbers against the predictions.

    Compares every checkpoint, file of record and artifact with its recorded digest, reads every journal
    and history, and recomputes statistics and metrics from the saved predictions. Without RUN, verifies
    the whole yard. Exits with 1 if anything is wrong. Files that a kill left half-written are reported
    but do not count as wrong.
    """
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
        checked = [counted(tally.runs, "run"), counted(tally.checkpoints, "checkpoint"), counted(tally.files, "file")]
        checked += [counted(tally.artifacts, "version") + " of artifacts"] if tally.artifacts else []
        verdict = counted(wrong, "problem") if wrong else "no problems"
        click.echo(f"{', '.join(checked)}, {human_size(tally.bytes)}: {verdict}")
    sys.exit(1 if wrong else 0)
