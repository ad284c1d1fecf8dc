"""Predicts new items with a trained run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from trainyard.assembly.trained import Trained
from trainyard.config import kinds
from trainyard.data.batches import Batch
from trainyard.data.cache import cache_directory
from trainyard.data.items import Items
from trainyard.runs import RunReader
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
    items = _read(opened, path)
    where, precision = opened.process.device, opened.config.training.precision
    predicted = [
        {name: column.cpu().numpy() for name, column in opened.task.predict(outputs).items()}
        for _, outputs in infer(opened.model, _batches(items, where), precision, where)
    ]
    columns = {name: np.concatenate([part[name] for part in predicted]) for name in predicted[0]}
    named, column = (items.ids, "id") if items.texts is None else (items.texts, "text")
    return opened.task.scoring.table(named, None, columns, opened.rule, column)


def _read(opened: Trained, path: Path) -> Items:
    """The items at `path`, preprocessed like the run's data."""
    system = opened.config.system
    items: Items = kinds.torch_side("data", opened.config.data.source).read_new(
        path,
        opened.preprocessing,
        files=opened.loaded.files,
        cache_dir=cache_directory(system.cache_dir),
        cache_mb=system.cache_mb,
        trust=opened.trust,
    )
    return items


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
