"""The transport of a yard in a directory of this machine: answers from its files, read-only.

The only module of the API that knows runs, the index, checkpoints and artifacts. All its answers are JSON or bytes.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any, NoReturn

from trainyard import durable
from trainyard.api.download import Source
from trainyard.api.filters import quoted
from trainyard.api.transport import Document
from trainyard.artifacts import Artifacts, Version
from trainyard.checkpoints import FORMATS, choose
from trainyard.checkpoints.reader import faults
from trainyard.errors import CorruptError, RunNotFoundError, UserError
from trainyard.index import Index
from trainyard.index.language import parse as parse_query
from trainyard.layouts.kinds import SHAREABLE
from trainyard.runs import CheckpointRecord, Record, RunReader, Yard
from trainyard.wording import similar

_PIECE = 1 << 22  # bytes read at once
_NEAR = 2_000  # runs whose names are compared with an unknown one
_PLACES = ("best", "final", "checkpoint")  # of a checkpoint: published ones first
_OF_A_RUN = (
    *("id", "name", "project", "dataset", "model", "layout", "state", "config", "summary", "metrics", "best"),
    *("tags", "note", "created", "started", "ended", "seed", "step", "epoch", "size_bytes", "warnings", "error"),
)
_OF_AN_ARTIFACT = ("project", "name", "type", "digest", "metadata", "created", "size", "made_by")
_GROWING = SHAREABLE | {"log", "error_log", "performance_log"}  # kinds whose files change after they are recorded


def default_yard() -> str:
    """The directory of the runs where none is given: TRAINYARD_YARD, or `outputs`."""
    return os.environ.get("TRAINYARD_YARD") or "outputs"


class DirectoryTransport:
    """The runs and artifacts of a directory. Safe to use from several threads. YardError when there is no yard."""

    def __init__(self, yard: str | os.PathLike[str]) -> None:
        self._yard = Yard(yard)
        self._index = Index(self._yard)
        self._artifacts = Artifacts(self._yard)

    @property
    def place(self) -> str:
        """The directory."""
        return str(self._yard.root)

    # -- runs

    def find_run(self, reference: str) -> Document:
        """See `Transport.find_run`."""
        return self.run_at(self._find(reference))

    def run_at(self, home: Path) -> Document:
        """The run in a home directory of this yard, in the form of `find_run`."""
        return self._document(RunReader(self._yard, home))

    def _find(self, reference: str) -> Path:
        parts = reference.strip("/").split("/")
        if len(parts) == 1:
            return self._index.find(reference)
        project, last = parts[-2:]
        rows = self._index.query(f"id:{quoted(last)} project:{quoted(project)}").rows
        if len(rows) > 1:
            return self._index.find(last)  # copies: the error lists their homes
        if rows:
            return self._yard.root / str(rows[0]["home"])
        try:
            return self._index.find(reference)
        except RunNotFoundError as error:
            if len(parts) > 2:  # a user name first, as on servers
                return self._find(f"{project}/{last}")
            self._not_found(error, project, last)

    def _not_found(self, error: RunNotFoundError, project: str, last: str) -> NoReturn:
        """Raises the error again, with similar runs of this or another project as suggestions."""
        titles: dict[str, str] = {}
        for row in self._index.query(limit=_NEAR).rows:
            for word in (row["id"], row["name"]):
                titles.setdefault(f"{row['project']}/{word}", f"{row['project']}/{word}")
                titles.setdefault(word, f"{row['project']}/{word}")
        words = (last, f"{project}/{last}")
        near = [titles[found] for word in words for found in similar(word, titles, limit=3, cutoff=0.7)]
        if not near:
            raise error
        remedy = f"Did you mean {' or '.join(list(dict.fromkeys(near))[:3])}? `Api.runs()` lists all runs."
        raise RunNotFoundError(error.what, remedy, value=error.value, place=error.place) from None

    def list_runs(self, query: str, start: int, count: int) -> Document:
        """See `Transport.list_runs`."""
        parsed = parse_query(query)
        if parsed.limit is None and parsed.offset is None:
            page = self._index.query(query, limit=count, offset=start)
            rows, total = page.rows, page.total
        else:  # the query has its own window; the pages are inside it
            inside = self._index.query(query).rows
            rows, total = inside[start : start + count], len(inside)
        readers = (RunReader(self._yard, self._yard.root / row["home"]) for row in rows)
        return {"runs": [self._document(reader) for reader in readers], "total": total}

    def _document(self, reader: RunReader) -> Document:
        document = {name: getattr(reader.snapshot, name) for name in _OF_A_RUN}
        document["checkpoints"] = [checkpoint_document(checkpoint) for checkpoint in reader.snapshot.checkpoints]
        document["best"] = None if reader.snapshot.best is None else asdict(reader.snapshot.best)
        return {**document, "key": f"run/{self._yard.relative(reader.home)}"}

    def _reader(self, key: str) -> RunReader:
        kind, _, home = key.partition("/")
        if kind != "run" or not home or home.startswith("/") or ".." in PurePosixPath(home).parts:
            what = f"{key!r} is not the key of a run."
            raise RunNotFoundError(what, "Use the key of a run's document.", value=key, place=self.place)
        return RunReader(self._yard, self._yard.root / home)

    def history(self, run: str) -> list[Document]:
        """See `Transport.history`."""
        return self._reader(run).history()

    def best_checkpoint(self, run: str, every_byte: bool) -> Document | None:
        """See `Transport.best_checkpoint`."""
        reader = self._reader(run)
        best = reader.snapshot.best
        for checkpoint in reversed(reader.snapshot.checkpoints):
            if best is not None and checkpoint.step != best.step:
                continue
            for place in (place for place in _PLACES if place in checkpoint.paths):
                path = reader.resolve(checkpoint.paths[place])
                if _files_in(checkpoint, place) and not faults(checkpoint, place, path, deep=every_byte):
                    return {**checkpoint_document(checkpoint), "place": place}
        if reader.snapshot.checkpoints:
            choose(reader, step="best")  # raises an error that names the fault of each
        return None

    # -- artifacts

    def find_artifact(self, reference: str, project: str | None = None) -> Document:
        """See `Transport.find_artifact`."""
        last_two = "/".join(reference.strip("/").split("/")[-2:])
        return self.artifact(self._artifacts.find(last_two, project=project))

    def run_artifacts(self, run: str) -> Document:
        """See `Transport.run_artifacts`."""
        found: dict[str, list[Document]] = {"logged": [], "used": []}
        for recorded in self._reader(run).snapshot.artifacts:
            with contextlib.suppress(UserError):  # removed since then
                found[recorded["role"]].append(self.artifact(self._artifacts.find(recorded["artifact"])))
        return found

    def artifact(self, version: Version) -> Document:
        """A version of this yard, in the form of `find_artifact`."""
        used_by = dict.fromkeys(note["run"] for note in self._artifacts.notes(version, "used"))
        lists = {"aliases": list(version.aliases), "inputs": list(version.inputs), "used_by": list(used_by)}
        document = {name: getattr(version, name) for name in _OF_AN_ARTIFACT}
        return {**document, **lists, "key": f"artifact/{version.reference}", "version": version.label}

    # -- files

    def files(self, key: str) -> list[Document]:
        """See `Transport.files`."""
        return [document for document, _ in self._files(key).values()]

    def read(self, key: str, name: str, start: int) -> Iterator[bytes]:
        """See `Transport.read`."""
        return _pieces(self._path(key, name), start)

    def local_path(self, key: str, name: str) -> str:
        """See `Transport.local_path`; never None."""
        return str(self._path(key, name) if name else self._reader(key).home)

    def _path(self, key: str, name: str) -> Path:
        found = self._files(key).get(name)
        if found is None:
            what = f"There is no file {name!r}; it may have been removed since it was listed."
            remedy = "`files()` lists the current files; `trainyard undo` restores what `trainyard clean` removed."
            raise UserError(what, remedy, value=name, place=key)
        return found[1]

    def _files(self, key: str) -> dict[str, tuple[Document, Path]]:
        """Each file's document and path, by name."""
        kind, _, reference = key.partition("/")
        if kind != "artifact":
            return dict(sorted(_run_files(self._reader(key)).items()))
        version = self._artifacts.find(reference)
        found = {}
        for name, entry in sorted(version.files.items()):
            document = _file_document(name, entry.size, entry.sha256, "artifact", version.created, None)
            found[name] = document, self._artifacts.path(version, name)
        return found


