"""Which values do not go together in curves."""

from __future__ import annotations

from collections.abc import Iterator

from curves.schema import CurvesData, SlopeModel
from trainyard.config.faults import Fault
from trainyard.config.schema import Config


def check(config: Config) -> Iterator[Fault]:
    if isinstance(config.model, SlopeModel) and not isinstance(config.data, CurvesData):
        yield Fault("`model.name` is slope, and the data are not curves", ("model.name", "data.source"))
