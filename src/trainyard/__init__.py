"""Trainyard: train classifiers, and keep everything a training run leaves behind in order.

`start_run` keeps a loop of your own; `open` reads a yard back, and `Api` does so in the manner of Weights & Biases.
The command line is `trainyard`. Importing this package imports nothing heavy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trainyard.api import Api
    from trainyard.app.library import OpenYard, Run, StoredRun, start_run
    from trainyard.app.library import open_yard as open

__all__ = ["Api", "OpenYard", "Run", "StoredRun", "open", "start_run"]


def __getattr__(name: str) -> Any:
    """The library's names, imported when they are first used."""
    if name not in __all__:
        raise AttributeError(f"module 'trainyard' has no attribute {name!r}")
    if name == "Api":
        from trainyard.api import Api

        return Api
    from trainyard.app import library

    return getattr(library, "open_yard" if name == "open" else name)
