"""Checks of combined settings of networks for any kind of data."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from trainyard.config.faults import Fault
from trainyard.config.schema import Config


def check(config: Config) -> Iterator[Fault]:
    """Every invalid combination."""
    model: Any = config.model
    if not getattr(model, "qat", False):
        return
    for key, value, only, why in (
        ("model.norm", model.norm, "batch", "folds batch norm into the convolutions"),
        ("training.precision", config.training.precision, "fp32", "rounds to int8 from fp32"),
    ):
        if value != only:
            what = f"`{key}` is {value}, but quantisation-aware training {why}; set {key}={only} or model.qat=false"
            yield Fault(what, (key, "model.qat"))
