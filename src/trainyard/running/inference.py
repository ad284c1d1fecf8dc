"""Using what a run trained: measuring a checkpoint on a split again, and predicting new data."""

from __future__ import annotations

import functools
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from trainyard.analysis.classification import predictions as tables
from trainyard.analysis.classification.decisions import ARGMAX, Decision, tune
from trainyard.assembly.setup import build, load_dataset
from trainyard.checkpoints import Choice, choose
from trainyard.config import kinds
from trainyard.config.convert import from_dict
from trainyard.config.fields import plain
from trainyard.config.schema import SystemSection
from trainyard.data.cache import cache_directory
from trainyard.data.items import Items
from trainyard.durable import open_log
from trainyard.errors import DataError, UnknownCheckpointError
from trainyard.models import from_model_config
from trainyard.running import records
from trainyard.running.train import refuse_changed_data
from trainyard.runs import Checkpoint, RunReader, Snapshot, amend
from trainyard.training import process as processes
from trainyard.training.checkpoint.capture import load_weights
from trainyard.training.checkpoint.read import Loaded, load
from trainyard.training.forward import autocast

_BATCH = 256


@dataclass(frozen=True)
class Evaluation:
    """Metrics of one checkpoint on one split, and what the run had recorded for them."""

    split: str
    step: int
    metrics: dict[str, float]
    recorded: dict[str, float]
    table: str
    times_tested: int


def pick(reader: RunReader, which: str | None) -> Choice:
    """The checkpoint that `which` names: best (or None), last, or a step.

    Raises:
        UnknownCheckpointError: there is none.
        CheckpointError: it is damaged.
    """
    wanted = which or "best"
    if wanted.isdecimal():
        choice = choose(reader, step=int(wanted))
    elif wanted in ("best", "last"):
        choice = choose(reader, step=wanted)
    else:
        raise UnknownCheckpointError(f"{wanted!r} names no checkpoint.", "Use best, last or a step.")
    if choice is None:
        raise UnknownCheckpointError(
            f"Run {reader.snapshot.name} has no checkpoint.",
            f"Train it on with `trainyard resume {reader.snapshot.id}`.",
        )
    return choice


def evaluate_run(
    reader: RunReader, split: str, *, checkpoint: str | None = None, device: str = "auto", trust: bool = False
) -> Evaluation:
    """Measures a run's checkpoint on a split, with the run's own data and settings.

    The evaluation is kept with the run: a log of its own, and how often the test split was used.

    Args:
        reader: the run.
        split: train, val or test.
        checkpoint: best (None), last, or a step.
        device: where to compute.
        trust: let the run's config name `_target_` objects outside the allow-list: they can run any code.

    Raises:
        UnsafeTargetError: the config names such an object, and `trust` is off.
        ChangedDataError: the data is not what the run was trained on.
        DataError: the split is empty.
        UnknownCheckpointError: no such checkpoint.
        CheckpointError: it is damaged.
    """
    choice = pick(reader, checkpoint)
    config = from_dict(reader.snapshot.config, where=str(reader.home), trust=trust)
    loaded = load(choice.path, weights_only=True)
    dataset = load_dataset(config, trust=trust, item_shape=reader.snapshot.data.get("item_shape"), saved=loaded)
    refuse_changed_data(reader, dataset)
    if not len(dataset.indices(split)):
        raise DataError(f"The data has no {split} split.", "Choose another with --split.")
    setup = build(config, dataset, processes.start(device), trust=trust, saved=loaded, trains=False)
    load_weights(setup.model, loaded.model, str(choice.path))
    decision = Decision.from_dict(loaded.decision, dataset.classes) if loaded.decision else setup.task.untuned()
    found = setup.predict(split, decision)
    recorded = _recorded(reader.snapshot, choice.checkpoint, split)
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
                        f"checkpoint={choice.checkpoint.step} split={split} {values}\n"
                    )
                run.note_record("evaluation_log", path)
    table = records.predictions_text(found, dataset)
    return Evaluation(split, choice.checkpoint.step, found.metrics, recorded, table, times)


