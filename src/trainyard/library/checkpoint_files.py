"""The checkpoints of a user's own loop: their allowed contents, and how they are written to files.

`trainyard.api.checkpoints` reads them back. Needs no torch until tensors are written.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trainyard.checkpoints import FileWriter
from trainyard.checkpoints import formats as names
from trainyard.errors import CheckpointError


def single_file(state: Mapping[str, Any]) -> FileWriter:
    """A writer of all of `state` to one file; CheckpointError if an entry is a function, which writes another."""
    functions = [key for key, value in state.items() if callable(value)]
    if functions:
        listed = ", ".join(map(repr, functions))
        what = f"{listed} is a function that writes a separate file, but in this layout a checkpoint is one file."
        remedy = "Pass the values themselves, or use a layout of directories: grouped or files."
        raise CheckpointError(what, remedy, value=functions)
    return _loadable(dict(state))


def _loadable(value: Any) -> FileWriter:
    """A writer that rejects values which `Checkpoint.load` cannot read back, because loading would run code."""
    import torch

    from trainyard.models.tensor_files import torch_file

    def write(path: Path) -> None:
        torch_file(value)(path)
        if unsafe := sorted(torch.serialization.get_unsafe_globals_in_checkpoint(path)):
            what = f"A checkpoint cannot hold {', '.join(unsafe)}: loading it would run code."
            remedy = "Save tensors, numbers, strings, lists and dictionaries; torch.from_numpy makes tensors of arrays."
            raise CheckpointError(what, remedy, value=unsafe, place=path)

    return write


def directory_files(state: Mapping[str, Any], weights: str) -> dict[str, FileWriter]:
    """A writer for each part of `state`, by file name; that of "model" is `weights`.

    Raises:
        CheckpointError: an entry's name cannot be a file name.
    """
    files: dict[str, FileWriter] = {}
    for key, value in state.items():
        if "/" in key or key.startswith("."):
            raise CheckpointError(f"{key!r} cannot be a file name in a checkpoint.", "Use a plain word.", value=key)
        if callable(value):
            files[key] = value
        elif key == "model" and weights == names.SAFETENSORS:
            files[weights] = _safetensors(value)
        else:
            files[weights if key == "model" else f"{key}.pt"] = _loadable(value)
    return files


def _safetensors(tensors: Mapping[str, Any]) -> FileWriter:
    from trainyard.models.tensor_files import safetensors_file

    plain: dict[str, Any] = {}
    places: set[int] = set()
    for name, tensor in tensors.items():
        copied = tensor.detach().cpu().contiguous()
        place = copied.untyped_storage().data_ptr()
        plain[name] = copied.clone() if place in places else copied  # safetensors rejects tied weights
        places.add(place)
    return safetensors_file(plain)
