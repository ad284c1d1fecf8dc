"""Checkpoints in the API: their files and contents.

Imports torch only when tensors are read.
"""

from __future__ import annotations

import contextlib
import io
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainyard.api.download import download, target_of
from trainyard.api.files import File, Root
from trainyard.api.transport import Document
from trainyard.errors import CheckpointError, ConfigError, TrainyardError, UserError

if TYPE_CHECKING:
    from trainyard.api.runs import Run

_WEIGHTS = "pytorch_model.bin"  # transformers' name for the model's weights, like model.safetensors


class Checkpoint:
    """A checkpoint of a run, in one of the places it was written to.

    Attributes:
        step: optimizer steps done.
        epoch: epochs done.
        metrics: saved with it.
    """

    def __init__(self, run: Run, document: Document, place: str) -> None:
        self._run, self._place = run, place
        self._path: str = document["paths"][place]
        self.step: int = document["step"]
        self.epoch: float = document["epoch"]
        self.metrics: dict[str, float] = document["metrics"]

    def __repr__(self) -> str:
        return f"<checkpoint of step {self.step} of run {self._run.path}>"

    @property
    def is_one_file(self) -> bool:
        """Whether it is a file, not a directory."""
        return not self._path.endswith("/")

    @property
    def local_path(self) -> Path:
        """The path of its file or directory on this machine. Do not write there.

        Raises:
            YardError: the yard is on another machine; use `download`.
        """
        path = self._any_file().local_path
        return path if self.is_one_file else path.parent

    def files(self) -> list[File]:
        """Its files: one, or those of its directory."""
        return [file for file in self._run.files(kinds=self._place) if file.step == self.step]

    def _any_file(self) -> File:
        for file in self.files():
            return file
        raise UserError(
            f"{self!r} has no files any more.",
            "`checkpoints()` lists the current ones.",
            value=self.step,
            place=self._path,
        )

    def download(self, root: Root | None = None, replace: bool = False, exist_ok: bool = False) -> Path:
        """Writes its files directly into `root`; returns the path to load: that directory, or the single file.

        Args:
            root: the directory; None: one here with the checkpoint's own name (a single file: here).
            replace: as in `File.download`, for each file; so are `exist_ok` and the exceptions.
            exist_ok: see `replace`.
        """
        if root is None:
            root = "." if self.is_one_file else target_of(".", self._path.rstrip("/").rpartition("/")[2])
        self._any_file()
        wanted = [(file.source, target_of(root, _last(file.name))) for file in self.files()]
        download(wanted, replace=replace, exist_ok=exist_ok)
        return wanted[0][1] if self.is_one_file else Path(root)

    def load(self) -> dict[str, Any]:
        """The content given to `save_checkpoint`, with tensors on the CPU. Every byte is verified first.

        For a checkpoint that is a directory, each file of tensors is an entry: the weights are "model", and
        `optimizer.pt` is "optimizer".

        Raises:
            CorruptError: a file is missing or differs from its record; `place` names it.
            CheckpointError: a file does not contain tensors; `place` names it.
            ConfigError: PyTorch is not installed.
        """
        if self.is_one_file:
            whole: dict[str, Any] = load_tensors(self._any_file())
            return whole
        loaded: dict[str, Any] = {}
        for file in self.files():
            name = _last(file.name)
            stem, _, suffix = name.rpartition(".")
            if suffix == "safetensors":  # a single file, or the shards of frozen and trained weights
                loaded.setdefault("model", {}).update(load_tensors(file))
            elif suffix in ("pt", "pth", "bin"):
                loaded["model" if name == _WEIGHTS else stem] = load_tensors(file)
        return loaded


def load_tensors(file: File) -> Any:
    """The content of a file of `torch.save` or safetensors, on the CPU, verified by its digest; runs no code.

    Raises:
        CorruptError: it differs from its record.
        CheckpointError: it contains something other than tensors and plain values.
        ConfigError: PyTorch is not installed.
    """
    try:
        import torch
        from safetensors.torch import load, load_file
    except ImportError:
        raise ConfigError(
            [f"reading {file!r} needs PyTorch, which is not installed"], "Run `pip install 'trainyard[train]'`."
        ) from None
    path = file.path_here()
    if path is not None:
        file.verify()  # then read in place, so that a large file is in memory only once
    data = b"" if path is not None else file.read()
    with _explained(file):
        if file.name.endswith(".safetensors"):
            return load_file(path) if path is not None else load(data)
        return torch.load(path if path is not None else io.BytesIO(data), map_location="cpu", weights_only=True)


@contextlib.contextmanager
def _explained(file: File) -> Iterator[None]:
    """Turns any error of the readers of a foreign file into a CheckpointError that names it."""
    try:
        yield
    except TrainyardError:
        raise
    except Exception as error:
        # torch's message about an unpickling error explains how to run the code in the file
        unsafe = isinstance(error, pickle.UnpicklingError | LookupError | EOFError)
        reason = "it is not a file of tensors" if unsafe else f"{type(error).__name__}: {error}".splitlines()[0]
        raise CheckpointError(
            f"{file!r} cannot be read: {reason}.", "Choose another of `checkpoints()`.", place=file.source.title
        ) from error


def _last(name: str) -> str:
    return name.rpartition("/")[2]