def checkpoint_document(checkpoint: CheckpointRecord) -> Document:
    """A checkpoint in the form of a run's document."""
    return {name: getattr(checkpoint, name) for name in ("step", "epoch", "metrics", "paths")}


def _run_files(reader: RunReader) -> dict[str, tuple[Document, Path]]:
    """All recorded files of a run: single files, those of directories, and those of checkpoints in each place."""
    snapshot = reader.snapshot
    found: dict[str, tuple[Document, Path]] = {}
    bases = (f"{snapshot.home}files/",) if snapshot.layout == "files" else ()

    def add(recorded: str, kind: str, size: int, sha256: str | None, modified: str, step: int | None = None) -> None:
        base = next((base for base in (*bases, snapshot.home) if recorded.startswith(base)), "")
        name = recorded.removeprefix(base)
        name = recorded if name in found else name  # the same name inside and outside of files/ or the home
        found[name] = _file_document(name, size, sha256, kind, modified, step), reader.resolve(recorded)

    for record in snapshot.records:
        if not record.path.endswith("/"):
            add(record.path, record.kind, *_present(record, reader.resolve(record.path)))
    known = {record.path for record in snapshot.records}
    for record in snapshot.records:
        root = reader.resolve(record.path)
        for path in sorted(root.rglob("*")) if record.path.endswith("/") else ():
            recorded = record.path + path.relative_to(root).as_posix()
            if path.is_file() and recorded not in known and not durable.is_temporary(path):
                add(recorded, record.kind, path.stat().st_size, None, _modified(path))
    for checkpoint in snapshot.checkpoints:
        for place, recorded in checkpoint.paths.items():
            for file in _files_in(checkpoint, place):
                add(recorded + file["name"], place, file["size"], file["sha256"], checkpoint.at, checkpoint.step)
    return found


