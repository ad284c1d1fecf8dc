"""The interface of the API to a store of runs: now a directory, later perhaps a server.

Everything above (`Api`, runs, files, downloads) uses only these methods. They exchange only JSON values and bytes,
so that an implementation over HTTP needs nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Protocol

Document = dict[str, Any]  # JSON: str keys; str, int, float, bool, None, lists and documents as values


class Transport(Protocol):
    """A yard as the API sees it. Every method raises a `TrainyardError` with a remedy when it cannot answer.

    A *key* identifies a run or a version of an artifact; it comes from the document's "key" and is opaque to
    callers.
    """

    @property
    def place(self) -> str:
        """The location, for people: a directory or an address."""
        ...

    def find_run(self, reference: str) -> Document:
        """The run that `reference` names: an id, a name, `project/name`, or with a prefix: `user/project/id`.

        {"key", "id", "name", "project", "dataset", "model", "layout", "state" (the current one), "config", "summary",
        "metrics", "best", "tags", "note", "created", "started", "ended", "seed", "step", "epoch", "size_bytes",
        "warnings", "error"}, described by the attributes of `Run`; and "checkpoints", oldest first:
        [{"step", "epoch", "metrics", "paths": place to path; that of a directory ends in "/"}].

        Raises:
            RunNotFoundError: it matches no run, or several; the remedy suggests similar ones.
        """
        ...

    def list_runs(self, query: str, start: int, count: int) -> Document:
        """{"runs": at most `count` documents in the form of `find_run`, from position `start`, "total": int}.

        QueryError when `query`, in the language of `trainyard runs`, is malformed.
        """
        ...

    def history(self, run: str) -> Iterable[Document]:
        """The valid metric rows of a run, in order: {"step", "epoch", "split", "time", **values}."""
        ...

    def best_checkpoint(self, run: str, every_byte: bool) -> Document | None:
        """The best checkpoint of a run by the monitored metric; the newest complete one if nothing was monitored.

        A checkpoint as in the run's document, and "place": which of its "paths" is complete; published places come
        first. None when the run has no checkpoint. `every_byte` compares SHA-256 too, not only names and sizes.

        Raises:
            CheckpointError: the best one was removed or is damaged, or none is complete.
        """
        ...

    def find_artifact(self, reference: str, project: str | None = None) -> Document:
        """The version of an artifact that `project/name:version` names; without a version, the latest.

        If the reference has no project, `project` is tried first, and then the only project with that name.

        {"key", "project", "name", "version" ("v3"), "type", "digest", "metadata", "aliases", "created",
        "size", "inputs": paths, "made_by": run id or None, "used_by": run ids}.

        Raises:
            UserError: there is no such artifact or version; the remedy lists the existing ones.
        """
        ...

    def run_artifacts(self, run: str) -> Document:
        """{"logged": [...], "used": [...]}: the versions that a run logged and used, in the form of `find_artifact`."""
        ...

    def files(self, key: str) -> list[Document]:
        """The files of a run or an artifact, by name.

        {"name": relative, with "/" and listed once; "size": bytes; "sha256": hexadecimal, or None if the file may
        still change; "kind"; "modified": ISO-8601; "step": of the checkpoint it belongs to, or None}.
        """
        ...

    def read(self, key: str, name: str, start: int) -> Iterator[bytes]:
        """The bytes of a file from `start`, in pieces of any size.

        Raises:
            UserError: the file does not exist, or no longer exists.
            CorruptError: it was recorded but is missing or unreadable.
        """
        ...

    def local_path(self, key: str, name: str) -> str | None:
        """The path of a file of a run or an artifact on this machine; for the name "", the run's home directory.

        None if the yard is on another machine. UserError when the file does not exist.
        """
        ...
