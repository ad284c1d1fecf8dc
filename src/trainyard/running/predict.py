"""Predicting new items with what a run trained."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from trainyard.assembly.trained import Trained, config_of
from trainyard.config.schema import AudioData
from trainyard.data.batches import Batch
from trainyard.data.unlabelled import Items, load_clips, load_items
from trainyard.runs import RunReader
from trainyard.training.evaluate import infer

_BATCH = 256


def predict_items(
    reader: RunReader, path: Path, *, checkpoint: str | None = None, device: str = "auto", trust: bool = False
) -> str:
    """Predictions for new items, as the CSV text that the run's task writes.

    Args:
        reader: the run whose checkpoint predicts.
        path: what the run was trained on: an image, a folder of images or an .npz; a recording or a folder of them;
            a .txt with one text a line, or a table of texts.
        checkpoint: best (None), last, or a step.
        device: where to compute.
        trust: let the run's config name `_target_` objects outside the allow-list: they can run any code.

    Raises:
        DataError: nothing to predict there, or items of another shape.
        UnknownCheckpointError: no such checkpoint.
        CheckpointError: it is damaged.
    """
    opened = Trained.open(reader, checkpoint, device=device, trust=trust)
    texts: tuple[str, ...] | None = None
    config = opened.config
    if isinstance(config.data, AudioData):
        items = _clips(reader, path)
    elif config.data.source == "text":
        from trainyard.text.load import load_new  # asks for the libraries of text

        items, texts = load_new(path, config.data.text_column, config.data.max_tokens, opened.loaded.files)
    else:
        items = load_items(path, opened.loaded.model_config["item_shape"])
    where = opened.process.device
    predicted = [
        {name: column.cpu().numpy() for name, column in opened.task.predict(outputs).items()}
        for _, outputs in infer(opened.model, _batches(items, where), config.training.precision, where)
    ]
    columns = {name: np.concatenate([part[name] for part in predicted]) for name in predicted[0]}
    named, column = (items.ids, "id") if texts is None else (texts, "text")
    return opened.task.scoring.table(named, None, columns, opened.rule, column)


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


def _clips(reader: RunReader, path: Path) -> Items:
    """Recordings as the run's model hears them."""
    from trainyard.audio.load import cache_dir, frontend_of, listening_of  # asks for the libraries of sound

    config = config_of(reader, trust=True)  # builds none of its targets
    assert isinstance(config.data, AudioData)
    frontend = frontend_of(config, reader.snapshot.data.get("item_shape"))
    return load_clips(path, listening_of(config.data), frontend, cache_dir(config), config.system.cache_mb)
