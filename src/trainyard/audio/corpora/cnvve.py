"""CNVVE: non-verbal voice expressions for controlling a computer (Hedeshy, Menges & Staab, 2023).

Layout: a folder per class, `{class}/{class}_{speaker}_{…}.wav`; 42 speakers, about 950 recordings.
The label is the folder, the group the second part of the name, as `speaker 07`. There is no
official split (its authors cross-validate).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from trainyard.audio.corpora.corpus import Clip, Corpus, assemble, recordings, refuse_names

LABELS = ("ahem", "confirm", "continuous", "decline", "hush", "psst")

LAYOUT = f"a folder with the folders {', '.join(LABELS)}"
GRAMMAR = f"{{class}}/{{class}}_{{speaker}}_{{…}}.wav, where the folder {{class}} is one of {', '.join(LABELS)}"
EXAMPLE = "ahem/ahem_07_1.wav"


def find(root: Path, *, classes: Sequence[str] | None = None) -> Corpus:
    """Finds the expressions below `root`; the module docstring has the rules.

    Raises:
        DataError: no recordings, a name or folder that does not follow the corpus, or unknown classes.
    """
    clips, bad = [], []
    for path in recordings(root, LAYOUT):
        folder, parts = path.parent.name.casefold(), path.stem.split("_")
        if folder in LABELS and len(parts) >= 2 and parts[1]:
            clips.append(Clip(path, folder, group=f"speaker {parts[1]}"))
        else:
            bad.append(path)
    refuse_names(root, bad, GRAMMAR, EXAMPLE)
    return assemble("cnvve", root, clips, LABELS, classes)
