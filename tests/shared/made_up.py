"""Predictions made up for tests."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from trainyard.analysis.classification.predictions import Predictions

CLASSES = ("joy", "anger", "fear", "love")


def predictions(labels: np.ndarray, predicted: np.ndarray, probabilities: np.ndarray | None = None) -> Predictions:
    """Of items called `item 0`, `item 1` … and `CLASSES`."""
    n = len(labels)
    if probabilities is None:
        probabilities = np.random.default_rng(n).random((n, len(CLASSES)))
    names = tuple(f"item {number}" for number in range(n))
    return Predictions(names, "id", CLASSES, labels, predicted, np.asarray(probabilities, dtype=np.float32))


@st.composite
def found(draw: st.DrawFn, *, multi: bool | None = None, items: int | None = None) -> Predictions:
    """Random predictions, of sets or of one label, with many ties."""
    n = draw(st.integers(1, 12)) if items is None else items
    multi = draw(st.booleans()) if multi is None else multi
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    scores = rng.choice(np.array([0, 0.1, 0.5, 0.9, 1], dtype=np.float32), (n, len(CLASSES)))
    if multi:
        return predictions(rng.random((n, 4)) < 0.4, rng.random((n, 4)) < 0.4, scores)
    return predictions(rng.integers(0, 4, n), scores.argmax(axis=1), scores)
