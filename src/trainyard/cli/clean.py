"""`trainyard clean`."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import click

from trainyard.cli import options
from trainyard.cli.options import counted, echo_json
from trainyard.runs import Yard
from trainyard.units import human_size

_BYTES = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
_DAYS = {"h": 1 / 24, "d": 1.0, "w": 7.0}
_STATES = ("created", "finished", "failed", "stopped", "crashed")  # a running one is never removed


class _Age(click.ParamType[float]):
    name = "AGE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Converts 7d, 12h or 2w to days."""
        match = re.fullmatch(r"(\d+(?:\.\d+)?)([hdw])", str(value))
        if match is None:
            self.fail(f"invalid age {value!r}; write 12h, 7d or 2w", param, ctx)
        return float(match[1]) * _DAYS[match[2]]


class _Size(click.ParamType[int]):
    name = "SIZE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Converts 500MB or 10GB to bytes."""
        match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmgt]?)b?", str(value).lower())
        if match is None:
            self.fail(f"invalid size {value!r}; write 500MB or 10GB", param, ctx)
        return int(float(match[1]) * _BYTES[match[2]])


@click.command("clean", context_settings=options.FILTERED)
@options.filter_argument
@options.yard_option
@click.option("--checkpoints", is_flag=True, help="Remove intermediate checkpoints: all but the best and final.")
@click.option("--keep-last", type=click.IntRange(0), metavar="N", help="With --checkpoints: keep also the N newest.")
@options.number_option("--keep-best", 1, "With --checkpoints: keep the N best.", least=1)
@click.option("--keep-every", type=click.IntRange(1), metavar="N", help="With --checkpoints: also every N-th epoch.")
@click.option("--step", type=int, help="Remove this checkpoint of one run, even if it is the best or the only one.")
@click.option("--optimizer", is_flag=True, help="Remove the optimizer state of superseded checkpoints.")
@click.option("--runs", is_flag=True, help="Remove whole runs that match the filter.")
@click.option(
    "--older-than", "older_than_days", type=_Age(), help="With --runs: only runs that ended longer ago (7d, 12h, 2w)."
)
@click.option(
    "--state",
    "states",
    multiple=True,
    type=click.Choice(_STATES),
    metavar="STATE",
    help="With --runs: only runs in this state: failed, crashed, …",
)
@click.option(
    "--until-below",
    "until_below_bytes",
    type=_Size(),
    help="Remove whole runs, oldest first, until the yard is below this size (10GB).",
)
@click.option("--logs", "logs_older_than_days", type=_Age(), help="Remove logs last written longer ago than this.")
@click.option("--cache", is_flag=True, help="Remove the yard's caches.")
@click.option(
    "--trash", type=_Age(), is_flag=False, flag_value="0d", help="Empty the trash for good; an AGE: only older entries."
)
@click.option("--force", is_flag=True, help="Remove runs even if other runs were made from them.")
@options.yes_option
@options.dry_run_option
@options.json_option
def command(
    yard_root: Path,
    checkpoints: bool,
    keep_last: int | None,
    keep_best: int,
    keep_every: int | None,
    trash: float | None,
    yes: bool,
    dry_run: bool,
    as_json: bool,
    **chosen: Any,
) -> None:
    """Free disk space: checkpoints, runs, logs, caches. Can be undone.

    Prints what will be removed, why, and how many bytes that will free; then asks. Removed files stay in
    the trash until `trainyard clean --trash`; until then `trainyard undo` restores them. The best, the
    final and the only checkpoint are kept unless named with --step; so is what other or live runs use.

    \b
    trainyard clean --dry-run                       list intermediate checkpoints
    trainyard clean --runs state:failed --older-than 7d
    trainyard clean --logs 7d
    trainyard clean --trash 30d
    """
    from trainyard.retention import KeepPolicy, apply
    from trainyard.upkeep.clean import Wanted, make_clean_plan

    wanted = Wanted(**chosen)
    if (wanted.older_than_days is not None or wanted.states) and not wanted.runs:
        raise click.UsageError("--older-than and --state choose whole runs: add --runs.")
    if wanted.runs and not (wanted.query or wanted.older_than_days is not None or wanted.states):
        raise click.UsageError("--runs needs a FILTER, --older-than or --state; to match every run, write 'id:*'.")
    yard = Yard(yard_root)
    checkpoints = checkpoints or keep_last is not None or keep_every is not None
    if trash is not None:
        if checkpoints or wanted != Wanted(force=wanted.force):
            raise click.UsageError("--trash cannot be combined with other options or a filter.")
        _empty_trash(yard, trash, yes, dry_run, as_json)
        return
    if checkpoints or wanted == Wanted(wanted.query, force=wanted.force):  # nothing else was chosen
        wanted = replace(wanted, keep=KeepPolicy(keep_last or 0, keep_best, keep_every))
    plan = make_clean_plan(yard, wanted)
    options.carry_out(plan, partial(apply, yard, plan), yes=yes, dry_run=dry_run, as_json=as_json)


def _empty_trash(yard: Yard, older_than_days: float, yes: bool, dry_run: bool, as_json: bool) -> None:
    from trainyard.retention import empty_trash, list_trash

    if dry_run:
        waiting = [entry for entry in list_trash(yard) if entry.done]
        if as_json:
            echo_json([entry.name for entry in waiting])
            return
        for held in waiting:
            click.echo(f"{held.name}  {counted(len(held.items), 'item')}")
        click.echo(f"{counted(len(waiting), 'entry', 'entries')} in the trash")
        return
    if not yes:
        options.confirm("Empty the trash permanently? This cannot be undone.")
    freed = empty_trash(yard, older_than_days=older_than_days or None)
    if as_json:
        echo_json({"bytes_freed": freed})
    else:
        click.echo(f"freed {human_size(freed)}")
