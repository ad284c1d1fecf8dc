"""donateacry: cries of babies, donated and labelled by their parents (2015).

Layout: the cleaned part, `donateacry_corpus_cleaned_and_updated_data`, has a folder per reason; a
name is `{app}-{time}-{version}-{gender}-{age}-{reason}.wav`. The label is the folder; the cleaning
moved some cries to a folder that differs from their reason code (cold and hot went to discomfort).
The group is the app, a UUID created at installation: the closest the names come to identifying a
family. There is no official split. The uploads beside the cleaned part are .3gp and .caf files,
which are not supported.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from trainyard.audio.corpora.corpus import Clip, Corpus, assemble, read_names, recordings

LABELS = ("belly_pain", "burping", "discomfort", "hungry", "tired")

LAYOUT = f"a folder with the folders {', '.join(LABELS)}"
GRAMMAR = (
    f"{{class}}/{{app}}-{{time}}-{{version}}-{{gender}}-{{age}}-{{reason}}.wav, where the folder {{class}} is"
    f" one of {', '.join(LABELS)}, the app a UUID, the gender m or f, the age two digits, the reason two letters"
)
EXAMPLE = "hungry/0c8f14a9-6999-485b-97a2-913c1cbf099c-1430760379259-1.7-m-26-hu.wav"

_NAME = re.compile(
    r"(?P<app>[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})-\d+-\d+(?:\.\d+)*-[mf]-\d\d-[a-z]{2}", re.IGNORECASE
)


def find(root: Path, classes: Sequence[str] | None = None) -> Corpus:
    """Finds the cries below `root`; the module docstring has the rules."""
    clips = read_names(root, recordings(root, LAYOUT), _clip, GRAMMAR, EXAMPLE)
    return assemble("donateacry", root, clips, LABELS, classes)


def _clip(path: Path) -> Clip | None:
    match, folder = _NAME.fullmatch(path.stem), path.parent.name.casefold()
    return Clip(path, folder, group=match["app"].lower()) if match and folder in LABELS else None
