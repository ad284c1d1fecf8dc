"""Runs, their checkpoints and artifacts as the API gives them.

They know a transport and the documents that come through it, and nothing of where those come from.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import pickle
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

from trainyard.api.download import download, target_of
from trainyard.api.files import ApiFile, Words, chosen, files_of
from trainyard.api.transport import Document, Transport
from trainyard.errors import ConfigError, UnknownCheckpointError

if TYPE_CHECKING:
    import pandas

Root = str | os.PathLike[str]
_COLUMNS = ("step", "epoch", "split", "time")  # of every row of a history
_METRICS = "metrics.json"


class ApiRun:
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
        seed: of every random number; None when not told.
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

    # -- files

    def files(self, names: Words = None, *, kinds: Words = None, pattern: str | None = None) -> list[ApiFile]:
        """Every file that the run recorded, each file of its checkpoints among them, by name.

        Args:
            names: only those with these names.
            kinds: only those of these kinds, such as "best" or "final_predictions".
            pattern: only those whose name fits, such as "predictions/*.csv".

        Raises:
            UserError: there is no file of a name; offers what is named much like it.
        """
        files = files_of(self._transport, self._key, f"run {self.path}")
        return chosen(files, f"run {self.path}", names=names, kinds=kinds, pattern=pattern)

    def file(self, name: str) -> ApiFile:
        """The file of this name.

        Raises:
            UserError: there is none; offers what is named much like it.
        """
        return self.files(name)[0]

    # -- checkpoints

    def checkpoints(self) -> list[ApiCheckpoint]:
        """The checkpoints there are, oldest first, each with all its files where it still has them."""
        return [ApiCheckpoint(self, found, ("checkpoint", "best", "final")) for found in self._checkpoints]

    def best_checkpoint(self) -> ApiCheckpoint | None:
        """The best by the monitored metric, the newest when nothing was monitored; None when there is none.

        Its files are those published as the best: what using the model needs, without what resuming needs.

        Raises:
            UnknownCheckpointError: the best one was removed.
        """
        if not self._checkpoints:
            return None
        document = self._checkpoints[-1]
        if self.best is not None:
            step = self.best["step"]
            found = [checkpoint for checkpoint in self._checkpoints if checkpoint["step"] == step]
            if not found:
                known = ", ".join(str(checkpoint["step"]) for checkpoint in self._checkpoints)
                raise UnknownCheckpointError(
                    f"The best checkpoint of run {self.path}, of step {step}, is no longer there.",
                    f"Choose one of `checkpoints()`: steps {known}.",
                )
            document = found[0]
        return ApiCheckpoint(self, document, ("best", "final", "checkpoint"))

    def thresholds(self) -> dict[str, float] | None:
        """Label to the probability from which on it is chosen, as tuned for the best checkpoint.

        None when labels are not chosen by thresholds, or the run has no checkpoint that says so.

        Raises:
            ConfigError: they lie in a checkpoint of one file, and PyTorch, which reads it, is not installed.
        """
        best = self.best_checkpoint()
        for file in best.files() if best is not None else ():
            if file.name.rpartition("/")[2] == _METRICS:
                return _thresholds(json.loads(file.read()))
        if best is not None and best.is_one_file:
            return _thresholds(_loaded(best.files()[0]))
        return None

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

    def logged_artifacts(self) -> list[ApiArtifact]:
        """The versions of artifacts that this run made."""
        return [ApiArtifact(self._transport, d) for d in self._transport.run_artifacts(self._key)["logged"]]

    def used_artifacts(self) -> list[ApiArtifact]:
        """The versions of artifacts that this run used."""
        return [ApiArtifact(self._transport, d) for d in self._transport.run_artifacts(self._key)["used"]]

    def use_artifact(self, reference: str) -> ApiArtifact:
        """The version that `name:version` names, such as "model:latest" or "model:v3", in this run's project first.

        Only looks: it is the run itself that records a use, with `Run.use_artifact`.

        Raises:
            UserError: there is no such artifact or version.
        """
        return ApiArtifact(self._transport, self._transport.find_artifact(reference, self.project))


class ApiCheckpoint:
    """A checkpoint of a run.

    Attributes:
        step: optimizer steps done.
        epoch: epochs done.
        metrics: kept with it.
    """

    def __init__(self, run: ApiRun, document: Document, places: Sequence[str]) -> None:
        self._run = run
        self._place = next(place for place in places if place in document["paths"])
        self._path: str = document["paths"][self._place]
        self.step: int = document["step"]
        self.epoch: float = document["epoch"]
        self.metrics: dict[str, float] = document["metrics"]

    @property
    def is_one_file(self) -> bool:
        """Whether it is a file, not a directory."""
        return not self._path.endswith("/")

    def __repr__(self) -> str:
        return f"<checkpoint of step {self.step} of run {self._run.path}>"

    def files(self) -> list[ApiFile]:
        """Its files: one, or those of its directory."""
        return [file for file in self._run.files(kinds=self._place) if file.step == self.step]

    def download(self, root: Root | None = None, replace: bool = False, exist_ok: bool = False) -> Path:
        """Writes its files straight into `root`; returns the path to load: that directory, or the single file.

        Args:
            root: the directory; None: one here with the checkpoint's own name (a single file: here).
            replace: as `ApiFile.download` has it, for each of them; so are `exist_ok` and what is raised.
            exist_ok: see `replace`.
        """
        if root is None:
            root = "." if self.is_one_file else target_of(".", self._path.rstrip("/").rpartition("/")[2])
        wanted = [(file.source, target_of(root, file.name.rpartition("/")[2])) for file in self.files()]
        download(wanted, replace=replace, exist_ok=exist_ok)
        return wanted[0][1] if self.is_one_file else Path(root)


def _thresholds(kept: Any) -> dict[str, float] | None:
    """Those of the decision in what a checkpoint keeps of itself."""
    decision = kept.get("decision") if isinstance(kept, dict) else None
    return (decision or {}).get("thresholds") or None


def _loaded(file: ApiFile) -> Any:
    """What is in a checkpoint of one file; nothing where a user's own loop kept more in it than tensors and values."""
    try:
        import torch
    except ImportError:
        raise ConfigError(
            [f"{file!r} is read by PyTorch, which is not installed"], "Run `pip install 'trainyard[train]'`."
        ) from None
    with contextlib.suppress(pickle.UnpicklingError):
        return torch.load(io.BytesIO(file.read()), map_location="cpu", weights_only=True)
    return None


