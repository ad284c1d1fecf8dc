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
from trainyard.runs import RunReader, Snapshot, amend


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
    """Evaluates a run's checkpoint on a split, with the run's own data and settings.

    The evaluation is saved with the run: a separate log, and the number of times the test split was used.

    Args:
        reader: the run.
        split: train, val or test.
        checkpoint: best (None), last, or a step.
        device: where to compute.
        trust: accept `_target_` objects outside the allow-list, which can run any code.

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
    """Measures the weights of a checkpoint, which are in the model, on a split; kept with the run.

    Args:
        reader: the run.
        setup: its training.
        split: train, val or test.
        step: of the checkpoint.
        rule: how predictions become decisions.

    Raises:
        DataError: the split is empty.
    """
    if not len(setup.dataset.indices(split)):
        raise DataError(
            f"The data has no {split} split.", "Choose another with --split.", value=split, place=reader.home
        )
    found = setup.predict(split, rule)
    recorded = _recorded(reader.snapshot, step, split)
    times = int(reader.snapshot.summary.get("times_tested", 0)) + (split == "test")
    if reader.yard.writable:
        with amend(reader.yard, reader.home) as run:
            if split == "test":
                run.summary(times_tested=times)
            if run.keeps("evaluation_log"):
                path = run.path("evaluation_log", moment=time.strftime("%Y%m%d-%H%M%S"))
                with open_log(path) as log:
                    values = " ".join(f"{key}={value:.6g}" for key, value in found.metrics.items())
                    log.write(
                        f"{time.strftime('%Y-%m-%d %H:%M:%S')} run={run.id} name={run.name} "
                        f"checkpoint={step} split={split} {values}\n"
                    )
                run.note_record("evaluation_log", path)
    table = end_files.predictions_text(found, setup.dataset, setup.task.scoring)
    return Evaluation(split, step, found.metrics, recorded, table, times)


def _recorded(run: Snapshot, step: int, split: str) -> dict[str, float]:
    """The metrics that the run recorded for this checkpoint and split; the summary is of the best checkpoint."""
    checkpoint = run.checkpoint(step)
    known = run.summary if run.summary.get("best_step") == step or checkpoint is None else checkpoint.metrics
    return {name: float(value) for name, value in of_split(known, split).items()}
