"""ASVP-ESD: emotional sounds from films, shows and the web (Landry, He & Xie, 2020), and its babies.

Layout: `Audio/actor_N/*.wav`; the sounds of babies are in `Bonus/actor_N/*.wav`. A name consists of numbers
joined by dashes: modality (03 sound), vocal channel (01 speech, 02 not speech), emotion (01-13),
intensity, statement, actor, age (04 baby), source, language, then notes (66 mixed voices, 77 loud
noise …); everything after the age may be missing. Speech is left out.

The label is the emotion, the group the actor, as `actor 12`. There is no official split. The files were named by
hand and not all names follow the grammar: those that do not are left out and counted in a warning. Of the babies the
actor field has only three values: each covers many babies, but the names say nothing more precise.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from trainyard.audio.corpora.corpus import Clip, Corpus, assemble, counted, recordings, refuse_names
from trainyard.wording import listed

EMOTIONS = {
    "01": "boredom_sigh",
    "02": "neutral_calm",
    "03": "happy_laugh_gaggle",
    "04": "sad_cry",
    "05": "angry_grunt_frustration",
    "06": "fearful_scream_panic",
    "07": "disgust_dislike_contempt",
    "08": "surprised_gasp_amazed",
    "09": "excited",
    "10": "pleasure",
    "11": "pain_groan",
    "12": "disappointment_disapproval",
    "13": "breath",
    # In the notes at the end of a name 17 means disgust; some names use it as the emotion too.
    "17": "disgust_dislike_contempt",
}
LABELS = tuple(dict.fromkeys(EMOTIONS.values()))

LAYOUT = "the folder of ASVP-ESD with Audio/actor_N/*.wav, and Bonus/actor_N/*.wav for the babies"
GRAMMAR = "modality-channel-emotion-intensity-statement-actor-age[-source[-language[-notes…]]].wav, all numbers"
EXAMPLE = "03-02-06-01-02-12-02-01-01-16.wav"

_NAME = re.compile(
    r"(?P<modality>\d\d)-(?P<channel>\d\d)-(?P<emotion>\d\d)-(?P<intensity>\d\d)-(?P<statement>\d+)"
    r"-(?P<actor>\d+)-(?P<age>\d\d)(?:-\d+)*"
)
_SPEECH = "01"
_BABY = "04"


def find(root: Path, classes: Sequence[str] | None = None) -> Corpus:
    """Finds the sounds that are neither speech nor of babies; the module docstring has the rules."""
    return _find("asvp_esd", root, classes, babies=False)


def find_babies(root: Path, classes: Sequence[str] | None = None) -> Corpus:
    """Finds the sounds of babies that are not speech; `root` is the whole corpus or its Bonus folder."""
    return _find("asvp_esd_babies", root, classes, babies=True)


def _find(name: str, root: Path, classes: Sequence[str] | None, *, babies: bool) -> Corpus:
    """Finds the recordings of babies, or all others.

    A recording is of a baby when the root or a folder between it and the file is named Bonus or has
    baby or babies in its name, or when its age field is 04.
    """
    paths = recordings(root, LAYOUT)
    clips, malformed, unknown, speech, others = [], [], [], 0, 0
    for path in paths:
        match = _NAME.fullmatch(path.stem)
        if match is None:
            malformed.append(path)
        elif match["channel"] == _SPEECH:
            speech += 1
        elif (match["age"] == _BABY or _of_babies(root, path)) != babies:
            others += 1
        elif match["emotion"] not in EMOTIONS:
            unknown.append(path)
        else:
            clips.append(Clip(path, EMOTIONS[match["emotion"]], group=f"actor {int(match['actor'])}"))
    if len(malformed) == len(paths):
        refuse_names(root, malformed, GRAMMAR, EXAMPLE)
    notes = [
        f"Left out {counted(len(found))} whose {why}: {listed([p.relative_to(root).as_posix() for p in found], 3)}."
        for found, why in ((malformed, f"names do not follow {GRAMMAR}"), (unknown, "emotion is not one of 01 to 13"))
        if found
    ]
    if speech:
        notes.append(f"Left out {counted(speech)} of speech.")
    if others:
        other = "not of babies (data=asvp_esd)" if babies else "of babies (data=asvp_esd_babies)"
        notes.append(f"Left out {counted(others)} {other}.")
    return assemble(name, root, clips, LABELS, classes, notes)


def _of_babies(root: Path, path: Path) -> bool:
    folders = [root.resolve().name, *path.relative_to(root).parts[:-1]]
    return any(name.casefold() == "bonus" or re.search("bab(y|ies)", name.casefold()) for name in folders)
