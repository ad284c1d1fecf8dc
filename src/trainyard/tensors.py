"""Reads files of tensors, those of safetensors and of `torch.save`, on the CPU. Runs no code that they contain.

Imports torch only when a file is read. Knows nothing of checkpoints.
"""

from __future__ import annotations

import contextlib
import io
import os
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from trainyard.errors import CheckpointError, ConfigError, TrainyardError


def read_tensors(file: Path | bytes, name: str) -> Any:
    """The content of a file, given by its path or its bytes; a `name` in .safetensors has tensors by name.

    Raises:
        ConfigError: PyTorch is not installed.
        Exception: any other, of torch or safetensors, about a damaged or foreign file; see `explained`.
    """
    try:
        import torch
        from safetensors.torch import load, load_file
    except ImportError:
        problem = f"reading {name} needs PyTorch, which is not installed"
        raise ConfigError([problem], "Run `pip install 'trainyard[train]'`.") from None
    if name.endswith(".safetensors"):
        return load(file) if isinstance(file, bytes) else load_file(file)
    source = io.BytesIO(file) if isinstance(file, bytes) else file
    return torch.load(source, map_location="cpu", weights_only=True)


@contextlib.contextmanager
def explained(what: str, remedy: str, place: str | os.PathLike[str]) -> Iterator[None]:
    """Turns any error of a reader into a CheckpointError: `what` cannot be read, why, and the remedy."""
    try:
        yield
    except TrainyardError:
        raise
    except Exception as error:
        why = "it is not a file of tensors"  # torch's own message about these explains how to run the code in the file
        if not isinstance(error, pickle.UnpicklingError | LookupError | EOFError):
            why = f"{type(error).__name__}: {(str(error).splitlines() or ['?'])[0].rstrip('.')}"
        raise CheckpointError(f"{what} cannot be read: {why}.", remedy, place=place) from error
