"""Taking a version's files out of the yard: copied, checked while they are copied, each whole or not at all.

What is there already and right is kept, so that getting again goes on where it stopped. What differs is
never replaced unasked, and everything that is in the way is found before the first byte is written.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from trainyard import durable
from trainyard.artifacts.digests import copy_hashed
from trainyard.artifacts.versions import FileEntry
from trainyard.errors import CorruptError, DiskFullError, UserError, YardError
from trainyard.wording import listed

_NAMED = 3  # files to name in a message


def download(files: Mapping[str, FileEntry], source: Path, root: Path, what: str, *, replace: bool = False) -> None:
    """Puts `files`, which lie in `source`, below `root`.

    Args:
        files: path in the artifact to what it must be.
        source: the directory that holds them.
        root: made when missing.
        what: the version, for messages.
        replace: replace files of these names that differ.

    Raises:
        UserError: a file that differs, or a file where a folder must be, is in the way.
        CorruptError: the yard's copy is damaged; what was whole before it is in place.
        DiskFullError: no room; what is there already is kept for the next time.
    """
    missing = _missing(files, root, what, replace=replace)
    try:
        durable.require_space(root, sum(files[path].size for path in missing))
        for path in missing:
            durable.make_directories((root / path).parent)
            durable.sweep((root / path).parent)
            _fetch(source / path, root / path, files[path], f"{path} of {what}")
    except DiskFullError as error:
        remedy = "Free some space, or get it into a directory of another disk; what is there already is kept."
        raise DiskFullError(error.what, remedy) from error
    except YardError as error:
        raise UserError(error.what, "Choose a directory that you may write to.") from error


def _missing(files: Mapping[str, FileEntry], root: Path, what: str, *, replace: bool) -> list[str]:
    """The files that are not there yet; refuses what is in the way."""
    missing: list[str] = []
    differing: list[Path] = []
    for path, entry in files.items():
        target = root / path
        folder = target.parent
        while not os.path.lexists(folder) and folder != folder.parent:
            folder = folder.parent
        if not folder.is_dir() or target.is_dir():
            blocked = f"{target} is a folder" if target.is_dir() else f"{folder} is no folder"
            raise UserError(
                f"{what} cannot be put below {root}: {blocked}. Nothing was written.",
                "Move it away, or choose another directory.",
            )
        if target.is_file() and target.stat().st_size == entry.size and durable.sha256_file(target) == entry.sha256:
            continue
        missing.append(path)
        if os.path.lexists(target):
            differing.append(target)
    if differing and not replace:
        raise UserError(
            f"{listed(list(map(str, differing)), _NAMED)} {'is' if len(differing) == 1 else 'are'} there already "
            f"and not what {what} has. Nothing was written.",
            "Choose another directory, or replace them: --replace, in Python replace=True.",
        )
    return missing


def _fetch(source: Path, target: Path, entry: FileEntry, what: str) -> None:
    with durable.replacing(target) as written:
        try:
            found = copy_hashed(source, written)
        except FileNotFoundError:
            if source.exists():
                raise
            raise damaged(what, f"{source} is missing") from None
        if found != entry.sha256:
            raise damaged(what, f"{source} has other bytes than were logged (SHA-256 differs)")


def damaged(what: str, why: str) -> CorruptError:
    """The error for a stored file that is not what it was."""
    return CorruptError(
        f"{what} is damaged: {why}. It was not handed out.",
        "Log the same content again, which mends it, or use another version; a file that is written in place after "
        "it was logged does this, unless it is logged with copy=True.",
    )
