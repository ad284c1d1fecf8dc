"""Runs read back: what they say of themselves, their files, checkpoints, history and artifacts.

Knows a transport and the documents that come through it, and nothing of where those come from.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

from trainyard.api.artifacts import Artifact
from trainyard.api.checkpoints import Checkpoint
from trainyard.api.files import File, Words, files_of, not_here, select
from trainyard.api.transport import Document, Transport
from trainyard.errors import CheckpointError, ConfigError

if TYPE_CHECKING:
    import pandas

_COLUMNS = ("step", "epoch", "split", "time")  # of every row of a history
_METRICS = "metrics.json"
_PLACES = ("checkpoint", "best", "final")  # of a checkpoint: where resuming can go on first


class Run:
    """A run as it was when it was looked up. Its files and history are asked for anew each time.

    Attributes:
        id: eight characters that never change.
        name: what it is called.
        project: the group it is in.
        dataset: what it trained on.
        model: what it trained.
        layout: how its files lie.
        state: created, running, finished, failed, stopped or crashed.
        config: the resolved configuration.
        summary: final values.
        metrics: the latest values.
        best: {"step", "epoch", "metric", "value"} of the best so far, or None.
        tags: words to find it by.
        note: a sentence for people.
        created: when, ISO-8601 in UTC; so are `started` and `ended`, which may be None.
        seed: of every random number; None when it was not given.
        step: optimizer steps done.
        epoch: epochs done.
        size_bytes: of all its files.
        warnings: what it warned of.
        error: what ended it, or None.
    """

    def __init__(self, transport: Transport, document: Document) -> None:
        self._transport = transport
        self._key: str = document["key"]
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
        """`project/id`, which `Api.run` finds it by."""
        return f"{self.project}/{self.id}"

    @property
    def home(self) -> Path:
        """Its home directory on this machine. Never write there.

        Raises:
            YardError: the yard is on another machine: `download` its files.
        """
        found = self._transport.local_path(self._key, "")
        return Path(found) if found is not None else not_here(repr(self), self._transport.place)

    # -- files

    def files(self, names: Words = None, *, kinds: Words = None, pattern: str | None = None) -> list[File]:
        """Every file that the run recorded, each file of its checkpoints among them, by name.

        Args:
            names: only those with these names.
            kinds: only those of these kinds, such as "best" or "final_predictions".
            pattern: only those whose name fits, such as "predictions/*.csv".

        Raises:
            UserError: a name that no file has; offers what is named much like it.
        """
        files = files_of(self._transport, self._key, f"run {self.path}")
        return select(files, f"run {self.path}", names=names, kinds=kinds, pattern=pattern)

    def file(self, name: str) -> File:
        """The file of this name.

        Raises:
            UserError: there is none; offers what is named much like it.
        """
        return self.files(name)[0]

    # -- checkpoints

    def checkpoints(self) -> list[Checkpoint]:
        """The checkpoints there are, oldest first, each with all its files where it still has them."""
        return [
            Checkpoint(self, found, next(place for place in _PLACES if place in found["paths"]))
            for found in self._checkpoints
        ]

    def best_checkpoint(self) -> Checkpoint | None:
        """The best by the monitored metric, verified byte for byte; None when the run has no checkpoint.

        When nothing was monitored it is the newest that is whole. Its files are those published as the best, where
        the layout has a place for that: what using the model needs, without what resuming needs.

        Raises:
            CheckpointError: the best one was removed or is damaged, or none is whole.
        """
        return self._best(every_byte=True)

    def _best(self, *, every_byte: bool) -> Checkpoint | None:
        found = self._transport.best_checkpoint(self._key, every_byte)
        return Checkpoint(self, found, found["place"]) if found is not None else None

    def thresholds(self) -> dict[str, float] | None:
        """Label to the probability from which on it is chosen, as tuned for the best checkpoint.

        None when labels are not chosen by thresholds, or the run has no checkpoint that says so.

        Raises:
            ConfigError: they are in a checkpoint of one file, and PyTorch, which reads it, is not installed.
        """
        best = self._best(every_byte=False)  # the one file that is read is checked
        if best is None:
            return None
        if best.is_one_file:
            with contextlib.suppress(CheckpointError):  # a user's own loop may keep anything in it
                return _thresholds(best.load())
            return None
        kept = [file for file in best.files() if file.name.rpartition("/")[2] == _METRICS]
        return _thresholds(json.loads(kept[0].read())) if kept else None

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
        """The metric rows that count, in order: {"step", "epoch", "split", "time", **values}.

        Args:
            keys: only these metrics, of rows that have one of them.
            split: only rows of train, val or test.
            pandas: a frame instead, with a column a metric.

        Raises:
            ConfigError: a frame was asked for, and pandas is not installed.
        """
        rows = list(self.scan_history(keys, split=split))
        if not pandas:
            return rows
        try:
            from pandas import DataFrame
        except ImportError:
            raise ConfigError(["a frame needs pandas, which is not installed"], "Run `pip install pandas`.") from None
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
        """The versions of artifacts that this run made."""
        return [Artifact(self._transport, d) for d in self._transport.run_artifacts(self._key)["logged"]]

    def used_artifacts(self) -> list[Artifact]:
        """The versions of artifacts that this run used."""
        return [Artifact(self._transport, d) for d in self._transport.run_artifacts(self._key)["used"]]

    def use_artifact(self, reference: str) -> Artifact:
        """The version that `name:version` names, such as "model:latest" or "model:v3", in this run's project first.

        Only looks: it is the run itself that records a use, with `ActiveRun.use_artifact`.

        Raises:
            UserError: there is no such artifact or version.
        """
        return Artifact(self._transport, self._transport.find_artifact(reference, self.project))


def _thresholds(kept: Any) -> dict[str, float] | None:
    """Those of the decision in what a checkpoint keeps of itself."""
    decision = kept.get("decision") if isinstance(kept, dict) else None
    return (decision or {}).get("thresholds") or None
