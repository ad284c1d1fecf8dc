"""`Api`: the runs and artifacts of a yard for scripts and notebooks, wherever the yard is."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import overload

from trainyard.api.artifacts import Artifact
from trainyard.api.directory import DirectoryTransport, default_yard
from trainyard.api.filters import Filters, to_text
from trainyard.api.runs import Run
from trainyard.api.transport import Document, Transport
from trainyard.errors import YardError

_LARGEST_PAGE = 1000  # runs


def open_yard(yard_or_url: str | os.PathLike[str] | None = None) -> Api:
    """A yard to read: its runs, their history, files and checkpoints, and its artifacts; arguments as of `Api`.

    for run in trainyard.open("outputs").runs("state:finished sort:-summary.test_accuracy"):
        print(run.name, run.summary, run.best_checkpoint())
    """
    return Api(yard_or_url)


class Api:
    """Reads a yard: its runs, their files, and artifacts. Writes only the index there, which is disposable.

    `trainyard.open` returns one, too. Works on read-only copies, and imports torch only to load tensors.

        api = trainyard.Api()
        run = api.run("emotions/k3v9x0aq")
        for file in run.files():
            if "pytorch_model.bin" in file.name:
                file.download(root="./checkpoint")

    Args:
        yard_or_url: the directory of runs; None: TRAINYARD_YARD or `outputs`. Or your own transport.

    Raises:
        YardError: there is no yard, or it is an HTTP URL, which is not supported yet.
    """

    def __init__(self, yard_or_url: str | os.PathLike[str] | Transport | None = None) -> None:
        self._transport = _transport(yard_or_url)

    def __repr__(self) -> str:
        return f"Api({self._transport.place!r})"

    def run(self, path: str) -> Run:
        """The run that `path` names: `project/id`, `project/name`, an id, a name, or "last".

        Of a longer path such as `user/project/id`, the last two parts are used.

        Raises:
            RunNotFoundError: it matches no run, or several; the remedy suggests similar ones.
        """
        return Run(self._transport, self._transport.find_run(path))

    def runs(
        self, filters: Filters | None = None, *, order: str | Sequence[str] | None = None, per_page: int = 50
    ) -> Runs:
        """The runs that match the filters, newest first unless ordered; fetched a page at a time as they are used.

        Args:
            filters: as for `trainyard runs`, "state:finished summary.test_accuracy>0.9", or as a dictionary:
                {"state": "finished", "config.training.learning_rate": {"$lt": 0.01}} ($lte, $gt, $gte, $ne, $in,
                $nin, $exists and $and, too).
            order: fields to sort by, with "-" for descending order: "-summary.test_accuracy".
            per_page: runs fetched at first; pages grow as more are used.

        Raises:
            QueryError: they are malformed, or name a field that no run has.
        """
        return Runs(self._transport, to_text(filters, order), per_page)

    def artifact(self, reference: str) -> Artifact:
        """The version of an artifact that `project/name:version` names; without a version, the latest.

        The version is "v3", "latest", "best" or your own alias; the project may be omitted if only one project
        has an artifact of that name.

        Raises:
            UserError: there is no such artifact or version; the remedy lists the existing ones.
        """
        return Artifact(self._transport, self._transport.find_artifact(reference), Run)

    def use_artifact(self, reference: str) -> Artifact:
        """The same as `artifact`; only a run that is being written records the use."""
        return self.artifact(reference)


class Runs(Sequence[Run]):
    """Runs, fetched a page at a time as they are used. `len` is their number when this object was created."""

    def __init__(self, transport: Transport, query: str, per_page: int) -> None:
        self._transport, self._query, self._per_page = transport, query, max(per_page, 1)
        self._runs: dict[str, Run] = {}  # by key: a run created meanwhile shifts others to the next page
        self._position = 0
        self._total: int = self._fetch()["total"]

    def __repr__(self) -> str:
        return f"<{self._total} runs>"

    def _fetch(self) -> Document:
        page = self._transport.list_runs(self._query, self._position, self._per_page)
        self._position += len(page["runs"])
        larger = min(2 * self._per_page, _LARGEST_PAGE)  # for those who read many runs
        self._per_page = max(self._per_page, larger)
        for document in page["runs"]:
            self._runs.setdefault(document["key"], Run(self._transport, document))
        return page

    def __len__(self) -> int:
        return self._total

    def __iter__(self) -> Iterator[Run]:
        yielded = 0
        while yielded < len(self._runs) or self._fetch()["runs"]:
            new = list(self._runs.values())[yielded:]
            yield from new
            yielded += len(new)

    @overload
    def __getitem__(self, index: int) -> Run: ...

    @overload
    def __getitem__(self, index: slice) -> list[Run]: ...

    def __getitem__(self, index: int | slice) -> Run | list[Run]:
        """The runs at these positions; no page beyond them is fetched."""
        last = max(index.indices(self._total)[:2]) if isinstance(index, slice) else index % (self._total or 1) + 1
        return list(islice(self, last))[index] if isinstance(index, slice) or index >= 0 else list(self)[index]


def _transport(yard_or_url: str | os.PathLike[str] | Transport | None) -> Transport:
    if yard_or_url is None:
        yard_or_url = default_yard()
    if not isinstance(yard_or_url, (str, os.PathLike)):
        return yard_or_url
    if re.match("https?://", os.fspath(yard_or_url), re.IGNORECASE):
        remedy = "Give the directory of a yard: mount it here, or copy the runs you need."
        what = f"{yard_or_url} is an HTTP URL; HTTP URLs are not supported yet."
        raise YardError(what, remedy, value=os.fspath(yard_or_url))
    return DirectoryTransport(yard_or_url)
