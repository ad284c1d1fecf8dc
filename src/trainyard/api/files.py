"""Files of runs and artifacts in the API: named, selected, read and downloaded."""

from __future__ import annotations

import functools
import hashlib
import os
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NoReturn

from trainyard.api.download import Source, download, target_of
from trainyard.api.transport import Document, Transport
from trainyard.errors import UserError, YardError
from trainyard.units import human_size
from trainyard.wording import similar

Root = str | os.PathLike[str]
_OF_AN_ARTIFACT = (
    "Log the same content again, which repairs it, or use another version. Writing to a logged file in place causes "
    "this, unless it was logged with copy=True."
)
Words = str | Sequence[str] | None  # one word or several


class File:
    """A file of a run or of a version of an artifact.

    Attributes:
        name: its path inside the run, with "/"; in the `files` layout inside files/, as in Weights & Biases.
        size: bytes.
        digest: SHA-256 in hexadecimal; None for a file that may still change, such as a log being written.
        kind: checkpoint, best, final_predictions, log, extra …; "artifact" in an artifact.
        modified: the time it was written, ISO-8601.
        step: the step of the checkpoint it belongs to; None for other files.
    """

    def __init__(self, transport: Transport, key: str, document: Document, owner: str) -> None:
        self._transport, self._key, self._owner = transport, key, owner
        self.name: str = document["name"]
        self.size: int = document["size"]
        self.digest: str | None = document["sha256"]
        self.kind: str = document["kind"]
        self.modified: str | None = document["modified"]
        self.step: int | None = document.get("step")
        read = functools.partial(transport.read, key, self.name)
        title = f"{self.name} of {owner}"
        remedy = _OF_AN_ARTIFACT if self.kind == "artifact" else Source.remedy
        self.source = Source(title, self.size, self.digest, read, remedy)

    def __repr__(self) -> str:
        return f"<file {self.name} of {self._owner}, {human_size(self.size)}>"

    @property
    def last_name(self) -> str:
        """Its name without the directories."""
        return self.name.rpartition("/")[2]

    def path_here(self) -> Path | None:
        """Its path on this machine; None when the yard is on another."""
        found = self._transport.local_path(self._key, self.name)
        return None if found is None else Path(found)

    @property
    def local_path(self) -> Path:
        """Its path, not to be written to; YardError, which says to `download`, when the yard is on another machine."""
        found = self.path_here()
        return found if found is not None else not_here(repr(self), self._transport.place)

    def verify(self) -> None:
        """Reads it once; CorruptError when it is missing, or has another size or digest than its record."""
        digest = hashlib.sha256()
        for piece in self.source.pieces():
            digest.update(piece)
        self.source.check(digest.hexdigest())

    def read(self) -> bytes:
        """Its bytes; CorruptError when their size or digest differs from the record."""
        data = b"".join(self.source.pieces())
        self.source.check(hashlib.sha256(data).hexdigest())
        return data

    def download(self, root: Root = ".", replace: bool = False, exist_ok: bool = False) -> Path:
        """Writes the file to `root/name` and returns that path. It is complete with the right digest, or not there.

        An interrupted download, even by a kill, continues where it stopped. An existing file with the same bytes is
        not touched.

        Args:
            root: the directory; created if missing.
            replace: replace a different file.
            exist_ok: keep a different file instead, and return its path.

        Raises:
            NameTakenError: a different file exists.
            BadNameError: the file would be outside `root`.
            DiskFullError: the disk is full; the received bytes are kept for the next try.
            CorruptError: the source differs from its record.
        """
        target = target_of(root, self.name)
        download([(self.source, target)], replace=replace, exist_ok=exist_ok)
        return target


def not_here(what: str, place: str) -> NoReturn:
    """Raises the error for a local path of a file in a remote yard."""
    remedy = "Use `download`, and the path that it returns."
    raise YardError(f"{what} has no path on this machine: its yard is {place}.", remedy, value=what, place=place)


def files_of(
    transport: Transport, key: str, owner: str, *, names: Words = None, kinds: Words = None, pattern: str | None = None
) -> list[File]:
    """The files of the run or artifact with this key, by name.

    Only those with one of the names, of one of the kinds, whose name matches the pattern; None: any.

    Raises:
        UserError: no file has one of the names.
    """
    files = [File(transport, key, document, owner) for document in transport.files(key)]
    names, kinds = ((words,) if isinstance(words, str) else words for words in (names, kinds))
    if names is not None:
        for name in set(names).difference(file.name for file in files):
            _unknown(name, [file.name for file in files], owner)
    return [
        file
        for file in files
        if (names is None or file.name in names)
        and (kinds is None or file.kind in kinds)
        and (pattern is None or fnmatchcase(file.name, pattern))
    ]


def _unknown(name: str, there: Sequence[str], owner: str) -> NoReturn:
    parts = {known.rpartition("/")[2]: known for known in there}
    found = similar(name, [*there, *parts], limit=3, cutoff=0.5)
    near = list(dict.fromkeys(parts.get(word, word) for word in found))
    remedy = f"Did you mean {' or '.join(near)}?" if near else "`files()` lists all files."
    raise UserError(f"There is no file {name!r} in {owner}.", remedy, value=name, place=owner)
