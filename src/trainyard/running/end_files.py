"""The files that a run leaves at its end, for people and other tools: predictions, tables, pictures, the summary.

Each is written only if the run's layout has a place for it. `analysis` computes their contents; `durable` writes
them atomically.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

from trainyard import durable
from trainyard.analysis import layer_weights, plots
from trainyard.analysis.csv_cells import history_csv
from trainyard.analysis.scoring import Scoring
from trainyard.data.dataset import Dataset
from trainyard.index import Index
from trainyard.jsonl import without_nan
from trainyard.metric import Metric, of_split
from trainyard.running import start_files
from trainyard.runs import RunReader, RunWriter, read_history
from trainyard.training.evaluate import Predictions


def predictions_text(found: Predictions, dataset: Dataset, scoring: Scoring) -> str:
    """The CSV of predictions on a split."""
    names, column = (dataset.ids, "id") if dataset.texts is None else (dataset.texts, "text")
    items = [names[int(i)] for i in found.indices]
    return scoring.table(items, found.targets, found.columns, found.rule, column)


def write_predictions(
    run: RunWriter, found: Predictions, dataset: Dataset, scoring: Scoring, split: str, *, with_plots: bool
) -> None:
    """Writes the predictions of the chosen checkpoint on a split, and the task's tables and plots of them."""
    run.write("final_predictions", predictions_text(found, dataset, scoring), split=split)
    title = f"{run.snapshot.project} / {run.name}: {split}"
    for kind, content in scoring.records(found.columns, found.targets, found.rule, title=title, plots=with_plots):
        # A path without the split is for the test split alone.
        if run.keeps(kind) and (split == "test" or "split" in run.layout.facts_of(kind)):
            run.write(kind, content, split=split)


def write_end(
    run: RunWriter, summary: Mapping[str, Any], further: Mapping[str, Any], *, headline: Sequence[str], with_plots: bool
) -> dict[str, Any]:
    """Writes the history as CSV, learning curves, the summary in every form, and the project's table of metrics.

    Returns the contents of `wandb-summary.json`: `summary`, and `further` values of the task. The first metric of
    `headline` after the loss is drawn beside it.
    """
    run.sync_history()
    rows = read_history(run.home / ".run" / "history.jsonl")
    run.write("history", history_csv(rows))
    if with_plots and rows:
        best = run.snapshot.best.epoch if run.snapshot.best else None
        title = f"{run.snapshot.project} / {run.name}"
        metric = next((name for name in headline if name != "loss"), None)
        run.write("learning_curves", plots.learning_curves(rows, title, metric=metric, best_epoch=best))
    for_wandb: dict[str, Any] = without_nan(start_files.wandb_summary(run.snapshot, {**summary, **further}))
    run.write("summary", json.dumps(without_nan({**summary, "run": run.id, "name": run.name}), indent=2) + "\n")
    run.write("wandb_summary", json.dumps(for_wandb, indent=2) + "\n")
    if run.keeps("metrics_table"):
        _add_to_table(run, summary)
    events = run.path("tensorboard") if run.keeps("tensorboard") else run.home
    if events != run.home and events.is_dir():
        run.note_record("tensorboard", events)
    return for_wandb


def write_layer_weights(run: RunWriter, weights: Sequence[float], *, with_plots: bool) -> None:
    """Writes the weight of each layer in the head's input, as a table and a plot.

    If the layout shares the plot between runs, it shows every run of the project with this name: the same model
    on other datasets.
    """
    run.write(layer_weights.KIND, layer_weights.to_csv(weights))
    if not with_plots or not run.keeps("encoder_weights"):
        return
    title = f"{run.snapshot.project} / {run.name}"
    if not run.layout.is_shared("encoder_weights"):
        run.write("encoder_weights", plots.layer_weights({run.name: weights}, title))
        return
    with durable.locked(run.yard.own / "layer-weights.lock"):
        known = {}
        for row in Index(run.yard).query("").rows:
            if (row["project"], row["name"]) == (run.snapshot.project, run.name) and row["id"] != run.id:
                reader = RunReader(run.yard, run.yard.root / row["home"])
                if (found := layer_weights.read(reader)) is not None:
                    known[reader.snapshot.dataset] = found
        known[run.snapshot.dataset] = list(weights)
        path = run.path("encoder_weights")
        durable.write_bytes(path, plots.layer_weights(dict(sorted(known.items())), title))
    run.note_record("encoder_weights", path, digest=False)


def _add_to_table(run: RunWriter, summary: Mapping[str, Any]) -> None:
    """Writes the run's rows (one per split) to the project's metrics.csv, adding columns for new metrics."""
    path = run.path("metrics_table")
    named = {"run": run.name, "id": run.id, "dataset": run.snapshot.dataset, "model": run.snapshot.model}
    splits = [split for split in ("val", "test") if str(Metric(split, "loss")) in summary]
    with durable.locked(run.yard.own / "metrics-table.lock"):
        rows: list[dict[str, Any]] = []
        if path.exists():
            with path.open(encoding="utf-8", newline="") as file:
                rows = [row for row in csv.DictReader(file) if row["id"] != run.id]
        rows += [{**named, "split": split, **of_split(summary, split)} for split in splits]
        columns = list(dict.fromkeys([*named, "split", *(key for row in rows for key in row)]))
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        durable.write_text(path, text.getvalue())
    run.note_record("metrics_table", path, digest=False)
