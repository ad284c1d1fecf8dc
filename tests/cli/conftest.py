from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import killing
import numpy as np
import pytest
import torch

# for command_line, tiny_text and their like, which tests share
from command_line import SMALL, Kept
from PIL import Image


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> Iterator[None]:
    """Small models train faster on one thread, and the same to the last bit as elsewhere."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def _plain_surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An empty current directory, no yard named by the environment, and no terminal."""
    for name in ("TRAINYARD_YARD", "FORCE_COLOR", "TERM"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "100")
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)


@pytest.fixture(scope="session")
def diverging(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An .npz in which `train_images[7]`, and no other item, makes the loss of a wide mlp NaN."""
    path = tmp_path_factory.mktemp("data") / "nan.npz"
    draw = np.random.default_rng(0)
    arrays: dict[str, Any] = {}
    for split, count in (("train", 36), ("val", 9), ("test", 9)):
        arrays[f"{split}_images"] = draw.normal(size=(count, 4, 4)).astype(np.float32)
        arrays[f"{split}_labels"] = np.arange(count) % 3
    arrays["train_images"][7] = 3.4e38  # just finite; sums of it over a layer of 256 are not
    np.savez(path, **arrays)
    return path


@pytest.fixture(scope="session")
def kept(tmp_path_factory: pytest.TempPathFactory, diverging: Path) -> Kept:
    """A yard that tests look at and do not change; `yard` is a copy to change.

    Its runs, oldest first: `killed` (crashed in its sixth epoch of eight), `done` (three epochs, tagged),
    `other` (one epoch, layout dated), and `nan` (failed).
    """
    kept = Kept(tmp_path_factory.mktemp("kept") / "yard")
    common = [*SMALL, "run.project=p", "checkpoint.keep_last=null"]
    crash = [*common, "run.name=killed", "training.epochs=8"]
    assert killing.run(kept.root, crash, kill_at_call=275) < 0
    codes = [
        kept("train", *common, "run.name=done", "training.epochs=3", "run.tags=[paper]", "run.seed=5").code,
        kept("train", *common, "run.name=other", "layout=dated").code,
        kept(
            "train",
            "data=npz",
            f"data.path={diverging}",
            *common,
            "run.name=nan",
            "model.hidden=[256]",
            "training.batch_size=4",
        ).code,
    ]
    assert codes == [0, 0, 2]
    assert len(kept.run("killed").snapshot.checkpoints) == 5
    return kept


@pytest.fixture
def yard(kept: Kept, tmp_path: Path) -> Kept:
    """A copy of the yard, to change. Copied without hard links, as to another disk."""
    shutil.copytree(kept.root, tmp_path / "yard")
    return Kept(tmp_path / "yard")


@pytest.fixture
def empty(tmp_path: Path) -> Kept:
    """A yard that does not exist yet."""
    return Kept(tmp_path / "new" / "yard")


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A folder of three grey images of 8 x 8, one of them in a folder of its own."""
    folder = tmp_path / "images"
    (folder / "more").mkdir(parents=True)
    draw = np.random.default_rng(1)
    for name in ("a.png", "b.png", "more/c.png"):
        Image.fromarray(draw.integers(0, 255, (8, 8), dtype=np.uint8)).save(folder / name)
    return folder
