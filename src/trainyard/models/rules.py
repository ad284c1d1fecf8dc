"""Checks of combined settings of networks for any kind of data."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from trainyard.config.faults import Fault
from trainyard.config.schema import Config


def check(config: Config) -> Iterator[Fault]:
    """Every invalid combination."""
    if getattr(config.model, "qat", False):
        yield from _quantised(config)


def _quantised(config: Config) -> Iterator[Fault]:
    model: Any = config.model
    if model.norm != "batch":
        yield Fault(
            f"`model.norm` is {model.norm}, but quantisation-aware training folds batch norm into the convolutions; "
            "set model.norm=batch or model.qat=false",
            ("model.norm", "model.qat"),
        )
    if config.training.precision != "fp32":
        yield Fault(
            f"`training.precision` is {config.training.precision}, but quantisation-aware training rounds to int8 "
            "from fp32; set training.precision=fp32 or model.qat=false",
            ("training.precision", "model.qat"),
        )
