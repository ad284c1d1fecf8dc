"""A memory-mapped cache of values that are costly to compute from an item: decoded audio, features.

An entry is keyed by the digest of the item's content, in a folder named by the digest of every parameter
it depends on, so a stale entry is never found. Everything here can be recomputed: nothing is synced, and
a failure (a full disk, a limit, a deleted folder, a damaged byte) costs time and is reported, but never
ends the training and never gives a wrong value. Knows nothing about audio.
"""

from __future__ import annotations

import errno
import hashlib
import json
import mmap
import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from trainyard import durable
from trainyard.data import cache_files
from trainyard.data.cache_files import Array, Store
from trainyard.errors import TrainyardError

Compute = Callable[[list[int]], Sequence[Array]]

_FORMAT = 1
_FOLDER = re.compile(r"[0-9a-f]{32}")
_LOCK_TIMEOUT_S = 10.0


def cache_directory(chosen: str | None) -> Path:
    """Where decoded sound and features are kept; nothing is created yet.

    Args:
        chosen: `system.cache_dir`; None for $TRAINYARD_CACHE, or else the user's cache directory.
    """
    if chosen:
        return Path(chosen)
    if variable := os.environ.get("TRAINYARD_CACHE"):
        return Path(variable)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "trainyard"


class FeatureCache:
    """Float32 arrays of any shape, stored by item digest for one set of parameters.

    Processes may share a directory. Forked copies share the counters of `stats`; a copy passed to another
    process by pickling has its own. Nothing is created on disk before the first entry is stored.

    Args:
        directory: holds the folders of all parameter sets. It may be deleted at any time.
        parameters: everything but the item's content that an entry depends on, JSON-serialisable, including
            the version of the code that computes it.
        limit_mb: mebibytes that all folders in `directory` may use together. To stay below it, folders of
            other parameters are deleted, least recently used first, except those that a process has open;
            if that is not enough, nothing more is stored.
    """

    def __init__(self, directory: Path, parameters: Mapping[str, Any], *, limit_mb: float) -> None:
        self._directory = directory
        self._key = {"format": _FORMAT, "parameters": dict(parameters)}
        text = json.dumps(self._key, sort_keys=True, allow_nan=False)
        self._folder = directory / hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
        self._limit_bytes = int(limit_mb * 2**20)
        self._store: Store | None = None
        self._counters = _Counters()

    def get(self, digests: Sequence[str], compute: Compute) -> list[Array]:
        """The arrays of some items, read-only; missing ones are computed and stored.

        Args:
            digests: digests of the items' content.
            compute: maps positions in `digests` to their arrays, float32. Called at most once, with one
                position for each missing digest.
        """
        found = self._find(digests)
        missing: dict[str, int] = {}
        for position, array in enumerate(found):
            if array is None:
                missing.setdefault(digests[position], position)
        self._counters.add(hits=len(digests) - len(missing), misses=len(missing))
        if missing:
            computed = dict(zip(missing, map(_frozen, compute(list(missing.values()))), strict=True))
            self._keep(computed)
            return [computed[digest] if array is None else array for digest, array in zip(digests, found, strict=True)]
        return [array for array in found if array is not None]

    def has(self, digests: Sequence[str]) -> npt.NDArray[np.bool_]:
        """Which items are stored, bool [N], including those that other processes stored."""
        store = self._refreshed()
        return np.fromiter((store is not None and digest in store for digest in digests), np.bool_, len(digests))

    def stats(self) -> dict[str, Any]:
        """Statistics for the user, JSON-serialisable.

        `directory` of these parameters; `entries` and `size_bytes` in it; `limit_bytes` of all folders
        together; `hits` and `misses` so far; `full`: nothing more is stored because the limit is reached;
        `failed`: the error because of which nothing more is stored, or None.
        """
        store = self._refreshed()
        failed = self._counters.failed
        return {
            "directory": str(self._folder),
            "entries": 0 if store is None else len(store),
            "size_bytes": cache_files.size_bytes(self._folder),
            "limit_bytes": self._limit_bytes,
            "hits": self._counters.hits,
            "misses": self._counters.misses,
            "full": self._counters.full,
            "failed": os.strerror(failed) if failed else None,
        }

    def _find(self, digests: Sequence[str]) -> list[Array | None]:
        found: list[Array | None] = [None] * len(digests)
        try:
            if self._store is not None:  # needs no system call once everything has been read
                found = [self._store.get(digest) for digest in digests]
            if any(array is None for array in found) and (store := self._refreshed()) is not None:
                found = [store.get(d) if array is None else array for d, array in zip(digests, found, strict=True)]
        except OSError as error:  # from mapping the payload
            self._counters.fail(error.errno)
        return found

    def _refreshed(self) -> Store | None:
        """The current folder. One that was removed while open stays in use until a new one exists."""
        try:
            if self._store is None or not self._store.is_at(self._folder):
                opened = Store.open(self._folder)
                self._store = self._store if opened is None else opened
            if self._store is not None:
                self._store.read_index()
        except OSError as error:
            self._counters.fail(error.errno)
        return self._store

    def _keep(self, arrays: Mapping[str, Array]) -> None:
        if self._counters.full or self._counters.failed:
            return
        if min(cache_files.needed_bytes(self._folder, arrays, self._key)) > self._limit_bytes:
            self._counters.fill()  # before anything is created: with a limit of 0 there is no cache
            return
        try:
            with durable.locked(self._directory / "lock", timeout_s=_LOCK_TIMEOUT_S):
                self._append(arrays)
        except OSError as error:
            self._counters.fail(error.errno)
        except TrainyardError as error:  # `durable` wraps an OSError in it; also raised when the lock is never released
            cause = error.__cause__
            self._counters.fail(cause.errno if isinstance(cause, OSError) else errno.ETIMEDOUT)

    def _append(self, arrays: Mapping[str, Array]) -> None:
        """Stores the entries that no other process has stored meanwhile, as far as they fit. The lock is held."""
        store = self._refreshed()
        arrays = {digest: array for digest, array in arrays.items() if store is None or digest not in store}
        if not arrays:
            return
        needed = cache_files.needed_bytes(self._folder, arrays, self._key)
        room = self._make_room(sum(needed))
        fitting = int(np.searchsorted(np.cumsum(needed), room, side="right"))
        if fitting < len(arrays):
            self._counters.fill()
        if fitting:
            cache_files.append(self._folder, dict(list(arrays.items())[:fitting]), self._key)

    def _make_room(self, needed: int) -> int:
        """The bytes that may be written, after removing other folders if `needed` exceeds the room left."""
        durable.sweep(self._directory)
        folders = [path for path in self._directory.iterdir() if _FOLDER.fullmatch(path.name)]
        sizes = {path: cache_files.size_bytes(path) for path in folders}
        room = self._limit_bytes - sum(sizes.values())
        for path in sorted(folders, key=cache_files.last_used):
            if room >= needed:
                break
            if path != self._folder and cache_files.remove(path):
                room += sizes[path]
        return room

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_store": None, "_counters": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._counters = _Counters()


