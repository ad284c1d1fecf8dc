"""`trainyard analyse seeds`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from trainyard.cli.analyse import common
from trainyard.cli.options import FILTERED, counted, echo_json, filter_argument, json_option, yard_option
from trainyard.errors import UserError
from trainyard.runs import Snapshot


@click.command("seeds", context_settings=FILTERED)
@filter_argument
@yard_option
@common.split_option
@json_option
def command(query: str, yard_root: Path, split: str, as_json: bool) -> None:
    """Mean and spread over runs that differ only in the seed.

    FILTER chooses the runs as in `trainyard runs`. Runs whose settings are equal except for the seed and
    the run's name form a group; the standard deviation is that of a sample.
    """
    from trainyard.analysis.seeds import by_seed

    runs = [reader.snapshot for reader in reversed(common.matching(yard_root, query))]
    prefix = f"{split}_"
    measured = [run for run in runs if any(key.startswith(prefix) for key in run.summary)]
    every = by_seed((f"{run.name} ({run.id})", _settings(run), run.summary) for run in measured)
    groups = [group for group in every if len(group.runs) > 1]
    if not groups:
        matched = f"{counted(len(runs), 'run')} matched, {len(measured)} with {split} results"
        what = f"No two runs differ only in the seed ({matched if runs else 'no run matches'})."
        raise UserError(what, "Train again with another seed: trainyard train … run.seed=1", value=query)
    if as_json:
        echo_json([{**vars(group), "metrics": {k: vars(v) for k, v in group.metrics.items()}} for group in groups])
        return
    for number, group in enumerate(groups):
        if number:
            click.echo()
        click.echo(click.style(f"{counted(len(group.runs), 'run')}", bold=True) + f": {', '.join(group.runs)}")
        again = " (runs of one seed are not independent)" if len(set(group.seeds)) < len(group.seeds) else ""
        click.echo(f"seeds {', '.join(map(str, group.seeds))}{again}")
        rows: list[list[str]] = []
        for name, found in group.metrics.items():
            if name.startswith(prefix):
                values = (found.mean, found.std, found.low, found.high)
                numbers = ["-" if value is None else f"{value:.4f}" for value in values]
                rows.append([name.removeprefix(prefix), *numbers, str(found.n)])
        common.print_table(("metric", "mean", "std", "lowest", "highest", "runs"), rows)
    alone = len(measured) - sum(len(group.runs) for group in groups)
    if alone:
        has = f"{counted(alone, 'other run')} {'has' if alone == 1 else 'have'}"
        click.echo(f"\n{has} no counterpart with another seed.")


def _settings(run: Snapshot) -> dict[str, Any]:
    """The settings of a run including its seed, which a user's own loop may not have in its config."""
    section = run.config.get("run")
    known = {"seed": run.seed or 0, **(section if isinstance(section, dict) else {"": section})}
    return {**run.config, "run": known, "of": [run.project, run.dataset, run.model]}
