"""A run's records for analysis: its predictions of a split, and its decision rule.

Reads files that the run's journal lists, wherever they are now; computes nothing. Needs no torch, except for a
rule in a checkpoint of one file.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

from trainyard.analysis.classification.decisions import Decision
from trainyard.analysis.classification.differences import paired
from trainyard.analysis.classification.predictions import Labels, Predictions, read_predictions
from trainyard.analysis.scoring import Rule
from trainyard.checkpoints import FORMATS
from trainyard.checkpoints.formats import METRICS
from trainyard.errors import CorruptError, DataError
from trainyard.runs import CheckpointRecord, RunReader


def predictions_path(reader: RunReader, split: str) -> Path:
    """The path of the run's last predictions of a split.

    Raises:
        DataError: it recorded none, or the file does not exist.
    """
    name = reader.snapshot.name
    records = [record for record in reader.snapshot.records if record.kind == "final_predictions"]
    paths = [reader.resolve(record.path) for record in records if record.facts.get("split") == split]
    if not paths:
        splits = ", ".join(dict.fromkeys(str(record.facts.get("split")) for record in records))
        raise DataError(
            f"Run {name} recorded no predictions of the {split} split (recorded: {splits or 'none'}).",
            "Choose another with --split."
            if records
            else "A training records them when it finishes, if its layout has a place for final_predictions; "
            "your own loop records them with run.save_predictions(…).",
            value=split,
            place=name,
        )
    if not paths[-1].exists():
        raise DataError(
            f"The predictions of run {name} are missing: {paths[-1]} does not exist.",
            "Restore that file.",
            value=split,
            place=paths[-1],
        )
    return paths[-1]


def predictions_of(reader: RunReader, split: str) -> Predictions:
    """The run's last predictions of a split.

    Raises:
        DataError: there are none, or the file cannot be read.
    """
    return read_predictions(predictions_path(reader, split))


def labelled(reader: RunReader, split: str) -> tuple[Labels, Predictions]:
    """The true labels and the run's last predictions of a split with at least one item.

    Raises:
        DataError: there are none, the file cannot be read, or it has no true labels.
    """
    found = predictions_of(reader, split)
    if found.labels is None or not found.items:
        what = "no items" if not found.items else "no true labels"
        raise DataError(
            f"The predictions of run {reader.snapshot.name} on the {split} split have {what}.",
            "Choose another run, or another split with --split.",
            value=split,
            place=reader.snapshot.name,
        )
    return found.labels, found


def pair(first: RunReader, second: RunReader, split: str) -> tuple[Labels, Predictions, Predictions]:
    """The true labels, and both runs' predictions for the same items, in the first one's order.

    Raises:
        DataError: predictions are missing or cannot be read, or their items, labels or classes differ.
    """
    (_, one), (_, other) = labelled(first, split), labelled(second, split)
    return paired(one, other)


def best_checkpoint(reader: RunReader) -> CheckpointRecord | None:
    """The checkpoint of the run's last predictions; None if it is unknown or was removed."""
    step = reader.snapshot.summary.get("best_step", reader.snapshot.best.step if reader.snapshot.best else None)
    if step is None:
        return reader.snapshot.checkpoints[-1] if reader.snapshot.checkpoints else None
    return reader.snapshot.checkpoint(int(step))


def decision_of(
    reader: RunReader, classes: Sequence[str], *, in_one_file: Callable[[Path], Rule | None] | None = None
) -> Decision | None:
    """The decision of the best checkpoint; None if there is no checkpoint, or it has no rule.

    Args:
        reader: the run.
        classes: names in label order.
        in_one_file: as in `rule_of`.

    Raises:
        DataError: its rule is not valid, or is for other labels.
        CorruptError: its metrics.json cannot be read.
    """
    rule = rule_of(reader, in_one_file=in_one_file)
    return None if rule is None else Decision.from_dict(rule, classes)


def rule_of(reader: RunReader, *, in_one_file: Callable[[Path], Rule | None] | None = None) -> Rule | None:
    """The rule in the best checkpoint; None if there is no checkpoint, or it has no rule.

    Args:
        reader: the run.
        in_one_file: reads the rule from a checkpoint of one file, which needs torch; None: such files are not read.

    Raises:
        CorruptError: its metrics.json cannot be read.
    """
    checkpoint = best_checkpoint(reader)
    path = reader.locate(checkpoint) if checkpoint is not None else None
    if checkpoint is None or path is None:
        return None
    if not FORMATS[checkpoint.format].is_directory:
        return in_one_file(path) if in_one_file is not None else None
    metrics = path / METRICS
    if not metrics.exists():
        return None
    try:
        rule: Rule | None = json.loads(metrics.read_bytes()).get("decision")
    except (ValueError, AttributeError) as error:
        raise CorruptError(f"{metrics} cannot be read: {error}.", "Restore it from a copy.", place=metrics) from error
    return rule
