"""The command line as a user meets it, in this process, and a yard with one run of each kind, trained once.

A command that raises anything but `SystemExit` fails its test: users never see a traceback.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from trainyard.cli.main import main
from trainyard.runs import RunReader
from trainyard.runs import Yard as YardOf
from trainyard.testing import killing

SMALL = ("model=mlp", "model.hidden=[16]", "outputs.plots=false", "run.device=cpu")


@dataclass(frozen=True)
class Outcome:
    """What a command printed and its exit code."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Run = Callable[..., Outcome]


def trainyard(*arguments: object) -> Outcome:
    """Runs `trainyard ARGUMENTS` in this process."""
    out, err = io.StringIO(), io.StringIO()
    before, sys.argv = sys.argv, ["trainyard", *map(str, arguments)]
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                main()
                code: Any = 0
            except SystemExit as end:
                code = end.code
    finally:
        sys.argv = before
    return Outcome(code or 0, out.getvalue(), err.getvalue())


@dataclass(frozen=True)
class Kept:
    """A yard with runs: `done` and `other` finished, `killed` crashed after five checkpoints, `nan` failed."""

    root: Path

    def run(self, name: str) -> RunReader:
        """The only run of that name, as it is now."""
        (home,) = (path.parent for path in self.root.rglob(".run") if path.parent.name == name)
        return RunReader(YardOf(self.root), home)

    def __call__(self, *arguments: object) -> Outcome:
        """Runs a command on this yard."""
        return trainyard(*arguments, "--yard", self.root)


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> Iterator[None]:
    """Small models train faster on one thread, and the same to the last bit."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def _no_yard_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRAINYARD_YARD", raising=False)
    monkeypatch.setenv("COLUMNS", "100")


@pytest.fixture(scope="session")
def diverging(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An .npz in which item `train_images[7]`, and no other, makes any model's loss infinite."""
    path = tmp_path_factory.mktemp("data") / "nan.npz"
    draw = np.random.default_rng(0)
    arrays: dict[str, Any] = {}
    for split, count in (("train", 36), ("val", 9), ("test", 9)):
        arrays[f"{split}_images"] = draw.normal(size=(count, 4, 4)).astype(np.float32)
        arrays[f"{split}_labels"] = np.arange(count) % 3
    arrays["train_images"][7] = 3e38
    np.savez(path, **arrays)
    return path


@pytest.fixture(scope="session")
def kept(tmp_path_factory: pytest.TempPathFactory, diverging: Path) -> Kept:
    """The yard that tests look at and do not change; `yard` is a copy to change."""
    root = tmp_path_factory.mktemp("kept") / "yard"
    common = [*SMALL, "run.project=p", "checkpoint.keep_last=null"]
    assert killing.run(root, [*common, "run.name=killed", "training.epochs=12"], kill_at_call=300) < 0
    found = [
        trainyard("train", *common, "run.name=done", "training.epochs=3", "run.tags=[paper]", "--yard", root),
        trainyard("train", *common, "run.name=other", "training.epochs=1", "layout=dated", "--yard", root),
        trainyard(
            "train", "data=npz", f"data.path={diverging}", *common, "run.name=nan", "training.epochs=2",
            "training.batch_size=4", "--yard", root,
        ),
    ]  # fmt: skip
    assert [outcome.code for outcome in found] == [0, 0, 2], found
    return Kept(root)


@pytest.fixture
def yard(kept: Kept, tmp_path: Path) -> Kept:
    """A copy of the yard, to change."""
    shutil.copytree(kept.root, tmp_path / "yard", symlinks=True)
    return Kept(tmp_path / "yard")


def tree(root: Path) -> dict[str, str]:
    """Every file (its digest) and directory below `root` but for what the yard keeps for itself."""
    found = {}
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if name != ".yard"]
        for name in folders:
            found[str(Path(folder, name).relative_to(root))] = "directory"
        for name in names:
            path = Path(folder, name)
            found[str(path.relative_to(root))] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def flip_a_byte(path: Path, at: int = 100) -> None:
    """Damages a file as a failing disk does: same size, one byte other."""
    data = bytearray(path.read_bytes())
    data[at] ^= 0xFF
    path.unlink()  # other links of the file stay whole
    path.write_bytes(data)
