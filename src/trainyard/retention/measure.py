"""How many bytes come free when files go, counted as the disk counts: by inode, hard links included.

Only reads. A blob of the object store whose last user goes is counted, for it goes with the trash;
so is a file whose other links lie in the trash already.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from trainyard.runs import Yard

_BLOCK = 512  # bytes of st_blocks, whatever the file system's own blocks are

Inode = tuple[int, int]


@dataclass(frozen=True)
class Bytes:
    """`apparent`: the sum of file sizes. `freed`: what the disk gets back once the trash is emptied."""

    apparent: int = 0
    freed: int = 0


def statuses(path: Path) -> Iterator[os.stat_result]:
    """The status of a file, or of a directory and everything below it; nothing for what is missing."""
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
                    continue  # somebody else's temporary file


def _links(root: Path) -> Counter[Inode]:
    return Counter((s.st_dev, s.st_ino) for s in statuses(root) if s.st_nlink > 1 and not _is_directory(s))


def _is_directory(status: os.stat_result) -> bool:
    return status.st_mode & 0o170000 == 0o040000


class _Elsewhere:
    """The links that go by themselves, those of the trash and the last ones of objects. Read when needed."""

    def __init__(self, yard: Yard) -> None:
        self._yard = yard

    @cached_property
    def trash(self) -> Counter[Inode]:
        return _links(self._yard.trash)

    @cached_property
    def objects(self) -> Counter[Inode]:
        return _links(self._yard.own / "objects")


def measure(yard: Yard, groups: Sequence[Sequence[Path]], *, alone: bool = False) -> list[Bytes]:
    """What each group of paths takes and gives back, when all groups go together.

    A file of several links is given back by the group that has the last of them; the sum over
    groups is what comes free.

    Args:
        yard: whose objects and trash are looked at.
        groups: files and directories; none inside another.
        alone: nothing else goes, neither what lies in the trash nor an object.
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
                going = seen[inode]
                if going < status.st_nlink and not alone:
                    going += elsewhere.trash[inode]
                if going < status.st_nlink and not alone:
                    going += elsewhere.objects[inode]
                if going == status.st_nlink:
                    freed += size
        found.append(Bytes(apparent, freed))
    return found
