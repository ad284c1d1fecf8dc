"""`trainyard analyse calibration`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from trainyard.cli import options
from trainyard.cli.analyse import common
from trainyard.cli.options import counted, echo_json, find_run


@click.command("calibration")
@options.run_argument
@options.yard_option
@common.split_option
@common.label_option
@options.number_option("--bins", 15, "The number of bins.", least=1, most=1000)
@options.choice_option("--by", ["width", "mass"], "width", "Bins of equal width, or with about equally many forecasts.")
@options.out_option("Write a file instead: a reliability diagram for .png, the bins for .csv.")
@options.json_option
def command(
    run: str, yard_root: Path, split: str, label: str | None, bins: int, by: Any, out: Path | None, as_json: bool
) -> None:
    """Whether predicted probabilities match the observed frequencies.

    Of the forecasts with probability p, a share of p should be correct. For items with several labels,
    every probability is a forecast; for items with one, only that of the most probable class.
    """
    from trainyard.analysis.classification import calibration, label_plots
    from trainyard.analysis.classification.errors import as_sets
    from trainyard.analysis.classification.recorded import labelled
    from trainyard.analysis.csv_cells import records_csv

    common.require_suffix(out, ".png", ".csv")
    reader = find_run(yard_root, run)
    labels, found = labelled(reader, split)
    at = common.number_of(label, found.classes, reader)
    probabilities: Any = found.probabilities
    truth: Any = labels
    if at is not None:
        probabilities = probabilities[:, [at]]
        truth = as_sets(labels, len(found.classes))[:, [at]]
    rows = calibration.reliability(probabilities, truth, bins=bins, by=by)
    brier, ece = calibration.brier(probabilities, truth), calibration.ece(probabilities, truth, bins=bins, by=by)
    about = f" of {label}" if label is not None else ""
    if out is not None:
        heading = f"{reader.snapshot.name}: calibration{about}, {split}"
        common.write(
            out,
            counted(len(rows), "bin"),
            table=lambda: records_csv([dict(row) for row in rows]),
            picture=lambda: label_plots.reliability(rows, heading, f"Brier {brier:.4f} · ECE {ece:.4f}"),
        )
        return
    if as_json:
        echo_json({"run": reader.snapshot.id, "split": split, "label": label, "brier": brier, "ece": ece, "bins": rows})
        return
    click.echo(f"{common.title(reader)}, {split}{about}: Brier {brier:.4f}, ECE {ece:.4f}")
    common.print_table(
        ("probability", "forecasts", "on average", "came true", "off by"),
        [_cells(row["low"], row["high"], row["count"], row["mean_probability"], row["share"]) for row in rows],
    )


def _cells(low: float, high: float, count: int, mean: float | None, share: float | None) -> list[common.Cell]:
    gap = None if mean is None or share is None else f"{share - mean:+.3f}"
    return [f"{low:.3f} to {high:.3f}", count, mean, share, gap]
