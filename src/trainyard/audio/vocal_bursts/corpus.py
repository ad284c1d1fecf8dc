"""Writes vocal bursts as a folder of recordings per kind, like a corpus of real recordings.

For trying out code that reads files, and for listening. The directory appears complete or not at all.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from trainyard.audio.vocal_bursts.kinds import KINDS
from trainyard.audio.vocal_bursts.synthesis import synthesise
from trainyard.durable import explained, make_directories, temporary
from trainyard.errors import ConfigError, DataError


def write_corpus(directory: Path, *, speakers: int, takes: int, seed: int = 0, sample_rate: int = 16000) -> list[Path]:
    """Writes `speakers` * `takes` recordings of every kind, 16-bit mono; laugh/s03_02.wav is take 2 of speaker 3.

    The same arguments write the same bytes.

    Args:
        directory: created here; must not exist yet.
        speakers: number of speakers, numbered from 0.
        takes: recordings of each kind by each speaker, numbered from 0.
        seed: of the set of speakers.
        sample_rate: Hz.

    Returns:
        The files, in the order of kinds, speakers and takes.

    Raises:
        ConfigError: soundfile is missing.
        DataError: the directory already exists.
    """
    try:
        import soundfile
    except (ImportError, OSError) as error:  # OSError: soundfile cannot load libsndfile
        raise ConfigError(
            [f"writing recordings needs soundfile, which cannot be imported: {error}"],
            "Install it with: pip install 'trainyard[audio]'",
        ) from error
    directory = Path(directory)
    if os.path.lexists(directory):
        raise DataError(
            f"{directory} already exists; vocal bursts are written into a new directory.",
            "Choose a directory that does not exist, or remove this one.",
            place=directory,
        )
    names = []
    make_directories(directory.parent)
    staged = temporary(directory.parent)
    with explained(directory):
        try:
            for kind in KINDS:
                (staged / kind).mkdir(parents=True)
                for speaker in range(speakers):
                    for take in range(takes):
                        name = f"{kind}/s{speaker:02d}_{take:02d}.wav"
                        sound = synthesise(kind, speaker, take, seed=seed, sample_rate=sample_rate)
                        soundfile.write(staged / name, sound, sample_rate, subtype="PCM_16")
                        names.append(name)
            staged.rename(directory)
        except BaseException:
            shutil.rmtree(staged, ignore_errors=True)
            raise
    return [directory / name for name in names]
