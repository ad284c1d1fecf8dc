"""Writing a version to disk: its files linked to the yard's objects, its manifest, and one rename.

Every file in place is verified against its entry; a damaged object is replaced by good bytes. Knows nothing of
aliases, lineage or runs.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from trainyard import durable
from trainyard.artifacts.digests import Digests, changed, copy_hashed
from trainyard.artifacts.series import MANIFEST, Series
from trainyard.artifacts.versions import FileEntry, Version
from trainyard.errors import CorruptError
from trainyard.objects import Objects

_TRIES = 3


def commit(
    objects: Objects, series: Series, draft: Version, sources: Mapping[str, Path], known: Digests, *, copied: bool
) -> Version:
    """Adds a complete version to a series, or nothing; returns it with its number.

    The draft has the first number to try. `sources` are its files by path, and are copied instead of linked if
    `copied`; their digests are `known`.

    Raises:
        DiskFullError: no space for copies.
        UserError: a source changed meanwhile.
    """
    here = os.stat(series.folder).st_dev
    needed = sum(status.st_size for status in map(os.stat, sources.values()) if copied or status.st_dev != here)
    durable.require_space(series.folder, needed)
    version = draft
    while True:
        target = series.directory(version.number)
        try:
            with durable.staging(target) as staged:
                for path, source in sources.items():
                    _place(objects, source, staged / "files" / path, draft.files[path], known, copied=copied)
                durable.write_json(staged / MANIFEST, version.manifest(), sync=False)  # everything is synced at once
            return version
        except FileExistsError:
            if not target.exists():
                raise
            version = replace(version, number=version.number + 1)  # taken by a process that does not see our lock


def repair(series: Series, version: Version, sources: Mapping[str, Path], known: Digests, *, copied: bool) -> None:
    """Replaces a version's files that are damaged or missing by sources with the same content."""
    for path, entry in version.files.items():
        stored = series.files(version.number) / path
        if not stored.exists() or known.of(stored).sha256 != entry.sha256:
            (copy_hashed if copied else durable.publish)(sources[path], stored)


def _place(objects: Objects, source: Path, target: Path, entry: FileEntry, known: Digests, *, copied: bool) -> None:
    """Links `target` to the object with the bytes of `source`, which becomes that object if there is none."""
    blob = objects.path(entry.sha256)
    for _ in range(_TRIES):
        with contextlib.suppress(FileNotFoundError, CorruptError):  # the object was deleted at this moment
            if blob.exists() and known.of(blob).sha256 == entry.sha256:
                objects.link(entry.sha256, target)
            elif copied:
                if copy_hashed(source, target) != entry.sha256:
                    raise changed(source)
                known.note(os.stat(target), entry)
                _keep(objects, target, entry)
            else:
                _keep(objects, source, entry)
                objects.link(entry.sha256, target)
            if known.of(target).sha256 == entry.sha256:
                return
        target.unlink(missing_ok=True)
    raise changed(source)


def _keep(objects: Objects, file: Path, entry: FileEntry) -> None:
    """Makes `file` the object of its digest, replacing a damaged one."""
    if objects.has(entry.sha256):
        durable.publish(file, objects.path(entry.sha256))
    else:
        objects.put(file, entry.sha256)
