"""Synthetic vocal bursts: laughs, cries, sighs and others, by speakers with different voices.

They make it possible to train on audio without a download, on data with the properties of recordings: different
speakers, overlapping classes, noise, varying length and loudness. Knows nothing of files or datasets.
"""

from __future__ import annotations

from trainyard.audio.vocal_bursts.kinds import KINDS
from trainyard.audio.vocal_bursts.synthesis import VERSION, synthesise

__all__ = ["KINDS", "VERSION", "synthesise"]
