"""Access to transformers, tokenizers and peft: imported on first use, with a remedy if they are missing.

transformers and peft import torchao if it is installed, which takes three seconds and prints warnings; Trainyard
does not need it there.
"""

from __future__ import annotations

import contextlib
import importlib.util
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

from trainyard.errors import ConfigError


def transformers() -> ModuleType:
    """The library. Its classes are imported on first use: do that inside `without_torchao`.

    Raises:
        ConfigError: it is not installed; the remedy is what to install.
    """
    _require("transformers")
    import transformers

    return transformers


def tokenizers() -> ModuleType:
    """The library, a dependency of transformers.

    Raises:
        ConfigError: it is not installed; the remedy is what to install.
    """
    _require("tokenizers")
    import tokenizers

    return tokenizers


def peft() -> ModuleType:
    """The library.

    Raises:
        ConfigError: it is not installed; the remedy is what to install.
    """
    _require("peft")
    with without_torchao():
        import peft
    return peft


def model_classes(config_name: str, model_name: str) -> tuple[Any, Any]:
    """The two classes of transformers with these names.

    Raises:
        ConfigError: transformers is not installed.
    """
    library = transformers()
    with without_torchao():
        return getattr(library, config_name), getattr(library, model_name)


def _require(name: str) -> None:
    if importlib.util.find_spec(name) is None:
        raise ConfigError(
            [f"an encoder needs the library {name}, which is not installed"],
            "Install it with `pip install 'trainyard[speech]'`, or for texts with `pip install 'trainyard[text]'`.",
            keys=["model.name"],
        )


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
