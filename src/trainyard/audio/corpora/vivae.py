"""VIVAE: vocalisations of six emotions in four intensities (Holz, Larrouy-Maestri & Poeppel, 2022).

Layout: `full_set/*.wav`, 1,085 recordings, and `core_set/*.wav`, copies of 480 of them; a name is
`{speaker}_{emotion}_{intensity}_{item}.wav`. The label is the emotion, the group the speaker, S01 to
S11. There is no official split. Where both sets exist, only the full one is used.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from trainyard.audio.corpora.corpus import Clip, Corpus, assemble, counted, read_names, recordings

LABELS = ("achievement", "anger", "fear", "pain", "pleasure", "surprise")
INTENSITIES = ("low", "moderate", "strong", "peak")

LAYOUT = "the folder of VIVAE with full_set/*.wav or core_set/*.wav"
GRAMMAR = (
    "{speaker}_{emotion}_{intensity}_{item}.wav, where the speaker is S and two digits,"
    f" the emotion one of {', '.join(LABELS)}, the intensity one of {', '.join(INTENSITIES)}"
)
EXAMPLE = "S01_achievement_low_01.wav"

_NAME = re.compile(rf"(?P<speaker>S\d\d)_(?P<emotion>{'|'.join(LABELS)})_(?:{'|'.join(INTENSITIES)})_\d+")


def find(root: Path, classes: Sequence[str] | None = None) -> Corpus:
    """Finds the vocalisations below `root`; the module docstring has the rules."""
    paths, notes = recordings(root, LAYOUT), []
    core = [path for path in paths if "core_set" in path.relative_to(root).parts]
    if core and any("full_set" in path.relative_to(root).parts for path in paths):
        notes.append(f"Left out core_set ({counted(len(core))}), which repeats recordings of full_set.")
        paths = sorted(set(paths) - set(core))
    return assemble("vivae", root, read_names(root, paths, _clip, GRAMMAR, EXAMPLE), LABELS, classes, notes)


def _clip(path: Path) -> Clip | None:
    match = _NAME.fullmatch(path.stem)
    return Clip(path, match["emotion"], group=match["speaker"]) if match else None
