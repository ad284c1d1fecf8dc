"""How many bytes removing files will free, counted as the disk counts: by inode, hard links included.

Only reads. A blob of the object store whose last user is removed is counted, because emptying the trash
removes it; so is a file whose other links are in the trash already.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from trainyard.runs import Yard

_BLOCK = 512  # the unit of st_blocks on every file system

Inode = tuple[int, int]


@dataclass(frozen=True)
class Bytes:
    """`apparent`: the sum of file sizes. `freed`: what emptying the trash will free."""

    apparent: int = 0
    freed: int = 0


def statuses(path: Path) -> Iterator[os.stat_result]:
    """The status of a file, or of a directory and everything below it; nothing for a missing path."""
    try:
        status = path.lstat()
    except FileNotFoundError:
        return
    yield status
    if os.path.isdir(path) and not path.is_symlink():
        for folder, folders, names in os.walk(path):
            for name in (*folders, *names):
                try:
                    yield os.lstat(os.path.join(folder, name))
                except FileNotFoundError:
                    continue  # a temporary file of another process


def _links(root: Path) -> Counter[Inode]:
    return Counter((s.st_dev, s.st_ino) for s in statuses(root) if s.st_nlink > 1 and not _is_directory(s))


def _is_directory(status: os.stat_result) -> bool:
    return status.st_mode & 0o170000 == 0o040000


class _Elsewhere:
    """Links that emptying the trash removes anyway: in the trash, and in the object store. Read when needed."""

    def __init__(self, yard: Yard) -> None:
        self._yard = yard

    @cached_property
    def trash(self) -> Counter[Inode]:
        return _links(self._yard.trash)

    @cached_property
    def objects(self) -> Counter[Inode]:
        return _links(self._yard.own / "objects")


def measure(yard: Yard, groups: Sequence[Sequence[Path]], *, alone: bool = False) -> list[Bytes]:
    """The sizes of each group of paths, when all groups are removed together.

    A file with several links is freed by the group that has the last of them; the sum over all
    groups is what is freed in total.

    Args:
        yard: its objects and its trash are taken into account.
        groups: files and directories; none inside another.
        alone: nothing else is removed, neither the trash nor unused objects.
    """
    elsewhere = _Elsewhere(yard)
    seen: Counter[Inode] = Counter()
    found: list[Bytes] = []
    for group in groups:
        apparent = freed = 0
        for path in group:
            for status in statuses(path):
                size = status.st_blocks * _BLOCK
                if _is_directory(status):
                    freed += size
                    continue
                apparent += status.st_size
                inode = (status.st_dev, status.st_ino)
                seen[inode] += 1
                # A file is freed once the links that are removed are all that it has. The trash and
                # the objects are walked only if the links seen so far are not all of them.
                removed = seen[inode]
                if removed < status.st_nlink and not alone:
                    removed += elsewhere.trash[inode]
                if removed < status.st_nlink and not alone:
                    removed += elsewhere.objects[inode]
                if removed == status.st_nlink:
                    freed += size
        found.append(Bytes(apparent, freed))
    return found
