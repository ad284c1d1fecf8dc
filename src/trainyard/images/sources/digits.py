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
from trainyard.images.schema import DigitsData


def load(data: DigitsData | None = None) -> Dataset:
    """Loads the digits as float32 [1, 8, 8] in [0, 1]."""
    data = data or DigitsData()
    bunch = load_digits()
    images = np.ascontiguousarray(bunch.images)
    items = torch.from_numpy((images / 16).astype(np.float32)[:, np.newaxis])
    return build_dataset(
        data.dataset,
        data.dataset,
        [str(label) for label in bunch.target_names],
        [f"digits[{index}]" for index in range(len(images))],
        bunch.target,
        row_digests(images),
        (1, 8, 8),
        InMemory(items).subset,
        split=data.split,
    )
