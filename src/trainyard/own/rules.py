"""Which values do not go together in a user's own model and data."""

from __future__ import annotations

from collections.abc import Iterator

from trainyard.config.faults import Fault
from trainyard.config.schema import Config
from trainyard.own.schema import OwnData, OwnModel


def check(config: Config) -> Iterator[Fault]:
    """Every combination that cannot be."""
    if isinstance(config.model, OwnModel) and config.model.target is None and config.model.given is None:
        yield Fault("`model.name` is own, so a class is needed; add model._target_=my_package.Net", ("model.target",))
    if isinstance(config.data, OwnData) and config.data.target is None and config.data.given is None:
        what = "`data.source` is own, so a function that returns the data is needed"
        yield Fault(f"{what}; add data._target_=my_package.load", ("data.target",))
