"""How many bytes removing files will free, counted as the disk counts: by inode, hard links included.

Only reads. A blob of the object store whose last user is removed is counted, because emptying the trash
removes it; so is a file whose other links are in the trash already.
"""

from __future__ import annotations

import functools
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISDIR

from trainyard.runs import Yard

_BLOCK = 512  # the unit of st_blocks on every file system

Inode = tuple[int, int]


@dataclass(frozen=True)
class Bytes:
    """`apparent`: the sum of file sizes. `freed`: what emptying the trash will free."""

    apparent: int = 0
    freed: int = 0


def _statuses(path: Path) -> Iterator[os.stat_result]:
    """The status of a file, or of a directory and everything below it; nothing for a missing path."""
    try:
        yield path.lstat()
    except FileNotFoundError:
        return
    if path.is_dir() and not path.is_symlink():
        for folder, folders, names in os.walk(path):
            for name in (*folders, *names):
                try:
                    yield os.lstat(os.path.join(folder, name))
                except FileNotFoundError:
                    continue  # a temporary file of another process


def _links(root: Path) -> Counter[Inode]:
    return Counter((s.st_dev, s.st_ino) for s in _statuses(root) if s.st_nlink > 1 and not S_ISDIR(s.st_mode))


def measure(yard: Yard, groups: Sequence[Sequence[Path]], *, alone: bool = False) -> list[Bytes]:
    """The sizes of each group of paths, none inside another, when all groups are removed together.

    A file with several links is freed by the group that has the last of them; the sum over all groups is
    what is freed in total. With `alone`, nothing else is removed, neither the trash nor unused objects.
    """
    also_removed = () if alone else (yard.trash, yard.own / "objects")
    links_below = functools.cache(_links)  # a walk, so only when the links seen so far are not all of a file's
    seen: Counter[Inode] = Counter()
    found: list[Bytes] = []
    for group in groups:
        apparent = freed = 0
        for status in (status for path in group for status in _statuses(path)):
            size = status.st_blocks * _BLOCK
            if S_ISDIR(status.st_mode):
                freed += size
                continue
            apparent += status.st_size
            inode = (status.st_dev, status.st_ino)
            seen[inode] += 1
            removed = seen[inode]
            for place in also_removed:
                if removed < status.st_nlink:
                    removed += links_below(place)[inode]
            if removed == status.st_nlink:
                freed += size
        found.append(Bytes(apparent, freed))
    return found
