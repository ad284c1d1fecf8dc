"""Runs in the API: their properties, files, checkpoints, history and artifacts.

Knows a transport and its documents, and nothing of where those come from.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

from trainyard.api.artifacts import Artifact
from trainyard.api.checkpoints import Checkpoint
from trainyard.api.files import File, Words, files_of, not_here
from trainyard.api.transport import Document, Transport
from trainyard.errors import CheckpointError, ConfigError

if TYPE_CHECKING:
    import pandas

_COLUMNS = ("step", "epoch", "split", "time")  # in every row of a history
_METRICS = "metrics.json"
_PLACES = ("checkpoint", "best", "final")  # of a checkpoint: the resumable place first


class Run:
    """A run as it was when it was looked up. Its files and history are read again each time.

    Attributes:
        id: eight characters that never change.
        name, project, dataset, model, layout: the names of the run, its group, its data, its model, its layout.
        state: created, running, finished, failed, stopped or crashed.
        config: the resolved configuration.
        summary: final values.
        metrics: the latest values.
        best: {"step", "epoch", "metric", "value"} of the best so far, or None.
        tags: words for queries.
        note: free text.
        created, started, ended: the times, ISO-8601 in UTC; the last two may be None.
        seed: the random seed; None if there was none.
        step, epoch: optimizer steps and epochs done.
        size_bytes: of all its files.
        warnings: what it warned of.
        error: the error that ended it, or None.
    """

    def __init__(self, transport: Transport, document: Document) -> None:
        self._transport, self._key = transport, str(document["key"])
        self._checkpoints: list[Document] = document["checkpoints"]
        self.id: str = document["id"]
        self.name: str = document["name"]
        self.project: str = document["project"]
        self.dataset: str = document["dataset"]
        self.model: str = document["model"]
        self.layout: str = document["layout"]
        self.state: str = document["state"]
        self.config: dict[str, Any] = document["config"]
        self.summary: dict[str, Any] = document["summary"]
        self.metrics: dict[str, float] = document["metrics"]
        self.best: dict[str, Any] | None = document["best"]
        self.tags: list[str] = document["tags"]
        self.note: str = document["note"]
        self.created: str = document["created"]
        self.started: str | None = document["started"]
        self.ended: str | None = document["ended"]
        self.seed: int | None = document["seed"]
        self.step: int = document["step"]
        self.epoch: float = document["epoch"]
        self.size_bytes: int = document["size_bytes"]
        self.warnings: list[str] = document["warnings"]
        self.error: str | None = document["error"]

    def __repr__(self) -> str:
        return f"<run {self.project}/{self.dataset}/{self.name} {self.id} {self.state}>"

    @property
    def path(self) -> str:
        """`project/id`, by which `Api.run` finds it."""
        return f"{self.project}/{self.id}"

    @property
    def home(self) -> Path:
        """Its home directory, not to be written to; YardError when the yard is on another machine."""
        found = self._transport.local_path(self._key, "")
        return Path(found) if found is not None else not_here(repr(self), self._transport.place)

    # -- files

    def files(self, names: Words = None, *, kinds: Words = None, pattern: str | None = None) -> list[File]:
        """Every file that the run recorded, including all files of its checkpoints, by name.

        Only those with these names, of these kinds, such as "best" or "final_predictions", whose name matches the
        pattern, such as "predictions/*.csv".

        Raises:
            UserError: no file has one of the names; the remedy suggests similar ones.
        """
        of = f"run {self.path}"
        return files_of(self._transport, self._key, of, names=names, kinds=kinds, pattern=pattern)

    def file(self, name: str) -> File:
        """The file with this name; UserError, which suggests similar names, when there is none."""
        return self.files(name)[0]

    # -- checkpoints

    def checkpoints(self) -> list[Checkpoint]:
        """The existing checkpoints, oldest first, with all their files where those still exist."""
        complete = [next(place for place in _PLACES if place in found["paths"]) for found in self._checkpoints]
        return [Checkpoint(self, found, place) for found, place in zip(self._checkpoints, complete, strict=True)]

    def best_checkpoint(self) -> Checkpoint | None:
        """The best by the monitored metric, verified byte for byte; None when the run has no checkpoint.

        If nothing was monitored, it is the newest one that is complete. Its files are those published as the best, if
        the layout has a place for that: enough to use the model, but not to resume.

        Raises:
            CheckpointError: the best one was removed or is damaged, or none is complete.
        """
        return self._best(every_byte=True)

    def _best(self, *, every_byte: bool) -> Checkpoint | None:
        found = self._transport.best_checkpoint(self._key, every_byte)
        return Checkpoint(self, found, found["place"]) if found is not None else None

    def thresholds(self) -> dict[str, float] | None:
        """Label to the least probability at which it is predicted, as tuned for the best checkpoint.

        None when labels are not decided by thresholds, or no checkpoint records them.

        Raises:
            ConfigError: they are in a checkpoint of one file, which needs PyTorch, and that is not installed.
        """
        best = self._best(every_byte=False)  # the file that is read here is verified
        if best is None:
            return None
        if best.is_one_file:
            with contextlib.suppress(CheckpointError):  # a user's own loop may save anything in it
                return _thresholds(best.load())
            return None
        metrics = next((file for file in best.files() if file.last_name == _METRICS), None)
        return _thresholds(json.loads(metrics.read())) if metrics is not None else None

    # -- history

    @overload
    def history(
        self, keys: Words = ..., *, split: str | None = ..., pandas: Literal[False] = ...
    ) -> list[Document]: ...

    @overload
    def history(self, keys: Words = ..., *, split: str | None = ..., pandas: Literal[True]) -> pandas.DataFrame: ...

    def history(
        self, keys: Words = None, *, split: str | None = None, pandas: bool = False
    ) -> list[Document] | pandas.DataFrame:
        """The valid metric rows, in order: {"step", "epoch", "split", "time", **values}.

        Args:
            keys: only these metrics, of rows that have one of them.
            split: only rows of train, val or test.
            pandas: return a data frame instead, with a column per metric.

        Raises:
            ConfigError: `pandas` is True, and pandas is not installed.
        """
        rows = list(self.scan_history(keys, split=split))
        if not pandas:
            return rows
        try:
            from pandas import DataFrame
        except ImportError:
            problem = "a data frame needs pandas, which is not installed"
            raise ConfigError([problem], "Run `pip install pandas`.") from None
        return DataFrame(rows)

    def scan_history(self, keys: Words = None, *, split: str | None = None) -> Iterator[Document]:
        """The rows of `history`, one at a time."""
        wanted = (keys,) if isinstance(keys, str) else keys
        for row in self._transport.history(self._key):
            if split is not None and row["split"] != split:
                continue
            if wanted is None:
                yield row
            elif any(key in row for key in wanted):
                yield {key: row[key] for key in (*_COLUMNS, *wanted) if key in row}

    # -- artifacts

    def logged_artifacts(self) -> list[Artifact]:
        """The versions of artifacts that this run logged."""
        return self._artifacts("logged")

    def used_artifacts(self) -> list[Artifact]:
        """The versions of artifacts that this run used."""
        return self._artifacts("used")

    def _artifacts(self, role: str) -> list[Artifact]:
        found = self._transport.run_artifacts(self._key)[role]
        return [Artifact(self._transport, document, Run) for document in found]

    def use_artifact(self, reference: str) -> Artifact:
        """The version that `name:version` names, such as "model:latest" or "model:v3", in this run's project first.

        This records nothing; a run that is being written records its uses with `ActiveRun.use_artifact`.

        Raises:
            UserError: there is no such artifact or version.
        """
        return Artifact(self._transport, self._transport.find_artifact(reference, self.project), Run)


def _thresholds(content: Any) -> dict[str, float] | None:
    """The thresholds of the decision in a checkpoint's content."""
    decision = content.get("decision") if isinstance(content, dict) else None
    return (decision or {}).get("thresholds") or None
