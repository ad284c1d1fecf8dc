"""`trainyard clean`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import click

from trainyard.cli.options import (
    FILTERED,
    confirm,
    counted,
    dry_run_option,
    echo_json,
    filter_argument,
    json_option,
    yard_option,
)
from trainyard.units import human_size

_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
_DAYS = {"h": 1 / 24, "d": 1.0, "w": 7.0}
STATES = ("created", "finished", "failed", "stopped", "crashed")  # a running one is never removed


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
        return int(float(match[1]) * _UNITS[match[2]])


@click.command("clean", context_settings=FILTERED)
@filter_argument
@yard_option
@click.option(
    "--checkpoints", is_flag=True, help="Remove intermediate checkpoints: all but the best and the final one."
)
@click.option("--keep-last", type=click.IntRange(0), metavar="N", help="With --checkpoints: keep also the N newest.")
@click.option(
    "--keep-best", type=click.IntRange(1), default=1, metavar="K", help="With --checkpoints: keep the K best."
)
@click.option(
    "--keep-every", type=click.IntRange(1), metavar="N", help="With --checkpoints: keep also every N-th epoch."
)
@click.option("--step", type=int, help="Remove this checkpoint of one run, even if it is the best or the only one.")
@click.option("--optimizer", is_flag=True, help="Remove the optimizer state of superseded checkpoints.")
@click.option("--runs", is_flag=True, help="Remove whole runs that match the filter.")
@click.option("--older-than", type=_Age(), help="With --runs: only runs that ended longer ago (7d, 12h, 2w).")
@click.option(
    "--state",
    "states",
    multiple=True,
    type=click.Choice(STATES),
    metavar="STATE",
    help="With --runs: only runs in this state: failed, crashed, …",
)
@click.option(
    "--until-below", type=_Size(), help="Remove whole runs, oldest first, until the yard is below this size (10GB)."
)
@click.option("--logs", type=_Age(), help="Remove logs last written longer ago than this.")
@click.option("--cache", is_flag=True, help="Remove the yard's caches.")
@click.option(
    "--trash",
    type=_Age(),
    is_flag=False,
    flag_value="0d",
    help="Empty the trash permanently; with an AGE, only older entries.",
)
@click.option("--force", is_flag=True, help="Remove runs even if other runs were made from them.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@dry_run_option
@json_option
def command(
    query: str,
    yard_root: Path,
    checkpoints: bool,
    keep_last: int | None,
    keep_best: int,
    keep_every: int | None,
    step: int | None,
    optimizer: bool,
    runs: bool,
    older_than: float | None,
    states: tuple[str, ...],
    until_below: int | None,
    logs: float | None,
    cache: bool,
    trash: float | None,
    force: bool,
    yes: bool,
    dry_run: bool,
    as_json: bool,
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
    from trainyard.retention import KeepPolicy, apply, empty_trash, list_trash
    from trainyard.runs import Yard
    from trainyard.upkeep.clean import Wanted, make_clean_plan

    if (older_than is not None or states) and not runs:
        raise click.UsageError("--older-than and --state choose whole runs: add --runs.")
    if runs and not (query or older_than is not None or states):
        raise click.UsageError("--runs needs a FILTER, --older-than or --state; to match every run, write 'id:*'.")
    yard = Yard(yard_root)
    chosen = any((step is not None, optimizer, runs, until_below is not None, logs is not None, cache))
    checkpoints = checkpoints or keep_last is not None or keep_every is not None
    if trash is not None:
        if chosen or checkpoints or query:
            raise click.UsageError("--trash cannot be combined with other options or a filter.")
        waiting = [entry for entry in list_trash(yard) if entry.done]
        if dry_run:
            if as_json:
                echo_json([entry.name for entry in waiting])
                return
            for held in waiting:
                click.echo(f"{held.name}  {counted(len(held.items), 'item')}")
            click.echo(f"{counted(len(waiting), 'entry', 'entries')} in the trash")
            return
        if not yes:
            confirm("Empty the trash permanently? This cannot be undone.")
        freed = empty_trash(yard, older_than_days=trash or None)
        if as_json:
            echo_json({"bytes_freed": freed})
        else:
            click.echo(f"freed {human_size(freed)}")
        return
    keep = KeepPolicy(keep_last or 0, keep_best, keep_every) if checkpoints or not chosen else None
    plan = make_clean_plan(
        yard, Wanted(query, keep, step, optimizer, runs, older_than, states, until_below, logs, cache, force)
    )
    if as_json:
        echo_json(plan.to_dict())
    else:
        click.echo(plan.describe(), nl=False)
    if dry_run or not plan.items:
        return
    if not yes:
        confirm("Continue?")
    entry = apply(yard, plan)
    if entry is not None and not as_json:
        for what, why in entry.skipped:
            click.echo(f"kept: {what}: {why}")
        click.echo(f"moved to the trash as {entry.name}; `trainyard undo` restores it")
