"""`trainyard analyse thresholds`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from statistics import fmean
from typing import Any

import click

from trainyard.cli.analyse import common
from trainyard.cli.options import choice_option, echo_json, find_run, json_option, out_option, run_argument, yard_option
from trainyard.errors import CheckpointError, UserError


@click.command("thresholds")
@run_argument
@yard_option
@choice_option("--split", ["val", "test"], "val", "test: show also the F1 of the stored thresholds on the test split.")
@out_option("Write a file instead: a picture for .png, a table for .csv.")
@json_option
def command(run: str, yard_root: Path, split: str, out: Path | None, as_json: bool) -> None:
    """The F1 of each label's threshold, and the best possible one.

    Shows the stored threshold and the F1 with it, with 0.5, and with the best threshold on validation.
    The test split is only measured; no threshold is chosen on it.
    """
    from trainyard.analysis.classification import label_plots
    from trainyard.analysis.classification.recorded import decision_of, labelled
    from trainyard.analysis.classification.threshold_report import table
    from trainyard.analysis.csv_cells import records_csv

    common.require_suffix(out, ".png", ".csv")
    reader = find_run(yard_root, run)
    labels, found = labelled(reader, "val")
    name = reader.snapshot.name
    if not found.multi_label:
        what = f"Run {name} has no thresholds: each item has one label, the most probable."
        raise UserError(what, "`trainyard analyse per-class` shows its scores.", place=name)
    decision = decision_of(reader, found.classes, in_one_file=_rule_in)
    if decision is None:
        what = f"Run {name} has no thresholds: its best checkpoint is missing or has none."
        remedy = "Train with `trainyard train` and multi_label data, which stores them with each checkpoint."
        raise UserError(what, remedy, place=name)
    test = None
    if split == "test":
        truth, there = labelled(reader, "test")
        if there.classes != found.classes:
            what = f"The val and test predictions of run {name} have different labels."
            remedy = f"Write them again with `trainyard evaluate {reader.snapshot.id}`."
            raise UserError(what, remedy, value=there.classes, place=name)
        test = (there.probabilities, truth.astype(bool))
    truth_on_val = labels.astype(bool)
    rows = table(decision, found.probabilities, truth_on_val, found.classes, test)
    if out is not None:
        common.write(
            out,
            f"{len(rows)} labels",
            table=lambda: records_csv([vars(row) for row in rows]),
            picture=lambda: label_plots.thresholds(rows, found.probabilities, truth_on_val, f"{name}: thresholds"),
        )
        return
    if as_json:
        rule = {"mode": decision.mode, "k": decision.k}
        echo_json({"run": reader.snapshot.id, **rule, "labels": [vars(row) for row in rows]})
        return
    how = f"the {decision.k} most probable" if decision.k is not None else decision.mode
    click.echo(f"{common.title(reader)}: {how}, F1 on {len(found.items):,} validation items")
    header = ["label", "items", "threshold", "F1", "at 0.5", "best at", "best F1"]
    header += ["test F1", "test at 0.5"] if test is not None else []
    scores = [[row.f1, row.f1_at_half, row.best_f1, row.test_f1, row.test_f1_at_half] for row in rows]
    macro = [fmean(column) if None not in column else None for column in zip(*scores, strict=True)]
    lines: list[list[common.Cell]] = [
        [row.label, row.support, row.threshold, *values[:2], row.best_threshold, *values[2:]]
        for row, values in zip(rows, scores, strict=True)
    ]
    lines.append(["macro", sum(row.support for row in rows), None, *macro[:2], None, *macro[2:]])
    common.print_table(header, [line[: len(header)] for line in lines])


def _rule_in(path: Path) -> Mapping[str, Any] | None:
    """The rule in a checkpoint of one file, which takes torch to read."""
    try:
        from trainyard.training.checkpoint.read import rule_in
    except ModuleNotFoundError as error:
        what = f"The thresholds are inside {path}, and reading that file needs {error.name}."
        raise CheckpointError(what, "Run `pip install 'trainyard[train]'`.", place=path) from error
    return rule_in(path)
