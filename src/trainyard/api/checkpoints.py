"""Checkpoints in the API: their files and contents. Needs torch only when tensors are read."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainyard.api.download import download, target_of
from trainyard.api.files import File, Root
from trainyard.api.transport import Document
from trainyard.errors import UserError
from trainyard.tensors import explained, read_tensors

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
        """The path of its file or directory, not to be written to; YardError when the yard is on another machine."""
        path = self._present()[0].local_path
        return path if self.is_one_file else path.parent

    def files(self) -> list[File]:
        """Its files: one, or those of its directory."""
        return [file for file in self._run.files(kinds=self._place) if file.step == self.step]

    def _present(self) -> list[File]:
        """Its files, of which there is at least one."""
        found = self.files()
        if not found:
            remedy = "`checkpoints()` lists the current ones."
            raise UserError(f"{self!r} has no files any more.", remedy, value=self.step, place=self._path)
        return found

    def download(self, root: Root | None = None, replace: bool = False, exist_ok: bool = False) -> Path:
        """Writes its files directly into `root`; returns the path to load: that directory, or the single file.

        Without `root` that is a directory here with the checkpoint's own name (for a single file: this one).
        `replace`, `exist_ok` and the exceptions are those of `File.download`, for each file.
        """
        if root is None:
            root = "." if self.is_one_file else target_of(".", self._path.rstrip("/").rpartition("/")[2])
        wanted = [(file.source, target_of(root, file.last_name)) for file in self._present()]
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
        files = self._present()
        if self.is_one_file:
            whole: dict[str, Any] = _content(files[0])
            return whole
        loaded: dict[str, Any] = {}
        for file in files:
            stem, _, suffix = file.last_name.rpartition(".")
            if suffix == "safetensors":  # a single file, or the shards of frozen and trained weights
                loaded.setdefault("model", {}).update(_content(file))
            elif suffix in ("pt", "pth", "bin"):
                loaded["model" if file.last_name == _WEIGHTS else stem] = _content(file)
        return loaded


def _content(file: File) -> Any:
    """The content of a file of tensors, whose bytes are verified."""
    path = file.path_here()
    if path is not None:
        file.verify()  # then read in place, so that a large file is in memory only once
    with explained(repr(file), "Choose another of `checkpoints()`.", file.source.title):
        return read_tensors(file.read() if path is None else path, file.name)
