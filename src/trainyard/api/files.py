"""Files of runs and artifacts as the API gives them: named, chosen, read and downloaded."""

from __future__ import annotations

import difflib
import functools
import hashlib
import os
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NoReturn

from trainyard.api.download import Source, download, target_of
from trainyard.api.transport import Document, Transport
from trainyard.errors import UserError
from trainyard.units import human_size

Words = str | Sequence[str] | None  # one or several


class ApiFile:
    """A file of a run or of a version of an artifact.

    Attributes:
        name: its path inside the run, with "/"; in the `files` layout inside files/, as Weights & Biases has it.
        size: bytes.
        digest: SHA-256 in hexadecimal; None for a file that may still change, such as a log being written.
        kind: what it is: checkpoint, best, final_predictions, log, extra …; "artifact" in an artifact.
        modified: when it was written, ISO-8601.
        step: the step of the checkpoint it belongs to; None for other files.
    """

    def __init__(self, transport: Transport, key: str, document: Document, owner: str) -> None:
        self._owner = owner
        self.name: str = document["name"]
        self.size: int = document["size"]
        self.digest: str | None = document["sha256"]
        self.kind: str = document["kind"]
        self.modified: str | None = document["modified"]
        self.step: int | None = document.get("step")
        read = functools.partial(transport.read, key, self.name)
        self.source = Source(f"{self.name} of {owner}", self.size, self.digest, read)

    def __repr__(self) -> str:
        return f"<file {self.name} of {self._owner}, {human_size(self.size)}>"

    def read(self) -> bytes:
        """Its bytes, checked against size and digest.

        Raises:
            CorruptError: they are not what was recorded.
        """
        data = b"".join(self.source.pieces())
        self.source.check(hashlib.sha256(data).hexdigest())
        return data

    def download(self, root: str | os.PathLike[str] = ".", replace: bool = False, exist_ok: bool = False) -> Path:
        """Writes the file to `root/name` and returns that path. All of it is there with the right digest, or nothing.

        A download that was cut off, by a kill too, goes on where it ended. A file that is there already with the
        same bytes is left as it is.

        Args:
            root: the directory; made when missing.
            replace: put it in the place of a different file.
            exist_ok: keep a different file instead, and return its path.

        Raises:
            NameTakenError: a different file is there.
            BadNameError: the name would leave `root`.
            DiskFullError: no room; what arrived is kept for the next try.
            CorruptError: the source is not what was recorded.
        """
        target = target_of(root, self.name)
        download([(self.source, target)], replace=replace, exist_ok=exist_ok)
        return target


def files_of(transport: Transport, key: str, owner: str) -> list[ApiFile]:
    """The files of the run or artifact with this key, by name."""
    return [ApiFile(transport, key, document, owner) for document in transport.files(key)]


def chosen(files: Iterable[ApiFile], owner: str, *, names: Words, kinds: Words, pattern: str | None) -> list[ApiFile]:
    """The files with one of the names, of one of the kinds, whose name fits the pattern; None: any.

    Raises:
        UserError: there is no file of a name.
    """
    files = list(files)
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
    near = difflib.get_close_matches(name, [*there, *parts], n=3, cutoff=0.5)
    near = list(dict.fromkeys(parts.get(word, word) for word in near))
    raise UserError(
        f"There is no file {name!r} in {owner}.",
        f"Did you mean {' or '.join(near)}?" if near else "`files()` lists what there is.",
    )
