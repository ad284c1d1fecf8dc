"""The part of a configuration that is about curves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from trainyard.config.bounds import Bound, at_least
from trainyard.config.schema import SplitOptions


@dataclass(frozen=True)
class CurvesData:
    """A file of JSON lines: `{"values": [1, 2.5, 3], "label": "up"}`."""

    path: str
    source: Literal["curves"] = "curves"
    dataset: str | None = None
    length: int = 8  # values that a model takes; longer curves are thinned out, shorter ones repeated
    split: SplitOptions = SplitOptions()


@dataclass(frozen=True)
class SlopeModel:
    """A linear layer on the differences of neighbouring values."""

    name: Literal["slope"] = "slope"
    scale: float = 1.0


DATA = (CurvesData,)
MODELS = (SlopeModel,)
BOUNDS: tuple[Bound, ...] = (("data.length", at_least(2), "2 or more"),)
NAMES = ("slope",)
DATASETS = ("heartbeats",)


def label(model: SlopeModel) -> str:
    return model.name


def from_name(name: str) -> dict[str, Any] | None:
    return {"name": "slope"} if name == "slope" else None


def from_folder(folder: str) -> dict[str, Any] | None:
    return {"source": "curves"} if folder in DATASETS else None
