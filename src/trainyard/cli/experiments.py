"""`trainyard experiments`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from trainyard.audio.study.grid import Experiment, Written
from trainyard.cli import options
from trainyard.cli.options import counted, echo_json
from trainyard.runs import Yard

_NAMED = 10  # how many files to list by name


@click.command("experiments")
@click.argument("folder", required=False, metavar="[DIR]", type=click.Path(path_type=Path, file_okay=False))
@click.option("--dataset", "datasets", metavar="D", multiple=True, help="Only this corpus; can be repeated.")
@click.option(
    "--model",
    "models",
    metavar="PATTERN",
    multiple=True,
    help="Only these names: whisper_base, or a pattern with * and ?, '*_lora_*'; can be repeated.",
)
@options.yard_option
@options.limit_option
@options.offset_option
@options.json_option
def command(
    folder: Path | None,
    datasets: tuple[str, ...],
    models: tuple[str, ...],
    yard_root: Path,
    limit: int | None,
    offset: int,
    as_json: bool,
) -> None:
    """List the experiments with speech encoders, or write their files.

    An experiment is a corpus and a model's name, TYPE_SIZE_METHOD[_LAYERS]; 012 means layers 0, 1 and
    2, and 7-12 means 7 to 12. An experiment can be trained without its file. With DIR, the files are
    written so that they can be edited; existing files are kept.

    \b
    trainyard experiments --model whisper_base --dataset recanvo
    trainyard train experiments/recanvo/whisper_base_lora_012.py data.path=recanvo
    trainyard experiments experiments --model '*_lora_*'
    """
    from trainyard.audio.study.grid import grid, write_experiments

    found = grid(datasets, models)
    if folder is not None:
        if limit or offset:
            why = "--limit and --offset apply to the list only; use --dataset and --model to choose what is written."
            raise click.UsageError(why)
        _report(folder, write_experiments(folder, found), as_json)
        return
    finished = _finished(yard_root)
    rows = found[offset:][: limit or (None if as_json else options.PAGE)]
    described = [_described(experiment, finished) for experiment in rows]
    if as_json:
        echo_json(described)
        return
    names, corpora = len({one.name for one in found}), len({one.dataset for one in found})
    on = f"{counted(names, 'model')} on {counted(corpora, 'corpus', 'corpora')}"
    click.echo(f"{counted(len(found), 'experiment')}: {on}")
    options.print_table(("dataset", "name", "layers changed", "finished runs"), [_cells(**row) for row in described])
    options.tell_of_more(offset, len(rows), len(found))


def _finished(yard_root: Path) -> Counter[tuple[str, str]]:
    """The number of finished runs for each corpus and model; empty when there is no yard."""
    if not yard_root.exists():
        return Counter()
    from trainyard.index import Index

    rows = Index(Yard(yard_root)).query("state:finished").rows
    return Counter((row["dataset"], row["model"]) for row in rows)


def _described(experiment: Experiment, finished: Counter[tuple[str, str]]) -> dict[str, Any]:
    from trainyard.audio.study.grid import layers_of
    from trainyard.config.names import parse_name

    return {
        "dataset": experiment.dataset,
        "name": experiment.name,
        "path": experiment.path,
        "model": parse_name(experiment.name),
        "changed_layers": list(layers_of(experiment.name)),
        "finished_runs": finished[experiment.dataset, experiment.name],
    }


def _cells(dataset: str, name: str, changed_layers: Sequence[int], finished_runs: int, **_: object) -> tuple[str, ...]:
    span = f"{changed_layers[0]} to {changed_layers[-1]}" if changed_layers else "none"
    return dataset, name, span, str(finished_runs or "-")


def _report(folder: Path, written: Written, as_json: bool) -> None:
    if as_json:
        echo_json({kind: [str(path) for path in paths] for kind, paths in vars(written).items()})
        return
    there = f", {counted(len(written.same), 'file')} already there" if written.same else ""
    click.echo(f"wrote {counted(len(written.new), 'file')} to {folder}/{there}")
    if written.changed:
        click.echo(f"kept {counted(len(written.changed), 'file')} that you changed:")
        for path in written.changed[:_NAMED]:
            click.echo(f"  {path}")
        if len(written.changed) > _NAMED:
            click.echo(f"  and {len(written.changed) - _NAMED} more")
