"""Checks of combined settings of images."""

from __future__ import annotations

from collections.abc import Iterator

from trainyard.config.combinations import group_column_faults
from trainyard.config.faults import Fault, show
from trainyard.config.schema import Config
from trainyard.images.schema import CsvData, DigitsData, ImageFolderData


def check(config: Config) -> Iterator[Fault]:
    """Every invalid combination."""
    data = config.data
    if isinstance(data, DigitsData):
        yield from _digits(config)
    if isinstance(data, DigitsData | ImageFolderData) and data.split.test_groups:
        key, groups = "data.split.test_groups", show(list(data.split.test_groups))
        yield Fault(f"`{key}` is {groups}, but data.source={data.source} has no groups; leave it out", (key,))
    if isinstance(data, CsvData):
        yield from group_column_faults(data)


def _digits(config: Config) -> Iterator[Fault]:
    """Checks for the digits, which have no official splits."""
    split, val, test = config.data.split, "data.split.val_fraction", "data.split.test_fraction"
    if config.run.test and split.test_fraction == 0:
        yield Fault(f"`{test}` is 0, but digits has no official test split; add run.test=false", (test, "run.test"))
    if config.run.train and split.val_fraction == 0 and config.training.monitor.startswith("val_"):
        what = f"`{val}` is 0, so there is no {show(config.training.monitor)} to monitor"
        yield Fault(f"{what}; set training.monitor=train_loss or hold items out", (val, "training.monitor"))