class ApiArtifact:
    """A version of an artifact. What it holds never changes; its aliases may move.

    Attributes:
        project: the project it is in.
        name: what all its versions are called.
        version: "v0", "v1" …
        type: model, dataset …
        digest: of all that it holds.
        size: bytes of its files.
        metadata: whatever its maker told of it.
        aliases: other names of this version, such as "latest".
        created: when, ISO-8601 in UTC.
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

    def __repr__(self) -> str:
        return f"<artifact {self.path} {self.type}>"

    @property
    def path(self) -> str:
        """`project/name:version`, which `Api.artifact` finds it by."""
        return f"{self.project}/{self.name}:{self.version}"

    def files(self, names: Words = None, *, pattern: str | None = None) -> list[ApiFile]:
        """Its files, by name.

        Args:
            names: only those with these names.
            pattern: only those whose name fits, such as "*.json".

        Raises:
            UserError: there is no file of a name.
        """
        files = files_of(self._transport, self._key, f"artifact {self.path}")
        return chosen(files, f"artifact {self.path}", names=names, kinds=None, pattern=pattern)

    def file(self, name: str) -> ApiFile:
        """The file of this name.

        Raises:
            UserError: there is none.
        """
        return self.files(name)[0]

    def download(self, root: Root | None = None, replace: bool = False, exist_ok: bool = False) -> Path:
        """Writes its files into `root` and returns that directory. Nothing is written when one of them cannot be.

        Args:
            root: the directory; None: `artifacts/{name}-{version}` here.
            replace: as `ApiFile.download` has it, for each of them; so are `exist_ok` and what is raised.
            exist_ok: see `replace`.
        """
        root = target_of("artifacts", f"{self.name}-{self.version}") if root is None else root
        wanted = [(file.source, target_of(root, file.name)) for file in self.files()]
        download(wanted, replace=replace, exist_ok=exist_ok)
        return Path(root)

    def logged_by(self) -> ApiRun | None:
        """The run that made it; None when no run did, or it is gone."""
        return next(self._runs([self._made_by]), None) if self._made_by is not None else None

    def used_by(self) -> list[ApiRun]:
        """The runs that used it and are still there."""
        return list(self._runs(self._used_by))

    def _runs(self, ids: Sequence[str]) -> Iterator[ApiRun]:
        for run_id in ids:
            for document in self._transport.list_runs(f'id:"{run_id}"', 0, 1)["runs"]:
                yield ApiRun(self._transport, document)
