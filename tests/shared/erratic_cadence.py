"""Checkpoints at unforeseeable steps, in a process started for a test."""

from __future__ import annotations

import random

from trainyard.running import attempt
from trainyard.training.cadence import Cadence


class Erratic(Cadence):
    """Due by chance, with a generator of its own: a short training has a few checkpoints, at other steps each time."""

    _dice = random.Random()

    def is_due(self) -> bool:
        return self._dice.random() < 0.08


def install() -> None:
    """Has `checkpoint.every=auto` use `Erratic` in this process."""
    attempt.Cadence = Erratic  # type: ignore[misc]
