"""`trainyard doctor`."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from trainyard.cli.options import echo_json, json_option, yard_option

_MARKS = {"ok": ("ok  ", "green"), "warn": ("warn", "yellow"), "fail": ("FAIL", "red")}


@click.command("doctor")
@yard_option
@json_option
def command(yard_root: Path, as_json: bool) -> None:
    """Check the installation and the yard."""
    from trainyard.upkeep.doctor import examine

    checks = list(examine(yard_root))
    if as_json:
        echo_json([vars(check) for check in checks])
    else:
        for check in checks:
            mark, colour = _MARKS[check.status]
            click.echo(f"{click.style(mark, fg=colour)}  {check.subject:<10} {check.found}")
            if check.remedy:
                click.echo(f"                 → {check.remedy}")
    sys.exit(1 if any(check.status == "fail" for check in checks) else 0)
