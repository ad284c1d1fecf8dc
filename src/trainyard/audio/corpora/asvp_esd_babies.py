"""The babies of ASVP-ESD: the folder `Bonus`, and the recordings whose age field is 04.

Names, labels and what is left out are those of `asvp_esd`. The group is the actor field, of which this
part has only three values: each covers many babies, but the names say nothing more precise.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from trainyard.audio.corpora.asvp_esd import find_emotions
from trainyard.audio.corpora.corpus import Corpus


def find(root: Path, *, classes: Sequence[str] | None = None) -> Corpus:
    """Finds the sounds of babies that are not speech; `root` is the whole corpus or its Bonus folder.

    Raises:
        DataError: no recordings, no name that follows the grammar, or unknown classes.
    """
    return find_emotions("asvp_esd_babies", root, classes, babies=True)
