"""Access to transformers, tokenizers and peft: imported on first use, with a remedy if they are missing.

transformers and peft import torchao if it is installed, which takes three seconds and prints warnings; Trainyard
does not need it there.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

from trainyard.errors import ConfigError


def transformers() -> ModuleType:
    """transformers, or a ConfigError. Its classes are imported on first use: do that inside `without_torchao`."""
    return _imported("transformers")


def tokenizers() -> ModuleType:
    """tokenizers, a dependency of transformers, or a ConfigError that says what to install."""
    return _imported("tokenizers")


def peft() -> ModuleType:
    """peft, or a ConfigError that says what to install."""
    with without_torchao():
        return _imported("peft")


def model_classes(config_name: str, model_name: str) -> tuple[Any, Any]:
    """The two classes of transformers with these names, or a ConfigError that says what to install."""
    library = transformers()
    with without_torchao():
        return getattr(library, config_name), getattr(library, model_name)


def _imported(name: str) -> ModuleType:
    if importlib.util.find_spec(name) is None:
        what = f"an encoder needs the library {name}, which is not installed"
        remedy = "Install it with `pip install 'trainyard[speech]'`, or for texts with `pip install 'trainyard[text]'`."
        raise ConfigError([what], remedy, keys=["model.name"])
    return importlib.import_module(name)


@contextlib.contextmanager
def without_torchao() -> Iterator[None]:
    """Makes torchao appear not to be installed, unless it is imported already.

    transformers and peft cache the result: they do not use it for the rest of this process.
    """
    if "torchao" in sys.modules:
        yield
        return
    sys.modules["torchao"] = None  # type: ignore[assignment]  # None marks a module as absent
    try:
        yield
    finally:
        if sys.modules.get("torchao", ...) is None:
            del sys.modules["torchao"]


@contextlib.contextmanager
def errors_only() -> Iterator[None]:
    """Disables the progress bars of transformers and all its messages except errors."""
    transformers()
    from transformers.utils import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
