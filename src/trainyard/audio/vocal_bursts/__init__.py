"""Made-up vocal bursts: laughs, cries, sighs and others, of speakers with voices of their own.

So that sound can be trained on without a download, on something that has what recordings have: speakers
who differ, kinds that touch, noise, lengths and loudness. `kinds` says how the kinds differ, `synthesis`
makes the sound, `corpus` writes it as files. Knows nothing of datasets.
"""

from __future__ import annotations

from trainyard.audio.vocal_bursts.corpus import write_corpus
from trainyard.audio.vocal_bursts.kinds import KINDS
from trainyard.audio.vocal_bursts.synthesis import VERSION, synthesise

__all__ = ["KINDS", "VERSION", "synthesise", "write_corpus"]
