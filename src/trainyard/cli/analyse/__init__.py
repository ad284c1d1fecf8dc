"""`trainyard analyse`: one file for each thing to look at, imported when it is used."""

from __future__ import annotations

import click

from trainyard.cli.lazy import LazyGroup
from trainyard.cli.main import COMMANDS as EVERY

COMMANDS = {
    "errors": "The most confident mistakes, and which labels are taken for which.",
    "thresholds": "What the thresholds of each label reach, and what they could.",
    "per-class": "F1, precision and recall of each class.",
    "calibration": "Whether probabilities are as right as they say.",
    "diff": "What changed from one run to another, item by item.",
    "significance": "Whether one run is better than another, or was lucky.",
    "seeds": "Mean and spread over runs that differ in the seed alone.",
    "weights": "How much the head of each run listens to each layer of its encoder.",
}


@click.group(
    cls=LazyGroup,
    package=__name__,
    sections={"What to look at": COMMANDS},
    unknown="{name} is nothing to look at; there are {names}.",
    called="{name}",
    help=f"""{EVERY["analyse"]}

    Works from the predictions that runs saved: nothing is predicted again. Every command takes --yard DIR and
    --json, and most take --out FILE for a picture or a table.
    """,
)
def command() -> None:
    """Replaced by the help above."""
