"""Trainyard: train classifiers, and keep everything a training run leaves behind in order.

`start_run` keeps a loop of your own; `open` reads a yard back, and `Api` does so in the manner of Weights & Biases.
The command line is `trainyard`. Importing this package imports nothing heavy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trainyard.api import Api
    from trainyard.app.stored import OpenYard, StoredRun
    from trainyard.app.stored import open_yard as open
    from trainyard.library.start_run import Run, start_run

__all__ = ["Api", "OpenYard", "Run", "StoredRun", "open", "start_run"]

_WHERE = {
    "Api": "trainyard.api:Api",
    "OpenYard": "trainyard.app.stored:OpenYard",
    "Run": "trainyard.library.start_run:Run",
    "StoredRun": "trainyard.app.stored:StoredRun",
    "open": "trainyard.app.stored:open_yard",
    "start_run": "trainyard.library.start_run:start_run",
}


def __getattr__(name: str) -> Any:
    """The library's names, imported when they are first used."""
    if name not in _WHERE:
        raise AttributeError(f"module 'trainyard' has no attribute {name!r}")
    from importlib import import_module

    module, _, attribute = _WHERE[name].partition(":")
    return getattr(import_module(module), attribute)
