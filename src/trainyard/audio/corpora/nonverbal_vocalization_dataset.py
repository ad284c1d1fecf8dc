"""The Nonverbal Vocalization Dataset of Deeply: 16 sounds of the mouth, nose and throat, crowdsourced.

Layout: a folder per class; a name is
`{speaker}_{class}_{trial}_{sex}_{age}_{location}_{quality}_{noise}.wav`, where the class is a number
from 0 to 15. The label is that number's class; a class folder must agree with it. The group is the
speaker. There is no official split.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from trainyard.audio.corpora.corpus import Clip, Corpus, assemble, read_names, recordings

LABELS = (
    "teeth-chattering",
    "teeth-grinding",
    "tongue-clicking",
    "nose-blowing",
    "coughing",
    "yawning",
    "throat-clearing",
    "sighing",
    "lip-popping",
    "lip-smacking",
    "panting",
    "crying",
    "laughing",
    "sneezing",
    "moaning",
    "screaming",
)

LAYOUT = "a folder with the folders coughing, crying, laughing …"
GRAMMAR = (
    "{class}/{speaker}_{class number}_{trial}_{sex}_{age}_{location}_{quality}_{noise}.wav,"
    f" where the number is the position of the class in {', '.join(LABELS)}"
)
EXAMPLE = "coughing/0C1S_4_8_0_27_0_1_1.wav"

_NAME = re.compile(r"(?P<speaker>[A-Za-z0-9]+)_(?P<class>\d{1,2})_\d+_[01]_\d{1,3}_[01]_[01]_[01]")


def find(root: Path, classes: Sequence[str] | None = None) -> Corpus:
    """Finds the vocalisations below `root`; the module docstring has the rules."""
    clips = read_names(root, recordings(root, LAYOUT), _clip, GRAMMAR, EXAMPLE)
    return assemble("nonverbal_vocalization_dataset", root, clips, LABELS, classes)


def _clip(path: Path) -> Clip | None:
    match = _NAME.fullmatch(path.stem)
    if match is None or int(match["class"]) >= len(LABELS):
        return None
    label, folder = LABELS[int(match["class"])], path.parent.name.casefold().replace(" ", "-")
    return Clip(path, label, group=match["speaker"].upper()) if folder == label or folder not in LABELS else None