def _recorded(run: Snapshot, checkpoint: Checkpoint, split: str) -> dict[str, float]:
    """What the run wrote down for this split with this checkpoint; its summary is of the best one."""
    known = dict(run.summary) if run.summary.get("best_step") == checkpoint.step else dict(checkpoint.metrics)
    prefix = f"{split}_"
    return {key.removeprefix(prefix): float(value) for key, value in known.items() if key.startswith(prefix)}


def predict_items(reader: RunReader, path: Path, *, checkpoint: str | None = None, device: str = "auto") -> str:
    """Predictions for new items as CSV text: id or text, pred_label or pred_labels, a probability for each class.

    Args:
        reader: the run whose checkpoint predicts.
        path: items of the kind that the run was trained on: an image, a folder of images or an .npz; a recording or
            a folder of them; a .txt with one text a line, or a table of texts.
        checkpoint: best (None), last, or a step.
        device: where to compute.

    Raises:
        DataError: nothing to predict there, or items of another shape.
        UnknownCheckpointError: no such checkpoint.
        CheckpointError: it is damaged.
    """
    choice = pick(reader, checkpoint)
    loaded = load(choice.path, weights_only=True)
    model = from_model_config(loaded.model_config, loaded.files)
    load_weights(model, loaded.model, str(choice.path))
    config = reader.snapshot.config
    precision = config.get("training", {}).get("precision", "fp32")
    items = _new_items(reader, path, loaded)
    labels = loaded.model_config["id2label"]
    classes = [labels[str(index)] for index in range(len(labels))]
    decision = _decision(loaded, classes, config.get("training", {}).get("thresholds", {}))
    as_probabilities = functools.partial(torch.softmax, dim=1) if decision == ARGMAX else torch.sigmoid
    where = processes.start(device).device
    model.to(where).eval()
    parts = []
    with torch.inference_mode():
        for start in range(0, len(items.ids), _BATCH):
            indices = np.arange(start, min(start + _BATCH, len(items.ids)), dtype=np.int64)
            inputs = items.fetch(indices).to(where)
            if items.finish is not None:
                inputs = items.finish(inputs, indices)
            known = () if items.lengths is None else (torch.from_numpy(items.lengths[indices]).to(where),)
            with autocast(precision, where):  # as the run's own predictions were made
                logits = model(inputs, *known)
            parts.append(as_probabilities(logits.float()).cpu().numpy())
    probabilities = np.concatenate(parts)
    return tables.predictions_csv(
        items.texts or items.ids,
        None,
        decision.choose(probabilities),
        probabilities,
        classes,
        item_column="text" if items.texts else "id",
    )


def _decision(loaded: Loaded, classes: Sequence[str], thresholds: Mapping[str, Any]) -> Decision:
    """How the checkpoint chooses labels; untuned when it is from before the first validation."""
    if loaded.decision is not None:
        return Decision.from_dict(loaded.decision, classes)
    if loaded.model_config.get("problem_type") != "multi_label_classification":
        return ARGMAX
    nothing = np.empty((0, len(classes)))
    return tune(nothing, nothing, classes=classes, **thresholds)[0]


def _new_items(reader: RunReader, path: Path, loaded: Loaded) -> Items:
    """The items at `path`, read as the run read its own."""
    config, recorded = reader.snapshot.config, reader.snapshot.data
    kind = kinds.torch_side("data", config["data"]["source"])
    described = recorded.get("preprocessing")
    if described is None:  # a run of version 0.1
        parsed = from_dict(config, where=str(reader.home), trust=True)  # builds none of its targets
        described = kind.preprocessing(parsed, recorded.get("item_shape") or loaded.model_config.get("item_shape"))
    system = {**plain(SystemSection()), **config.get("system", {})}
    items: Items = kind.read_new(
        path, described, files=loaded.files, cache_dir=cache_directory(system["cache_dir"]), cache_mb=system["cache_mb"]
    )
    return items
