"""A network and data of a user's own, as `trainyard.fit` takes them; trained, and killed, in a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

CLASSES = ["circle", "cross", "dot"]
QUIET: dict[str, Any] = {"quiet": True, "plots": False, "tracker": "none", "device": "cpu"}


class Pictures(torch.utils.data.Dataset[tuple[Tensor, int]]):
    """Pictures of 1 x 6 x 6 in three classes, made from their position."""

    def __init__(self, items: int, first: int = 0) -> None:
        self.x, self.y = arrays(items, first)

    def __len__(self) -> int:
        return len(self.y)

    def __getitem__(self, position: int) -> tuple[Tensor, int]:
        return torch.from_numpy(self.x[position]), int(self.y[position])


class SmallCnn(nn.Module):
    """Batch norm and dropout, so that a resume has more to restore than weights."""

    def __init__(self, classes: int = 3, width: int = 4) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, width, 3), nn.BatchNorm2d(width), nn.ReLU(), nn.Dropout(0.2), nn.AdaptiveAvgPool2d(2)
        )
        self.head = nn.Linear(4 * width, classes)

    def forward(self, pictures: Tensor) -> Tensor:
        return self.head(self.body(pictures).flatten(1))


def arrays(items: int, first: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """float32 [N, 1, 6, 6] and int64 [N]."""
    draw = np.random.default_rng(first)
    y = np.arange(items) % 3
    x = draw.normal(size=(items, 1, 6, 6)).astype(np.float32)
    x[np.arange(items), 0, y, y] += 3
    return x, y.astype(np.int64)


def small_cnn(seed: int = 0) -> SmallCnn:
    torch.manual_seed(seed)
    return SmallCnn()


_SCRIPT = """
import os, signal, sys
import torch
torch.set_num_threads(1)
import trainyard
from own_training import CLASSES, QUIET, Pictures, small_cnn
from trainyard.training.step import Step

kill_at, steps, whole = int(sys.argv[2]), 0, Step.__call__

def killing(self, batches):
    global steps
    steps += 1
    if steps == kill_at:
        os.kill(os.getpid(), signal.SIGKILL)
    return whole(self, batches)

Step.__call__ = killing
trainyard.fit(
    small_cnn(), Pictures(60), Pictures(15, 1), Pictures(15, 2), classes=CLASSES, epochs=4, batch_size=8,
    yard=sys.argv[1], every_steps=3, keep_last=None, resume=sys.argv[3] or None, **QUIET,
)
"""


def in_a_process(yard: Path, *, kill_at: int = 0, resume: str = "") -> int:
    """Trains `small_cnn` in a process that kills itself in the n-th step; returns its exit code."""
    paths = [str(Path(__file__).parent), *sys.path]
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT, str(yard), str(kill_at), resume],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode in (0, -signal.SIGKILL), done.stderr
    return done.returncode
