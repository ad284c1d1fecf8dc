"""Access to transformers, tokenizers and peft: imported on first use, with a remedy where they are missing.

transformers and peft import torchao as soon as it is installed, which takes three seconds and prints warnings of
its own; nothing here needs it. What the libraries are used for is not known here.
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
    """The library. Its classes load when they are first used: do that inside `without_torchao`.

    Raises:
        ConfigError: it is not installed; the remedy is what to install.
    """
    _require("transformers")
    import transformers

    return transformers


def tokenizers() -> ModuleType:
    """The library, which comes with transformers and loads in no time.

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
        )


@contextlib.contextmanager
def without_torchao() -> Iterator[None]:
    """Inside, torchao looks as if it were not installed, unless it is imported already.

    transformers and peft remember what they find: they do without it for the rest of this process.
    """
    if "torchao" in sys.modules:
        yield
        return
    sys.modules["torchao"] = None  # type: ignore[assignment]  # Python's own way to say that a module is absent
    try:
        yield
    finally:
        if sys.modules.get("torchao", ...) is None:
            del sys.modules["torchao"]


@contextlib.contextmanager
def errors_only() -> Iterator[None]:
    """Inside, transformers draws no progress bars and reports only errors; Trainyard reports what matters."""
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