def _files_in(checkpoint: CheckpointRecord, place: str) -> list[dict[str, Any]]:
    """The files of a checkpoint in one of its places; a published one may have none."""
    format_ = FORMATS[checkpoint.format]
    return [file for file in checkpoint.files if place == "checkpoint" or format_.is_published(file["name"])]


def _file_document(name: str, size: int, sha256: str | None, kind: str, modified: str, step: int | None) -> Document:
    return {"name": name, "size": size, "sha256": sha256, "kind": kind, "modified": modified, "step": step}


def _present(record: Record, path: Path) -> tuple[int, str | None, str]:
    """Size, digest and time: as recorded, or the current ones of a file that may have grown since."""
    if record.kind in _GROWING and path.is_file():
        size = path.stat().st_size
        if size != record.size or record.sha256 is None:
            return size, None, _modified(path)
    return record.size, record.sha256, record.at


def _modified(path: Path) -> str:
    return datetime.fromtimestamp(path.stat().st_mtime, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _pieces(path: Path, start: int) -> Iterator[bytes]:
    try:
        with path.open("rb", buffering=0) as file:
            file.seek(start)
            while piece := file.read(_PIECE):
                yield piece
    except OSError as error:
        why = os.strerror(error.errno).lower() if error.errno else str(error)
        if error.errno in (errno.EACCES, errno.EPERM):
            raise UserError(f"{path} cannot be read: {why}.", "Fix its permissions.", place=path) from error
        raise CorruptError(f"{path} was recorded, but cannot be read: {why}.", Source.remedy, place=path) from error
