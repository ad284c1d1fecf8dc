"""The end of a run: tests the checkpoint that validation chose, once, and writes the results."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from rich.console import Console

from trainyard.analysis.scoring import Rule
from trainyard.assembly.setup import Setup
from trainyard.checkpoints import Choice, choose
from trainyard.metric import as_text, on
from trainyard.models.protocols import HasLayerWeights
from trainyard.running import end_files
from trainyard.running.artifacts import log_run_artifacts
from trainyard.running.logs import tell
from trainyard.runs import RunReader, RunWriter
from trainyard.runs.events import DataSeen
from trainyard.training.checkpoint.read import load
from trainyard.training.checkpoint.restore import load_weights
from trainyard.training.evaluate import Predictions


def finish(
    setup: Setup, run: RunWriter | None, console: Console, logger: logging.Logger | None = None
) -> dict[str, Any]:
    """Predicts validation and test with the best weights, loaded into the model, and writes the final files.

    Returns the contents of `wandb-summary.json`; empty in processes that write no run, which predict their share.
    """
    config, scoring = setup.config, setup.task.scoring
    best = choose(RunReader(run.yard, run.home), step="best") if run is not None and config.run.train else None
    found = _predict(setup, best)
    if run is None:
        return {}
    if config.run.train:
        val = found.get("val")
        columns, targets = ({}, setup.dataset.labels[:0]) if val is None else (val.columns, val.targets)
        for note in scoring.tune(columns, targets)[1]:
            run.warn(note)
            tell(console, note, label="warning: ", logger=logger)
    with_plots = config.outputs.plots
    further: dict[str, Any] = {}
    for split, predictions in found.items():
        end_files.write_predictions(run, predictions, setup.dataset, scoring, split, with_plots=with_plots)
        further = scoring.final_values(predictions.columns, predictions.targets, predictions.rule)
    if isinstance(setup.model, HasLayerWeights):
        end_files.write_layer_weights(run, setup.model.layer_weights(), with_plots=with_plots)
    if getattr(config.model, "qat", False) and config.run.train:
        from trainyard.running.export import export_quantised

        known = len(run.snapshot.warnings)
        for path, what in export_quantised(setup, run, best.checkpoint.step if best else run.snapshot.step):
            tell(console, f"{path.name}  {what}", logger=logger)
        for warning in run.snapshot.warnings[known:]:
            tell(console, warning, label="warning: ", logger=logger)
    if setup.dataset.cache is not None:
        run.event(DataSeen({**run.snapshot.data, "cache": setup.dataset.cache()}))
    summary = _summary(run, found, best)
    run.summary(**summary)
    written = end_files.write_end(run, summary, further, headline=scoring.headline, with_plots=with_plots)
    if config.outputs.artifacts:
        for version in log_run_artifacts(run, best.checkpoint if best else None):
            tell(console, f"artifact {version.reference}", logger=logger)
    for split, predictions in found.items():
        values = predictions.metrics
        line = "  ".join(f"{name} {values[name]:.4f}" for name in scoring.headline if name in values)
        tell(console, f"{split:<5}{line}", logger=logger)
    return written


def _predict(setup: Setup, best: Choice | None) -> dict[str, Predictions]:
    """Validation, then test, with the best weights and the rule tuned on validation."""
    config = setup.config
    path = setup.process.share(str(best.path) if best else None)
    source = path if config.run.train else config.run.checkpoint_path
    rule: Rule | None = None
    if source is not None:
        loaded = load(Path(source), weights_only=True)
        load_weights(setup.model, loaded.model, source)
        rule = loaded.decision
    found: dict[str, Predictions] = {}
    for split in ("val", "test"):
        if len(setup.dataset.indices(split)) and (split == "val" or config.run.test):
            found[split] = setup.predict(split, rule)
            rule = found[split].rule
    return found


def _summary(run: RunWriter, found: dict[str, Predictions], best: Choice | None) -> dict[str, Any]:
    summary: dict[str, Any] = {}
    for split, predictions in found.items():
        summary |= as_text(on(split, predictions.metrics))
    if best:
        summary |= {"best_step": best.checkpoint.step, "best_epoch": best.checkpoint.epoch}
    summary["epochs"] = run.snapshot.epoch
    if "test" in found:
        summary["times_tested"] = 1
    return summary
