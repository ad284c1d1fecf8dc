"""Versions of artifacts as the API gives them: their files, and the runs that made and used them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainyard.api.download import download, target_of
from trainyard.api.files import File, Root, Words, files_of, select
from trainyard.api.transport import Document, Transport

if TYPE_CHECKING:
    from trainyard.api.runs import Run


class Artifact:
    """A version of an artifact. What it holds never changes; its aliases may move.

    Attributes:
        project: the project it is in.
        name: what all its versions are called.
        version: "v0", "v1" …
        type: model, dataset …
        digest: of all that it holds.
        size: bytes of its files.
        metadata: what its maker said of it.
        aliases: other names of this version, such as "latest".
        created: when, ISO-8601 in UTC.
        inputs: paths of the versions that the run which made it had used by then.
    """

    def __init__(self, transport: Transport, document: Document) -> None:
        self._transport = transport
        self._key: str = document["key"]
        self._made_by: str | None = document["made_by"]
        self._used_by: list[str] = document["used_by"]
        self.project: str = document["project"]
        self.name: str = document["name"]
        self.version: str = document["version"]
        self.type: str = document["type"]
        self.digest: str = document["digest"]
        self.size: int = document["size"]
        self.metadata: dict[str, Any] = document["metadata"]
        self.aliases: list[str] = document["aliases"]
        self.created: str = document["created"]
        self.inputs: list[str] = document["inputs"]

    def __repr__(self) -> str:
        return f"<artifact {self.path} {self.type}>"

    @property
    def path(self) -> str:
        """`project/name:version`, which `Api.artifact` finds it by."""
        return f"{self.project}/{self.name}:{self.version}"

    def files(self, names: Words = None, *, pattern: str | None = None) -> list[File]:
        """Its files, by name.

        Args:
            names: only those with these names.
            pattern: only those whose name fits, such as "*.json".

        Raises:
            UserError: a name that no file has.
        """
        files = files_of(self._transport, self._key, f"artifact {self.path}")
        return select(files, f"artifact {self.path}", names=names, kinds=None, pattern=pattern)

    def file(self, name: str) -> File:
        """The file of this name.

        Raises:
            UserError: there is none.
        """
        return self.files(name)[0]

    def download(self, root: Root | None = None, replace: bool = False, exist_ok: bool = False) -> Path:
        """Writes its files into `root` and returns that directory. Nothing is written when one of them cannot be.

        Args:
            root: the directory; None: `artifacts/{name}-{version}` here.
            replace: as `File.download` has it, for each of them; so are `exist_ok` and what is raised.
            exist_ok: see `replace`.
        """
        root = target_of("artifacts", f"{self.name}-{self.version}") if root is None else root
        wanted = [(file.source, target_of(root, file.name)) for file in self.files()]
        download(wanted, replace=replace, exist_ok=exist_ok)
        return Path(root)

    def logged_by(self) -> Run | None:
        """The run that made it; None when it was made outside a run, or the run is gone."""
        return next(self._runs([self._made_by]), None) if self._made_by is not None else None

    def used_by(self) -> list[Run]:
        """The runs that used it and are still there."""
        return list(self._runs(self._used_by))

    def _runs(self, ids: Sequence[str]) -> Iterator[Run]:
        from trainyard.api.runs import Run  # which imports this module: runs and artifacts lead to each other

        for run_id in ids:
            for document in self._transport.list_runs(f'id:"{run_id}"', 0, 1)["runs"]:
                yield Run(self._transport, document)
