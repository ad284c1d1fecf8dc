"""Evaluates a checkpoint of a run on one of its splits again."""

from __future__ import annotations

import time
from dataclasses import dataclass

from trainyard.analysis.scoring import Rule
from trainyard.assembly.setup import Setup
from trainyard.assembly.trained import Trained
from trainyard.durable import open_log
from trainyard.errors import DataError
from trainyard.metric import of_split
from trainyard.running import end_files
from trainyard.runs import RunReader, amend


@dataclass(frozen=True)
class Evaluation:
    """Metrics of one checkpoint on one split, beside those that the run had recorded."""

    split: str
    step: int
    metrics: dict[str, float]
    recorded: dict[str, float]
    table: str
    times_tested: int


def evaluate_run(
    reader: RunReader, split: str, *, checkpoint: str | None = None, device: str = "auto", trust: bool = False
) -> Evaluation:
    """Evaluates a run's checkpoint (best: None; last, or a step) on a split, with the run's own data and settings.

    The evaluation is saved with the run: a separate log, and the number of times the test split was used. With
    `trust`, `_target_` objects outside the allow-list are accepted, which can run any code.

    Raises:
        UnsafeTargetError: the config names such an object, and `trust` is off.
        ChangedDataError: the data is not what the run was trained on.
        DataError: the split is empty.
        UnknownCheckpointError: no such checkpoint.
        CheckpointError: it is damaged.
    """
    opened = Trained.open(reader, checkpoint, device=device, trust=trust)
    return measure(reader, opened.setup, split, step=opened.step, rule=opened.rule)


def measure(reader: RunReader, setup: Setup, split: str, *, step: int, rule: Rule | None) -> Evaluation:
    """Measures the weights of the checkpoint of `step`, which are in the model, on a split; kept with the run.

    Raises:
        DataError: the split is empty.
    """
    if not len(setup.dataset.indices(split)):
        what = f"The data has no {split} split."
        raise DataError(what, "Choose another with --split.", value=split, place=reader.home)
    found = setup.predict(split, rule)
    summary, checkpoint = reader.snapshot.summary, reader.snapshot.checkpoint(step)
    # What the run recorded: its summary is of the best checkpoint.
    known = summary if summary.get("best_step") == step or checkpoint is None else checkpoint.metrics
    recorded = {name: float(value) for name, value in of_split(known, split).items()}
    times = int(summary.get("times_tested", 0)) + (split == "test")
    if reader.yard.writable:
        with amend(reader.yard, reader.home) as run:
            if split == "test":
                run.summary(times_tested=times)
            if run.keeps("evaluation_log"):
                path = run.path("evaluation_log", moment=time.strftime("%Y%m%d-%H%M%S"))
                values = " ".join(f"{key}={value:.6g}" for key, value in found.metrics.items())
                line = f"run={run.id} name={run.name} checkpoint={step} split={split} {values}\n"
                with open_log(path) as log:
                    log.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {line}")
                run.note_record("evaluation_log", path)
    table = end_files.predictions_text(found, setup.dataset, setup.task.scoring)
    return Evaluation(split, step, found.metrics, recorded, table, times)
