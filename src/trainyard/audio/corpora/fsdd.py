"""FSDD, the Free Spoken Digit Dataset: ten digits, six speakers, fifty takes of each.

Layout: `recordings/{digit}_{speaker}_{take}.wav`, or the recordings without that folder. The label
is the digit, the group the speaker. Official split: takes 0 to 4 are test, the others train. Both have
the same speakers; to test on unseen speakers, make splits by group.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from trainyard.audio.corpora.corpus import Clip, Corpus, assemble, read_names, recordings

LABELS = tuple("0123456789")
TEST_TAKES = 5

LAYOUT = "a folder with recordings/{digit}_{speaker}_{take}.wav"
GRAMMAR = "{digit}_{speaker}_{take}.wav"
EXAMPLE = "7_jackson_32.wav"

_NAME = re.compile(r"(?P<digit>\d)_(?P<speaker>[^_]+)_(?P<take>\d+)")


def find(root: Path, classes: Sequence[str] | None = None) -> Corpus:
    """Finds the digits below `root`; the module docstring has the rules."""
    below = root / "recordings"
    paths = recordings(below if below.is_dir() else root, LAYOUT)
    return assemble("fsdd", root, read_names(root, paths, _clip, GRAMMAR, EXAMPLE), LABELS, classes)


def _clip(path: Path) -> Clip | None:
    if match := _NAME.fullmatch(path.stem):
        split = "test" if int(match["take"]) < TEST_TAKES else "train"
        return Clip(path, match["digit"], group=match["speaker"], split=split)
    return None
