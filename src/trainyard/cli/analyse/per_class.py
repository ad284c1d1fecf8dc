"""`trainyard analyse per-class`."""

from __future__ import annotations

from operator import itemgetter
from pathlib import Path

import click

from trainyard.cli.analyse import common
from trainyard.cli.options import counted, echo_json, find_run, json_option, out_option, run_argument, yard_option


@click.command("per-class")
@run_argument
@yard_option
@common.split_option
@out_option("Write a file instead: a picture for .png, a table for .csv.")
@json_option
def command(run: str, yard_root: Path, split: str, out: Path | None, as_json: bool) -> None:
    """F1, precision and recall of each class.

    The worst class comes first.
    """
    from trainyard.analysis.classification import label_plots, metrics
    from trainyard.analysis.classification.predictions import per_class_csv
    from trainyard.analysis.classification.recorded import labelled

    common.require_suffix(out, ".png", ".csv")
    reader = find_run(yard_root, run)
    labels, found = labelled(reader, split)
    rows = sorted(metrics.per_class(labels, found.predicted, found.classes), key=lambda row: row["f1_score"])
    if out is not None:
        common.write(
            out,
            counted(len(rows), "class", "classes"),
            table=lambda: per_class_csv(rows),
            picture=lambda: label_plots.per_class(rows[::-1], f"{reader.snapshot.name}: {split}"),
        )
        return
    if as_json:
        echo_json({"run": reader.snapshot.id, "split": split, "items": len(found.items), "classes": rows})
        return
    click.echo(f"{common.title(reader)}, {split}: {len(found.items):,} items")
    header = ("class", "F1", "precision", "recall", "items", "tp", "fp", "fn", "tn")
    columns = ("label", "f1_score", "precision", "recall", "support", "tp", "fp", "fn", "tn")
    common.print_table(header, map(itemgetter(*columns), rows))
