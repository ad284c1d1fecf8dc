"""What the API asks of wherever runs are kept: a directory now, a server one day.

Everything above (`Api`, runs, files, downloads) uses these methods alone, and only values that JSON can hold
and bytes pass through them, so that an implementation over HTTP needs nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Protocol

Document = dict[str, Any]  # JSON: str keys; str, int, float, bool, None, lists and documents as values


class Transport(Protocol):
    """A yard as the API sees it. Every method raises a `TrainyardError` with a remedy when it cannot answer.

    A *key* names a run or a version of an artifact; it comes from the document's "key" and means nothing else
    to a caller.
    """

    @property
    def place(self) -> str:
        """Where this is, for people: a directory or an address."""
        ...

    def find_run(self, reference: str) -> Document:
        """The run that `reference` names: an id, a name, `project/name`, or with more before that: `user/project/id`.

        {"key", "id", "name", "project", "dataset", "model", "layout", "state" (as it is now), "config", "summary",
        "metrics", "best", "tags", "note", "created", "started", "ended", "seed", "step", "epoch", "size_bytes",
        "warnings", "error"}: what the attributes of `Run` say of them; and "checkpoints", oldest first:
        [{"step", "epoch", "metrics", "paths": place to path; that of a directory ends in "/"}].

        Raises:
            RunNotFoundError: it matches no run, or more than one; suggests which run may be meant.
        """
        ...

    def list_runs(self, query: str, start: int, count: int) -> Document:
        """{"runs": at most `count` documents as `find_run` has them from position `start` on, "total": int}.

        Raises:
            QueryError: `query`, in the language of `trainyard runs`, cannot be read.
        """
        ...

    def history(self, run: str) -> Iterable[Document]:
        """The metric rows of a run that count, in order: {"step", "epoch", "split", "time", **values}."""
        ...

    def best_checkpoint(self, run: str, every_byte: bool) -> Document | None:
        """The best checkpoint of a run by the monitored metric; the newest whole one when nothing was monitored.

        Args:
            run: the run's key.
            every_byte: compare the SHA-256 of every file with the recorded one, not only names and sizes.

        Returns:
            A checkpoint as in the run's document, and "place": which of its "paths" is whole. A published
            place comes first. None when the run has no checkpoint.

        Raises:
            CheckpointError: the best one was removed or is damaged, or none is whole.
        """
        ...

    def find_artifact(self, reference: str, project: str | None = None) -> Document:
        """The version of an artifact that `project/name:version` names; without a version, the latest.

        Where the reference has no project, `project` comes first, and then whichever one alone has the name.

        {"key", "project", "name", "version" ("v3"), "type", "digest", "metadata", "aliases", "created",
        "size", "inputs": paths, "made_by": run id or None, "used_by": run ids}.

        Raises:
            UserError: there is no such artifact or version; lists what there is.
        """
        ...

    def run_artifacts(self, run: str) -> Document:
        """{"logged": [...], "used": [...]}: the versions a run made and used, as `find_artifact` has them."""
        ...

    def files(self, key: str) -> list[Document]:
        """The files of a run or an artifact, by name.

        {"name": relative, with "/" and listed once; "size": bytes; "sha256": hexadecimal, or None where the file may
        still change; "kind"; "modified": ISO-8601; "step": of the checkpoint it belongs to, or None}.
        """
        ...

    def read(self, key: str, name: str, start: int) -> Iterator[bytes]:
        """The bytes of a file from `start` on, in pieces of the implementation's choice.

        Raises:
            UserError: there is no such file (any more).
            CorruptError: it was recorded but is missing or unreadable.
        """
        ...

    def local_path(self, key: str, name: str) -> str | None:
        """Where a file of a run or an artifact is on this machine; with the name "", the run's home directory.

        None where the yard is on another machine, whatever that machine says its paths are.

        Raises:
            UserError: there is no such file (any more).
        """
        ...
