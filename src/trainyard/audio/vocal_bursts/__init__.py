"""Synthetic vocal bursts: laughs, cries, sighs and others, by speakers with different voices.

They make it possible to train on audio without a download, on data with the properties of recordings:
different speakers, overlapping classes, noise, varying length and loudness. `kinds` has the parameters of
each kind, `synthesis` creates the waveforms, `corpus` writes them as files. Knows nothing of datasets.
"""

from __future__ import annotations

from trainyard.audio.vocal_bursts.corpus import write_corpus
from trainyard.audio.vocal_bursts.kinds import KINDS
from trainyard.audio.vocal_bursts.synthesis import VERSION, synthesise

__all__ = ["KINDS", "VERSION", "synthesise", "write_corpus"]
