"""The babies of ASVP-ESD: the folder `Bonus`, or the recordings whose age field is 04.

Names, labels and what is passed over are those of `asvp_esd`. The group is the actor field, of
which this part has three only: an actor here gathers many babies, but nothing finer is known.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from trainyard.audio.corpora.asvp_esd import find_emotions
from trainyard.audio.corpora.corpus import Corpus


def find(root: Path, *, classes: Sequence[str] | None = None) -> Corpus:
    """The sounds of babies that are not speech; `root` is the whole corpus or its Bonus folder.

    Raises:
        DataError: no recordings, no name that follows the grammar, or classes that are not there.
    """
    return find_emotions("asvp_esd_babies", root, classes, babies=True)
