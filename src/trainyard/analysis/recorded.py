"""What a run recorded for analysis, whatever its task: where its predictions are, and the rule they were decided by."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from trainyard.analysis.scoring import Rule
from trainyard.checkpoints import FORMATS
from trainyard.checkpoints.formats import METRICS
from trainyard.errors import CorruptError, DataError
from trainyard.runs import RunReader
from trainyard.wording import listed

_RECORDED = (
    "A training records them when it finishes, if its layout has a place for final_predictions; "
    "your own loop records them with run.save_predictions(…)."
)


def predictions_path(reader: RunReader, split: str) -> Path:
    """The path of the run's last predictions of a split.

    Raises:
        DataError: it recorded none, or the file does not exist.
    """
    name = reader.snapshot.name
    records = [record for record in reader.snapshot.records if record.kind == "final_predictions"]
    paths = [reader.resolve(record.path) for record in records if record.facts.get("split") == split]
    if not paths:
        splits = listed(list(dict.fromkeys(str(record.facts.get("split")) for record in records)))
        remedy = "Choose another with --split." if records else _RECORDED
        what = f"Run {name} recorded no predictions of the {split} split (recorded: {splits})."
        raise DataError(what, remedy, value=split, place=name)
    if not paths[-1].exists():
        what = f"The predictions of run {name} are missing: {paths[-1]} does not exist."
        raise DataError(what, "Restore that file.", value=split, place=paths[-1])
    return paths[-1]


def rule_of(reader: RunReader, *, in_one_file: Callable[[Path], Rule | None] | None = None) -> Rule | None:
    """The rule in the checkpoint of the run's last predictions; None if it is unknown, was removed or has no rule.

    `in_one_file` reads the rule from a checkpoint of one file, which needs torch; without it such files are not read.

    Raises:
        CorruptError: its metrics.json cannot be read.
    """
    run = reader.snapshot
    step = run.summary.get("best_step", run.best.step if run.best else None)
    last = run.checkpoints[-1] if run.checkpoints else None
    checkpoint = last if step is None else run.checkpoint(int(step))
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
