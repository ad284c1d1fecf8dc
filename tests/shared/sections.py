"""`data` sections for tests, with the options of the split given beside the section's own."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from trainyard.config.schema import SplitOptions

_OF_SPLIT = {field.name for field in fields(SplitOptions)}


def data_section(kind: Any, **options: Any) -> Any:
    """An instance of one of the dataclasses that `data` may be."""
    split = {name: options.pop(name) for name in list(options) if name in _OF_SPLIT}
    return kind(**options, **({"split": SplitOptions(**split)} if split else {}))
