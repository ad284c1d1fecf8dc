"""Checkpoints as files: committing, publishing, verifying, quarantining. Handles bytes, not tensors."""

from trainyard.checkpoints.formats import FORMATS, Format
from trainyard.checkpoints.reader import Choice, choose, problems, verified_path
from trainyard.checkpoints.writer import FileWriter, commit, publish, quarantine

__all__ = [
    "FORMATS",
    "Choice",
    "FileWriter",
    "Format",
    "choose",
    "commit",
    "problems",
    "publish",
    "quarantine",
    "verified_path",
]
