"""Writers of files of tensors, whose failures say what the system said.

Everything they write loads with `torch.load(weights_only=True)` or safetensors. Knows nothing of checkpoints.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from trainyard import durable

FileWriter = Callable[[Path], None]  # writes one file to the given path


def torch_file(value: Any) -> FileWriter:
    """A writer of what `torch.load` reads. Its bytes do not depend on the path it is written to."""

    def write(path: Path) -> None:
        with _system_errors(path), path.open("wb") as file:
            torch.save(value, file)

    return write


def safetensors_file(tensors: Mapping[str, Tensor]) -> FileWriter:
    """A writer of tensors that safetensors and transformers read."""

    def write(path: Path) -> None:
        with _system_errors(path):
            save_file(dict(tensors), path, metadata={"format": "pt"})

    return write


@contextlib.contextmanager
def _system_errors(path: Path) -> Iterator[None]:
    """Brings out what the system said, such as that the disk is full; torch and safetensors wrap it in their own."""
    with durable.explained(path):
        try:
            yield
        except Exception as error:
            said: BaseException | None = error
            while said is not None and not isinstance(said, OSError):
                said = said.__context__
            number = re.search(r"os error (\d+)", str(error))
            if said is None and number is not None:
                said = OSError(int(number[1]), os.strerror(int(number[1])), str(path))
            if said is None or said is error:
                raise
            raise said from error
