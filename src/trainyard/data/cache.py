"""A memory-mapped store of what is costly to compute from an item: decoded sound, features.

An entry is found by the digest of the item's content in a folder named by the digest of every
parameter it depends on, so nothing stale is ever found. What is here can be computed again: nothing
is synced, and whatever fails (a full disk, a limit, a deleted folder, a damaged byte) costs time and
is reported, but never ends the training and never gives a wrong number. Knows no audio.
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
    """Arrays float32 of any shape, kept by item digest for one set of parameters.

    Processes may share a directory. Copies made by fork share the counters of `stats`; a copy sent
    to a process in another way counts for itself. Nothing is created before the first entry is kept.

    Args:
        directory: where the caches of all parameters lie. It may vanish at any time.
        parameters: everything but the item's content that an entry depends on, JSON-able, the version of the
            code that computes it included.
        limit_mb: mebibytes that all folders in `directory` may take together. Before they take more,
            folders of other parameters go, least recently used first, but none that a process has open;
            after that nothing more is kept.
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
        """The arrays of some items, read-only; those not kept yet are computed, and kept.

        Args:
            digests: of the items' content.
            compute: positions in `digests` -> their arrays, float32. Called at most once, with one
                position of each digest that is missing.
        """
        found = self._find(digests)
        missing: dict[str, int] = {}
        for position, array in enumerate(found):
            if array is None:
                missing.setdefault(digests[position], position)
        self._counters.add(hits=len(digests) - len(missing), misses=len(missing))
        if missing:
            made = dict(zip(missing, map(_frozen, compute(list(missing.values()))), strict=True))
            self._keep(made)
            return [made[digest] if array is None else array for digest, array in zip(digests, found, strict=True)]
        return [array for array in found if array is not None]

    def has(self, digests: Sequence[str]) -> npt.NDArray[np.bool_]:
        """Which items are kept, bool [N]; none that another process kept is missed."""
        store = self._refreshed()
        return np.fromiter((store is not None and digest in store for digest in digests), np.bool_, len(digests))

    def stats(self) -> dict[str, Any]:
        """What a person may want to know, JSON-able.

        `directory` of these parameters; `entries` and `size_bytes` in it; `limit_bytes` of all folders
        together; `hits` and `misses` so far; `full`: nothing more is kept, as the limit is reached;
        `failed`: why nothing more is kept, or None.
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
            if self._store is not None:  # without a system call, once everything has been read
                found = [self._store.get(digest) for digest in digests]
            if any(array is None for array in found) and (store := self._refreshed()) is not None:
                found = [store.get(d) if array is None else array for d, array in zip(digests, found, strict=True)]
        except OSError as error:  # of the map
            self._counters.fail(error.errno)
        return found

    def _refreshed(self) -> Store | None:
        """The folder as it is now. One that was removed while open is still read until there is a new one."""
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
            self._counters.fill()  # before anything is created: a limit of 0 means no cache
            return
        try:
            with durable.locked(self._directory / "lock", timeout_s=_LOCK_TIMEOUT_S):
                self._append(arrays)
        except OSError as error:
            self._counters.fail(error.errno)
        except TrainyardError as error:  # what `durable` makes of an OSError, or a lock that is never free
            cause = error.__cause__
            self._counters.fail(cause.errno if isinstance(cause, OSError) else errno.ETIMEDOUT)

    def _append(self, arrays: Mapping[str, Array]) -> None:
        """Keeps what others have not kept meanwhile, as far as it fits. The lock is held."""
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
        """Bytes that may be written now, after removing what may go if `needed` is more."""
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
    """Hits, misses and the end of keeping, summed over a process and its forks.

    They lie in anonymous memory that forks share, in a row for each process (by its id, modulo their
    number), because adding to one number from several processes would lose some.
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
        raise TypeError(f"the cache keeps float32, not {array.dtype}")
    frozen = np.ascontiguousarray(array).reshape(array.shape).view()  # ascontiguousarray makes a scalar 1-d
    frozen.flags.writeable = False
    return frozen
