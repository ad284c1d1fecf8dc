"""The files of an artifact and their names in it, from mappings, folders and single files.

All faults in them are found here, before anything is written. Does not read the content of files.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath

from trainyard import durable
from trainyard.artifacts.names import check_path
from trainyard.errors import UserError

AnyPath = str | os.PathLike[str]
Files = AnyPath | Mapping[str, AnyPath]


def list_files(files: Files) -> dict[str, Path]:
    """Path in the artifact to regular file (links resolved), sorted by path.

    Args:
        files: a file, which keeps its name; a folder, whose content goes to the top of the artifact; or
            a mapping of names in the artifact to files and folders ("" puts a folder at the top).

    Raises:
        UserError: a file is missing or is not a regular file, or no file was given.
        BadNameError: a name is not valid in an artifact.
    """
    if isinstance(files, Mapping):
        named = [(name, _path(path)) for name, path in files.items()]
    else:
        path = _path(files)
        named = [("" if path.is_dir() else path.name, path)]
    found: dict[str, Path] = {}
    for name, path in named:
        for inner, file in _expanded(name, path):
            check_path(inner)
            if found.setdefault(inner, file) != file:
                what = f"Two files have the name {inner!r} in the artifact: {found[inner]} and {file}."
                raise UserError(what, "Give one of them another name.", value=inner, place=file)
    if not found:
        what = f"{files} is an empty folder" if not isinstance(files, Mapping) else "no file was given"
        raise UserError(f"An artifact cannot be empty: {what}.", "Give at least one file.", value=files)
    for inner in found:
        above = next((str(parent) for parent in PurePosixPath(inner).parents if str(parent) in found), None)
        if above is not None:
            what = f"{above!r} would be both a file of the artifact and the folder of {inner!r}."
            raise UserError(what, "Give one of them another name.", value=above, place=found[above])
    return dict(sorted(found.items()))


def _path(given: object) -> Path:
    if not isinstance(given, str | os.PathLike):
        what = f"A {type(given).__name__} cannot be put into an artifact: it is not a path."
        remedy = "Give a file, a folder, or a mapping {name: file}; run.save_file writes bytes to a file."
        raise UserError(what, remedy, value=given)
    return Path(given)


def _expanded(name: str, path: Path) -> Iterator[tuple[str, Path]]:
    """The file itself; for a folder, every file below it except temporary ones."""
    if not path.is_dir():
        yield name, _regular(path)
        return
    prefix = f"{name.rstrip('/')}/" if name else ""
    for folder, folders, names in os.walk(path):
        folders.sort()
        link = next(filter(os.path.islink, (os.path.join(folder, inner) for inner in folders)), None)
        if link is not None:
            what = f"{link} is a link to a folder; artifacts do not follow such links."
            raise UserError(what, "Name the folder itself in a mapping {name: folder}.", place=link)
        for inner in sorted(names):
            file = Path(folder, inner)
            if not durable.is_temporary(file):
                yield prefix + file.relative_to(path).as_posix(), _regular(file)


def _regular(path: Path) -> Path:
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise _refused(path, str(reason).lower(), "Check the path; nothing was logged.") from None
    if not stat.S_ISREG(mode):
        raise _refused(path, "it is not a regular file", "Leave it out.")
    if not os.access(path, os.R_OK):
        raise _refused(path, "it is not readable", "Fix its permissions.")
    return Path(os.path.realpath(path))  # a hard link to a symbolic link would be a symbolic link


def _refused(path: Path, why: str, remedy: str) -> UserError:
    return UserError(f"{path} cannot be put into an artifact: {why}.", remedy, place=path)
