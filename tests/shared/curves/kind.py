"""Curves: loaded for training, read to predict, and their network."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from curves.schema import CurvesData
from trainyard.config.schema import Config
from trainyard.data.arrays import InMemory
from trainyard.data.build import build_dataset
from trainyard.data.dataset import Dataset
from trainyard.data.items import Items


class Slope(nn.Module):
    def __init__(self, length: int, n_classes: int, step: float) -> None:
        super().__init__()
        self.step = step
        self.classifier = nn.Linear(length - 1, n_classes)

    def forward(self, curves: Tensor) -> Tensor:
        logits: Tensor = self.classifier(curves.diff(dim=1) / self.step)
        return logits


def load(
    config: Config,
    *,
    trust: bool = False,
    item_shape: Sequence[int] | None = None,
    files: Mapping[str, str] | None = None,
) -> Dataset:
    data = config.data
    assert isinstance(data, CurvesData)
    rows = _rows(Path(data.path))
    classes = sorted({row["label"] for row in rows})
    described = preprocessing(config)
    return build_dataset(
        data.dataset or Path(data.path).stem,
        data.path,
        classes,
        [f"row {number}" for number in range(len(rows))],
        [classes.index(row["label"]) for row in rows],
        [hashlib.sha256(json.dumps(row["values"]).encode()).hexdigest() for row in rows],
        (data.length,),
        InMemory(_items(rows, described)).subset,
        split=data.split,
        extra={"preprocessing": described, "model_arguments": {"step": 0.5}},
    )


def preprocessing(config: Config, item_shape: Sequence[int] | None = None) -> dict[str, Any]:
    assert isinstance(config.data, CurvesData)
    return {"kind": "curves", "length": config.data.length}


def read_new(
    path: Path,
    preprocessing: Mapping[str, Any],
    *,
    files: Mapping[str, str],
    cache_dir: Path,
    cache_mb: float,
    trust: bool = False,
) -> Items:
    rows = _rows(path)
    return Items(tuple(f"new {number}" for number in range(len(rows))), InMemory(_items(rows, preprocessing)))


def build(
    *,
    name: str,
    item_shape: Sequence[int],
    classes: Sequence[str],
    step: float,
    scale: float = 1.0,
    trust: bool = False,
) -> Slope:
    return Slope(item_shape[0], len(classes), step * scale)


def describe(
    *, name: str, item_shape: Sequence[int], classes: Sequence[str], step: float, scale: float = 1.0
) -> dict[str, Any]:
    labels = {str(index): label for index, label in enumerate(classes)}
    return {"model_type": "trainyard-slope", "item_shape": list(item_shape), "id2label": labels, "step": step * scale}


def rebuild(config: Mapping[str, Any], files: Mapping[str, str] | None = None, *, trust: bool = False) -> Slope:
    return Slope(config["item_shape"][0], len(config["id2label"]), config["step"])


def _rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def _items(rows: Sequence[Mapping[str, Any]], preprocessing: Mapping[str, Any]) -> Tensor:
    length = preprocessing["length"]
    curves = [np.resize(row["values"], max(length, len(row["values"]))) for row in rows]
    thinned = [curve[np.linspace(0, len(curve) - 1, length).round().astype(int)] for curve in curves]
    return torch.from_numpy(np.stack(thinned).astype(np.float32))
