"""`trainyard analyse significance`."""

from __future__ import annotations

from pathlib import Path

import click

from trainyard.cli.analyse import common
from trainyard.cli.options import counted, echo_json, find_run, json_option, number_option, yard_option

_METRICS = ["f1_macro", "f1_micro", "accuracy"]


@click.command("significance")
@click.argument("first", metavar="RUN_A")
@click.argument("second", metavar="RUN_B")
@yard_option
@common.split_option
@click.option("--metric", type=click.Choice(_METRICS), help="Only this metric; all by default.")
@number_option("--resamples", 2000, "The number of bootstrap samples.", least=100, most=1_000_000)
@number_option("--seed", 0, "The seed of the bootstrap.")
@json_option
def command(
    first: str, second: str, yard_root: Path, split: str, metric: str | None, resamples: int, seed: int, as_json: bool
) -> None:
    """Whether the difference between two runs is significant.

    A paired bootstrap over the items that both predicted. It does not account for other seeds; see
    `trainyard analyse seeds`.
    """
    from trainyard.analysis.classification.recorded import pair
    from trainyard.analysis.classification.significance import paired_bootstrap

    readers = find_run(yard_root, first), find_run(yard_root, second)
    labels, one, other = pair(*readers, split)
    found = paired_bootstrap(labels, one.predicted, other.predicted, resamples=resamples, seed=seed)
    rows = [row for row in found if metric in (None, row.metric)]
    if as_json:
        runs = [reader.snapshot.id for reader in readers]
        echo_json({"runs": runs, "split": split, "seed": seed, "metrics": [vars(row) for row in rows]})
        return
    click.echo(f"A  {common.title(readers[0])}")
    click.echo(f"B  {common.title(readers[1])}")
    click.echo(f"{split}: {counted(len(one.items), 'item')}, {resamples:,} bootstrap samples")
    cells = []
    for row in rows:
        scores = [f"{row.first:.4f}", f"{row.second:.4f}", f"{row.difference:+.4f}"]
        cells.append([row.metric, *scores, f"{row.low:+.4f} to {row.high:+.4f}", f"{row.p_value:.4f}"])
    common.print_table(("metric", "A", "B", "B - A", "95 % interval", "p"), cells)
    for row in rows:
        better = "B" if row.difference > 0 else "A"
        sure = row.p_value < 0.05
        click.echo(f"{row.metric}: {f'{better} is better' if sure else 'no significant difference'}")
