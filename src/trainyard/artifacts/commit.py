"""Making a version on disk: its files linked to the yard's objects, its manifest, and one rename.

Every file is known to be what its entry says once it is in place; a blob that is damaged makes way for
good bytes. Knows nothing of aliases, lineage or runs.
"""

from __future__ import annotations

import contextlib
import itertools
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
from trainyard.runs import Yard

_TRIES = 3


def commit(
    yard: Yard, series: Series, draft: Version, sources: Mapping[str, Path], known: Digests, *, copied: bool
) -> Version:
    """Adds a version to a series, whole or not at all, and returns it with the number it has.

    Args:
        yard: whose objects.
        series: which one grows.
        draft: the version, with the first number to try.
        sources: path in the artifact to the file.
        known: digests of the sources.
        copied: copy them instead of linking them.

    Raises:
        DiskFullError: no room for copies.
        UserError: a source changes meanwhile.
    """
    here = os.stat(series.folder).st_dev
    needed = sum(status.st_size for status in map(os.stat, sources.values()) if copied or status.st_dev != here)
    durable.require_space(series.folder, needed)
    for number in itertools.count(draft.number):
        version = replace(draft, number=number)
        try:
            with durable.staging(series.directory(number)) as staged:
                for path, source in sources.items():
                    _place(yard.objects, source, staged / "files" / path, draft.files[path], known, copied=copied)
                durable.write_json(staged / MANIFEST, version.manifest(), sync=False)  # all of it is synced at once
        except FileExistsError:
            if not series.directory(number).exists():
                raise
            continue  # a process that does not see our lock was first
        return version
    raise AssertionError  # numbers do not end


def repair(series: Series, version: Version, sources: Mapping[str, Path], known: Digests, *, copied: bool) -> None:
    """Replaces a version's files that are damaged or missing by sources with the same content."""
    for path, entry in version.files.items():
        stored = series.files(version.number) / path
        if not stored.exists() or known.of(stored).sha256 != entry.sha256:
            (copy_hashed if copied else durable.publish)(sources[path], stored)


def _place(objects: Objects, source: Path, target: Path, entry: FileEntry, known: Digests, *, copied: bool) -> None:
    """Makes `target` the object with the bytes of `source`, which becomes that object if there is none."""
    blob = objects.path(entry.sha256)
    for _ in range(_TRIES):
        with contextlib.suppress(FileNotFoundError, CorruptError):  # the trash was emptied at this moment
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
    """Makes `file` the object of its digest, also in the place of one that is damaged."""
    if objects.has(entry.sha256):
        durable.publish(file, objects.path(entry.sha256))
    else:
        objects.put(file, entry.sha256)
