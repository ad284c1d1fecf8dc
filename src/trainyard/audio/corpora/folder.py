"""A folder of recordings per class, optionally below `train`, `val` and `test` folders.

For recordings that belong to no corpus: the folder is the label, there are no groups.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from trainyard.audio.corpora.corpus import Corpus
from trainyard.audio.decode import AUDIO_SUFFIXES, is_audio
from trainyard.data.folders import find_in_folders


def find(root: Path, *, classes: Sequence[str] | None = None) -> Corpus:
    """Finds the recordings below the class folders; the corpus is named after the root. See `find_in_folders`.

    Raises:
        DataError: no such folder, no class folders, a class without recordings, classes that do not match.
    """
    names, files, warnings = find_in_folders(root, classes, wanted=is_audio, suffixes=AUDIO_SUFFIXES, noun="recording")
    return Corpus(root.resolve().name, tuple(names), files, warnings)
