"""scikit-learn's handwritten digits: real data that ships with a dependency.

The default dataset: 1,797 grey images of 8 x 8 pixels with values 0 … 16, ten classes, no download.
"""

from __future__ import annotations

import numpy as np
import torch
from sklearn.datasets import load_digits

from trainyard.data.arrays import InMemory, row_digests
from trainyard.data.build import build_dataset
from trainyard.data.dataset import Dataset


def load(
    *, name: str = "digits", val_fraction: float = 0.1, test_fraction: float = 0.2, seed: int = 0, on_leak: str = "warn"
) -> Dataset:
    """Loads the digits as float32 [1, 8, 8] in [0, 1].

    Args:
        name: the dataset's name.
        val_fraction: share of the items for validation.
        test_fraction: share of the items for testing.
        seed: of the split.
        on_leak: "warn", "error" or "drop".
    """
    bunch = load_digits()
    images = np.ascontiguousarray(bunch.images)
    items = torch.from_numpy((images / 16).astype(np.float32)[:, np.newaxis])
    return build_dataset(
        name,
        name,
        [str(label) for label in bunch.target_names],
        [f"digits[{index}]" for index in range(len(images))],
        bunch.target,
        row_digests(images),
        (1, 8, 8),
        InMemory(items).subset,
        val_fraction=val_fraction,
        test_fraction=test_fraction,
        seed=seed,
        on_leak=on_leak,
    )
