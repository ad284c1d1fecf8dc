"""Digests of files, without reading known files again.

A file is known if a run's journal has its digest and it was not written since, or if it has the same device,
inode, size and times as when it was last hashed. The latter are in a small cache,
`.yard/cache/digests.json`, which can be deleted without harm. Knows nothing of versions.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any

from trainyard import durable
from trainyard.artifacts.versions import FileEntry
from trainyard.errors import CorruptError, RunNotFoundError, TrainyardError, UserError
from trainyard.runs import RunReader, RunWriter, Yard

_CHUNK = 1 << 20
_TICK_NS = 20_000_000  # file times may be this coarse: changes of a file written more recently can go unnoticed
_MS_NS = 1_000_000  # journals record times in milliseconds
_LIMIT = 20_000  # files in the cache

Recorded = dict[str, tuple[int, int, str]]  # path: size, time of recording (ns), SHA-256


class Digests:
    """The digests of files for one call of the store; `save` caches them for the next.

    The records of the yard's runs are used, too, and those of the open run that is given.
    """

    def __init__(self, yard: Yard, run: RunWriter | None = None) -> None:
        self._yard = yard
        self._path = yard.own / "cache" / "digests.json"
        self._kept: dict[str, list[Any]] = _load(self._path)
        self._fresh: dict[tuple[int, int], tuple[int, int, FileEntry]] = {}  # inode: size, mtime (ns), entry
        self._homes: dict[Path, Recorded] = {}
        self._own = _recorded(run) if run is not None else {}

    def of(self, path: Path, *, md5: bool = False) -> FileEntry:
        """The entry of a file's current bytes, with its MD5 if `md5`; UserError when it changed while it was read."""
        before = os.stat(path)
        known = self._known(path, before)
        if known is None or (md5 and known.md5 is None):
            age_ns = time.time_ns() - before.st_mtime_ns
            if 0 <= age_ns < _TICK_NS:  # a write at this moment might not change its time
                time.sleep((_TICK_NS - age_ns) / 1e9)
                before = os.stat(path)
            known = FileEntry(before.st_size, *_hashed(path, md5=md5))
            after = os.stat(path)
            if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
                raise changed(path)
        self.note(before, known)
        return known

    def note(self, status: os.stat_result, entry: FileEntry) -> None:
        """Records, on the caller's word, that the file of this status has these bytes."""
        self._fresh[status.st_dev, status.st_ino] = (status.st_size, status.st_mtime_ns, entry)

    def last_sha256(self, path: Path) -> str | None:
        """The SHA-256 of the file when it was last hashed, even if it was written to since."""
        kept = self._kept.get(_key(os.stat(path)))
        return kept[3] if kept else None

    def _known(self, path: Path, status: os.stat_result) -> FileEntry | None:
        if (entry := self._hashed_now(status)) is not None:
            return entry
        kept = self._kept.get(_key(status))
        if kept and kept[:3] == [status.st_size, status.st_mtime_ns, status.st_ctime_ns]:
            return FileEntry(status.st_size, kept[3], kept[4])
        recorded = self._own.get(str(path)) or self._at_home(path).get(str(path))
        if recorded and recorded[0] == status.st_size and status.st_mtime_ns <= recorded[1] + _MS_NS:
            return FileEntry(status.st_size, recorded[2])
        return None

    def _hashed_now(self, status: os.stat_result) -> FileEntry | None:
        size, mtime_ns, entry = self._fresh.get((status.st_dev, status.st_ino), (-1, 0, None))
        return entry if (size, mtime_ns) == (status.st_size, status.st_mtime_ns) else None

    def _at_home(self, path: Path) -> Recorded:
        """The records of the run whose home contains the file."""
        inside = [folder for folder in path.parents if folder.is_relative_to(self._yard.root)]
        home = next((folder for folder in inside if (folder / ".run").is_dir()), None)
        if home is None:
            return {}
        if home not in self._homes:
            self._homes[home] = {}
            with contextlib.suppress(CorruptError, RunNotFoundError):  # if so, the file is hashed
                self._homes[home] = _recorded(RunReader(self._yard, home))
        return self._homes[home]

    def save(self, paths: Iterable[Path]) -> None:
        """Caches the digests of these files as they are now; a cache that cannot be written is not an error."""
        fresh: dict[str, list[Any]] = {}
        for path in paths:
            with contextlib.suppress(FileNotFoundError):
                status = os.stat(path)
                if (entry := self._hashed_now(status)) is not None:
                    times = (status.st_mtime_ns, status.st_ctime_ns)
                    fresh[_key(status)] = [status.st_size, *times, entry.sha256, entry.md5]
        if any(self._kept.get(key) != value for key, value in fresh.items()):
            older = {key: value for key, value in self._kept.items() if key not in fresh}
            newest = dict(list((older | fresh).items())[-_LIMIT:])
            with contextlib.suppress(OSError, TrainyardError):
                durable.sweep(self._path.parent)
                durable.write_bytes(self._path, json.dumps(newest).encode(), sync=False)


def changed(path: Path) -> UserError:
    """The error for a file that is being written while it is logged."""
    what = f"{path} changed while it was being logged; nothing was saved."
    return UserError(what, "Log it once it is complete.", place=path)


def copy_hashed(source: Path, target: Path) -> str:
    """Copies the bytes of `source` to `target`, all or nothing, and returns the SHA-256 of what was written."""
    digest = hashlib.sha256()
    with durable.replacing(target) as written, source.open("rb") as reader:
        fd = durable.calls.open(written, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        try:
            while chunk := reader.read(_CHUNK):
                digest.update(chunk)
                durable.write_all(fd, chunk)
        finally:
            os.close(fd)
    return digest.hexdigest()


def _hashed(path: Path, *, md5: bool) -> tuple[str, str | None]:
    """SHA-256 in hexadecimal and, if wanted, MD5 in base64: in one pass over the file, on two cores."""
    if not md5:
        return durable.sha256_file(path), None
    sha256, other = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
    with ThreadPoolExecutor(1) as beside, path.open("rb", buffering=0) as file:
        while chunk := file.read(_CHUNK):
            done = beside.submit(other.update, chunk)
            sha256.update(chunk)
            done.result()
    return sha256.hexdigest(), base64.b64encode(other.digest()).decode()


def _key(status: os.stat_result) -> str:
    return f"{status.st_dev}:{status.st_ino}"


def _load(path: Path) -> dict[str, list[Any]]:
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError):  # missing, or truncated by a power cut
        return {}
    sound = isinstance(content, dict) and all(isinstance(v, list) and len(v) == 5 for v in content.values())
    return content if sound else {}


def _recorded(run: RunReader | RunWriter) -> Recorded:
    """The recorded sizes and digests of the run's files, by their current paths."""
    found: Recorded = {}
    for record in run.snapshot.records:
        if record.sha256:
            found[str(run.resolve(record.path))] = (record.size, _ns(record.at), record.sha256)
    for checkpoint in run.snapshot.checkpoints:
        for place in checkpoint.paths.values():
            for file in checkpoint.files:
                path = run.resolve(place.rstrip("/")) / file["name"] if file["name"] else run.resolve(place)
                found[str(path)] = (file["size"], _ns(checkpoint.at), file["sha256"])
    return found


def _ns(moment: str) -> int:
    return int(datetime.fromisoformat(moment).timestamp() * 1e9) if moment else 0
