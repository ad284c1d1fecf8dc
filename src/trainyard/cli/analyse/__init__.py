"""`trainyard analyse`: one module per analysis, imported when it is used."""

from __future__ import annotations

import click

from trainyard.cli.main import COMMANDS as EVERY
from trainyard.cli.main import LazyGroup

COMMANDS = {
    "errors": "The most confident mistakes, and which labels are confused.",
    "thresholds": "The F1 of each label's threshold, and the best possible one.",
    "per-class": "F1, precision and recall of each class.",
    "calibration": "Whether predicted probabilities match the observed frequencies.",
    "diff": "Which items two runs predict differently.",
    "significance": "Whether the difference between two runs is significant.",
    "seeds": "Mean and spread over runs that differ only in the seed.",
    "weights": "The weight of each encoder layer in the head of each run.",
}


@click.group(
    cls=LazyGroup,
    package=__name__,
    sections={"Analyses": COMMANDS},
    unknown="There is no analysis {name}; choose from {names}.",
    called="{name}",
    help=f"""{EVERY["analyse"]}

    Uses the predictions that runs saved; nothing is predicted again. Every command accepts --yard DIR and
    --json, and most accept --out FILE for a picture or a table.
    """,
)
def command() -> None:
    """Replaced by the help above."""
