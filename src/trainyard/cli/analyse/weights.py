"""`trainyard analyse weights`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from trainyard.cli.analyse import common
from trainyard.cli.options import FILTERED, counted, echo_json, filter_argument, json_option, out_option, yard_option
from trainyard.errors import UserError
from trainyard.runs import Snapshot


@click.command("weights", context_settings=FILTERED)
@filter_argument
@yard_option
@out_option("Write a file instead: a picture for .png, a table for .csv.")
@json_option
def command(query: str, yard_root: Path, out: Path | None, as_json: bool) -> None:
    """The weight of each encoder layer in the head of each run.

    The first share is that of the input of layer 0, followed by those of the outputs of layers 0, 1, …

    FILTER chooses the runs as in `trainyard runs`, such as project:calls dataset:recanvo.
    """
    from trainyard.analysis import layer_weights, plots

    common.require_suffix(out, ".png", ".csv")
    readers = common.matching(yard_root, query)
    known = [(run.snapshot, weights) for run in readers if (weights := layer_weights.read(run)) is not None]
    labels = _labels([run for run, _ in known])
    found = dict(zip(labels, (weights for _, weights in known), strict=True))
    if not found:
        matched = f"{counted(len(readers), 'run')} matched" if readers else "no run matches"
        remedy = "Train a speech encoder, which writes them: trainyard train vocalizations."
        raise UserError(f"No run has layer weights ({matched}).", remedy, value=query)
    if out is not None:
        common.write(
            out,
            counted(len(found), "run"),
            table=lambda: layer_weights.wide_csv(found),
            picture=lambda: plots.layer_weights(found, f"{query or yard_root.name}: layer weights"),
        )
    elif as_json:
        echo_json(found)
    else:
        width = max(map(len, found))
        for name, weights in found.items():
            most = max(range(len(weights)), key=weights.__getitem__)
            largest = f"layer {most - 1}" if most else "input"  # counted as in model.layers
            shares = " ".join(f"{100 * weight:5.1f}" for weight in weights)
            click.echo(f"{name:<{width}}  {shares}  % (most: {largest})")


def _labels(runs: Sequence[Snapshot]) -> list[str]:
    """Dataset and name of each run, with the project or the id as well if runs would have equal labels."""
    forms = ("{0.dataset}/{0.name}", "{0.project}/{0.dataset}/{0.name}", "{0.project}/{0.dataset}/{0.name} ({0.id})")
    labels: list[str] = []
    for form in forms:
        labels = [form.format(run) for run in runs]
        if len(set(labels)) == len(labels):
            break
    return labels
