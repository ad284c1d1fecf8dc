"""Predicts new items with a trained run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from trainyard.assembly.trained import Trained
from trainyard.config import kinds
from trainyard.data.batches import Batch
from trainyard.data.cache import cache_directory
from trainyard.data.items import Items
from trainyard.runs import RunReader
from trainyard.tasks.task import Task
from trainyard.training.evaluate import infer

_BATCH = 256


def predict_items(
    reader: RunReader, path: Path, *, checkpoint: str | None = None, device: str = "auto", trust: bool = False
) -> str:
    """Predictions of a run's checkpoint (best: None; last, or a step), as CSV text written by the run's task.

    The new items at `path` are of the kind that the run was trained on: an image, a folder of images or an .npz; a
    recording or a folder of them; a .txt with one text per line, or a table of texts. With `trust`, `_target_`
    objects outside the allow-list are accepted, which can run any code.

    Raises:
        DataError: the path has no items to predict, or items of another shape.
        UnknownCheckpointError: no such checkpoint.
        CheckpointError: it is damaged.
    """
    opened = Trained.open(reader, checkpoint, device=device, trust=trust)
    config = opened.config
    items: Items = kinds.torch_side("data", config.data.source).read_new(
        path,
        opened.preprocessing,
        files=opened.loaded.files,
        cache_dir=cache_directory(config.system.cache_dir),
        cache_mb=config.system.cache_mb,
        trust=opened.trust,
    )
    columns = predicted(opened.model, opened.task, items, config.training.precision, opened.process.device)
    named, column = (items.ids, "id") if items.texts is None else (items.texts, "text")
    return opened.task.scoring.table(named, None, columns, opened.rule, column)


def predicted(
    model: nn.Module, task: Task, items: Items, precision: str, device: torch.device
) -> dict[str, npt.NDArray[Any]]:
    """The task's predictions for one or more items, in their order, by name."""
    parts = [
        {name: column.cpu().numpy() for name, column in task.predict(outputs).items()}
        for _, outputs in infer(model, _batches(items, device), precision, device)
    ]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _batches(items: Items, device: torch.device) -> Iterator[Batch]:
    """The items in order, without labels, on `device`."""
    count = len(items.ids)
    for start in range(0, count, _BATCH):
        indices = np.arange(start, min(start + _BATCH, count), dtype=np.int64)
        inputs = items.fetch(indices).to(device)
        if items.finish is not None:
            inputs = items.finish(inputs, indices)
        lengths = None if items.lengths is None else torch.from_numpy(items.lengths[indices]).to(device)
        yield Batch(inputs, torch.empty(0), indices, len(indices), lengths)