class _Counters:
    """Hits, misses and the state of the cache, summed over a process and its forks.

    Stored in anonymous memory shared by forks, with one row per process (by its id, modulo the number of
    rows), because concurrent additions to one number would lose counts.
    """

    _ROWS = 1024

    def __init__(self) -> None:
        self._table = np.frombuffer(mmap.mmap(-1, self._ROWS * 4 * 8), np.int64).reshape(self._ROWS, 4)

    def add(self, hits: int, misses: int) -> None:
        self._table[os.getpid() % self._ROWS, :2] += (hits, misses)

    def fill(self) -> None:
        self._table[os.getpid() % self._ROWS, 2] = 1

    def fail(self, code: int | None) -> None:
        self._table[os.getpid() % self._ROWS, 3] = code or errno.EIO

    @property
    def hits(self) -> int:
        return int(self._table[:, 0].sum())

    @property
    def misses(self) -> int:
        return int(self._table[:, 1].sum())

    @property
    def full(self) -> bool:
        return bool(self._table[:, 2].any())

    @property
    def failed(self) -> int:
        return int(self._table[:, 3].max())


def _frozen(array: Array) -> Array:
    if array.dtype != np.float32:
        raise TypeError(f"the cache stores float32, not {array.dtype}")
    frozen = np.ascontiguousarray(array).reshape(array.shape).view()  # ascontiguousarray makes a scalar one-dimensional
    frozen.flags.writeable = False
    return frozen
