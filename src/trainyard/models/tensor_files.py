"""Writers of files of tensors that raise the system's own error when they fail.

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


def torch_file(value: Any) -> Callable[[Path], None]:
    """A writer of a file for `torch.load`. Its bytes do not depend on the path it is written to."""

    def write(path: Path) -> None:
        with _system_errors(path), path.open("wb") as file:
            torch.save(value, file)

    return write


def safetensors_file(tensors: Mapping[str, Tensor]) -> Callable[[Path], None]:
    """A writer of tensors that safetensors and transformers read."""

    def write(path: Path) -> None:
        with _system_errors(path):
            save_file(dict(tensors), path, metadata={"format": "pt"})

    return write


@contextlib.contextmanager
def _system_errors(path: Path) -> Iterator[None]:
    """Raises the system's error, such as a full disk, which torch and safetensors wrap in their own errors."""
    with durable.explained(path):
        try:
            yield
        except Exception as error:
            cause: BaseException | None = error
            while cause is not None and not isinstance(cause, OSError):
                cause = cause.__context__
            number = re.search(r"os error (\d+)", str(error))
            if cause is None and number is not None:
                cause = OSError(int(number[1]), os.strerror(int(number[1])), str(path))
            if cause is None or cause is error:
                raise
            raise cause from error
