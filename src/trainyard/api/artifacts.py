"""Versions of artifacts in the API: their files, and the runs that logged and used them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainyard.api.download import download, target_of
from trainyard.api.files import File, Root, Words, files_of
from trainyard.api.transport import Document, Transport

if TYPE_CHECKING:
    from trainyard.api.runs import Run


class Artifact:
    """A version of an artifact. Its content never changes; its aliases may move.

    Attributes:
        project: the project it is in.
        name: the name of all its versions.
        version: "v0", "v1" …
        type: model, dataset …
        digest: SHA-256 of its content.
        size: bytes of its files.
        metadata: the description given when it was logged.
        aliases: other names of this version, such as "latest".
        created: the time, ISO-8601 in UTC.
        inputs: paths of the versions that its run had used before.
    """

    def __init__(
        self, transport: Transport, document: Document, make_run: Callable[[Transport, Document], Run]
    ) -> None:
        self._transport = transport
        self._make_run = make_run  # handed in: the module of runs imports this one
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
        """`project/name:version`, by which `Api.artifact` finds it."""
        return f"{self.project}/{self.name}:{self.version}"

    def files(self, names: Words = None, *, pattern: str | None = None) -> list[File]:
        """Its files, by name: those with these names, whose name matches the pattern, such as "*.json".

        Raises:
            UserError: no file has one of the names.
        """
        return files_of(self._transport, self._key, f"artifact {self.path}", names=names, pattern=pattern)

    def file(self, name: str) -> File:
        """The file with this name; UserError when there is none."""
        return self.files(name)[0]

    def download(self, root: Root | None = None, replace: bool = False, exist_ok: bool = False) -> Path:
        """Writes its files into `root` and returns that directory. Nothing is written if one of them is refused.

        Without `root` that is `artifacts/{name}-{version}` here. `replace`, `exist_ok` and the exceptions are those
        of `File.download`, for each file.
        """
        root = target_of("artifacts", f"{self.name}-{self.version}") if root is None else root
        wanted = [(file.source, target_of(root, file.name)) for file in self.files()]
        download(wanted, replace=replace, exist_ok=exist_ok)
        return Path(root)

    def logged_by(self) -> Run | None:
        """The run that logged it first; None when it was logged outside a run, or the run was removed."""
        return next(self._runs([self._made_by] if self._made_by is not None else []), None)

    def used_by(self) -> list[Run]:
        """The runs that used it and still exist."""
        return list(self._runs(self._used_by))

    def _runs(self, ids: Sequence[str]) -> Iterator[Run]:
        for run_id in ids:
            for document in self._transport.list_runs(f'id:"{run_id}"', 0, 1)["runs"]:
                yield self._make_run(self._transport, document)
