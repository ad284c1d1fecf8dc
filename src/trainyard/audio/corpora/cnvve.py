"""CNVVE: non-verbal voice expressions for controlling a computer (Hedeshy, Menges & Staab, 2023).

Layout: a folder per class, `{class}/{class}_{speaker}_{…}.wav`; 42 speakers, about 950 recordings.
The label is the folder, the group the second part of the name, as `speaker 07`. There is no
official split (its authors cross-validate).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from trainyard.audio.corpora.corpus import Clip, Corpus, assemble, read_names, recordings

LABELS = ("ahem", "confirm", "continuous", "decline", "hush", "psst")

LAYOUT = f"a folder with the folders {', '.join(LABELS)}"
GRAMMAR = f"{{class}}/{{class}}_{{speaker}}_{{…}}.wav, where the folder {{class}} is one of {', '.join(LABELS)}"
EXAMPLE = "ahem/ahem_07_1.wav"


def find(root: Path, classes: Sequence[str] | None = None) -> Corpus:
    """Finds the expressions below `root`; the module docstring has the rules."""
    clips = read_names(root, recordings(root, LAYOUT), _clip, GRAMMAR, EXAMPLE)
    return assemble("cnvve", root, clips, LABELS, classes)


def _clip(path: Path) -> Clip | None:
    folder, parts = path.parent.name.casefold(), path.stem.split("_")
    follows = folder in LABELS and len(parts) >= 2 and parts[1]
    return Clip(path, folder, group=f"speaker {parts[1]}") if follows else None
