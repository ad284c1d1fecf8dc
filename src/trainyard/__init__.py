"""Trainyard: train classifiers, and keep everything a training run leaves behind in order.

`fit` trains a module of your own on data of your own, and `start_run` keeps a loop of your own, in an `ActiveRun`;
`open` reads a yard back, each run as a `Run`. (It returns an `Api`, the name under which Weights & Biases has the
same.) The command line is `trainyard`. Importing this package imports nothing heavy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trainyard.api import Api, Run
    from trainyard.api import open_yard as open
    from trainyard.library.fit import Fitted, fit
    from trainyard.library.start_run import ActiveRun, start_run

__all__ = ["ActiveRun", "Api", "Fitted", "Run", "fit", "open", "start_run"]

_WHERE = {
    **dict.fromkeys(("Api", "Run", "open"), "trainyard.api"),
    **dict.fromkeys(("Fitted", "fit"), "trainyard.library.fit"),
    **dict.fromkeys(("ActiveRun", "start_run"), "trainyard.library.start_run"),
}


def __getattr__(name: str) -> Any:
    """The library's names, imported when they are first used."""
    if name not in _WHERE:
        raise AttributeError(f"module 'trainyard' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_WHERE[name]), "open_yard" if name == "open" else name)
