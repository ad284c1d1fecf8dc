"""Downloads: the only way that bytes leave a yard. A target file is complete or does not exist.

Bytes are collected in a file beside the target, named by their digest: another download of the same bytes, even
after a kill, continues where it ended. Only a file with the right digest is renamed to the target. Knows no runs
and no transport: a source is a size, a digest and a function that reads from a position.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from trainyard import durable
from trainyard.errors import BadNameError, CorruptError, DiskFullError, NameTakenError, YardError
from trainyard.units import human_size

_CHUNK = 1 << 20  # bytes read at once from a partial download


@dataclass(frozen=True)
class Source:
    """A file to download: its `title` in messages, its bytes from a position on, and the remedy if it is damaged.

    The digest, a SHA-256, is None for a file that may change, whose current content is accepted.
    """

    title: str
    size: int
    digest: str | None
    read: Callable[[int], Iterator[bytes]]
    remedy: str = "`trainyard verify` lists all damage; restore the file from a copy of the yard."

    def pieces(self, start: int = 0) -> Iterator[bytes]:
        """The bytes from `start`, up to the recorded size; CorruptError when there are fewer or more."""
        if self.digest is None:
            yield from self.read(start)
            return
        position = start
        for piece in self.read(start):
            position += len(piece)
            if position > self.size:
                raise self._damaged(f"has more than the recorded {self.size:,} bytes", position)
            yield piece
        if position < self.size:
            raise self._damaged(f"ends after {position:,} of {self.size:,} bytes", position)

    def check(self, digest: str) -> None:
        """Raises CorruptError when this is not the recorded digest."""
        if self.digest is not None and digest != self.digest:
            how = f"differs from its record (SHA-256 {digest[:12]}…, recorded {self.digest[:12]}…)"
            raise self._damaged(how, digest)

    def _damaged(self, how: str, value: int | str) -> CorruptError:
        """The error; its value is the wrong size or digest."""
        return CorruptError(f"{self.title} {how}. Nothing was saved.", self.remedy, value=value, place=self.title)


def target_of(root: str | os.PathLike[str], name: str) -> Path:
    """The path of the file `name` below `root`; BadNameError when it would be outside."""
    parts = name.split("/")
    if "\0" in name or any(part in ("", ".", "..") for part in parts):
        what = f"The file {name!r} would be outside {os.fspath(root)!r}; it was not downloaded."
        remedy = "Names must be relative and without '..'; do not trust this source."
        raise BadNameError(what, remedy, value=name, place=root)
    return Path(root, *parts)


def download(wanted: Sequence[tuple[Source, Path]], *, replace: bool = False, exist_ok: bool = False) -> None:
    """Writes each source to its path. A file that has the same bytes already is not touched.

    All paths, and the free space on the disk, are checked before the first byte is fetched. Files that differ are
    an error, unless `replace` replaces them or `exist_ok` keeps them.

    Raises:
        NameTakenError: a path exists with other content; nothing was written.
        DiskFullError: the disk is full, found before or while writing. No path holds a partial file; the
            received bytes are kept beside it for the next try.
        CorruptError: a source differs from its record; nothing of it is kept.
        YardError: a directory that cannot be written.
    """
    missing = [(source, target) for source, target in wanted if not _is_settled(source, target, replace, exist_ok)]
    needed = sum(max(source.size - _collected(source, target), 0) for source, target in missing)
    for directory in {target.parent for _, target in missing}:  # usually all on one file system
        try:
            durable.require_space(directory, needed)
        except DiskFullError as error:
            remedy = "Free some space, or choose a directory on another disk: root=…, --to."
            raise DiskFullError(error.what, remedy, value=needed, place=directory) from error
    for source, target in missing:
        _fetch(source, target, replace=replace, exist_ok=exist_ok)


def _is_settled(source: Source, target: Path, replace: bool, exist_ok: bool) -> bool:
    """Whether nothing is left to do: the target has the same bytes, or may stay as it is."""
    if not os.path.lexists(target):
        folder = next(folder for folder in target.absolute().parents if os.path.lexists(folder))
        if not folder.is_dir():
            what = f"{folder} is not a directory, so {target} cannot be written."
            remedy = "Choose another directory: root=…, on the command line --to."
            raise NameTakenError(what, remedy, value=target, place=folder)
        return False
    if target.is_file():
        if _is_same(source, target) or (exist_ok and not replace):
            return True
        if replace:
            return False
    elif replace and not target.is_dir():
        return False
    what = f"{target} exists and is not {source.title}. It was not changed."
    remedy = "Choose another directory, or replace it: replace=True, --replace."
    raise NameTakenError(what, "Remove it." if target.is_dir() else remedy, value=source.title, place=target)


def _is_same(source: Source, target: Path) -> bool:
    if source.digest is not None:
        return target.stat().st_size == source.size and durable.sha256_file(target) == source.digest
    hasher = hashlib.sha256()
    for piece in source.pieces():
        hasher.update(piece)
    return durable.sha256_file(target) == hasher.hexdigest()


def _collected(source: Source, target: Path) -> int:
    """Bytes received by an earlier try, which need no further space."""
    partial = _partial_of(source, target)
    return partial.stat().st_size if source.digest is not None and partial.exists() else 0


def _partial_of(source: Source, target: Path) -> Path:
    mark = hashlib.sha256(str(source.digest).encode()).hexdigest()  # of the digest: an untrusted source supplies it
    return target.parent / f".part-{mark[:32]}"


def _fetch(source: Source, target: Path, *, replace: bool, exist_ok: bool) -> None:
    with _explained(source, target):
        durable.make_directories(target.parent)
        with _collecting(source, target) as (partial, fd):
            collected = os.fstat(fd).st_size
            digest = _fill(fd, source)
            if collected and digest != source.digest:  # the earlier bytes may be at fault: a power cut can leave zeros
                durable.calls.truncate(fd, 0)
                digest = _fill(fd, source)
            source.check(digest)
            durable.settle(partial)
            if not _is_settled(source, target, replace, exist_ok):  # another process may have written it meanwhile
                durable.calls.rename(partial, target)
        durable.fsync_path(target.parent)


@contextlib.contextmanager
def _collecting(source: Source, target: Path) -> Iterator[tuple[Path, int]]:
    """The open file in which the bytes are collected: the partial one, unless another process is using it.

    It is kept after a failure, unless it is empty, damaged, or cannot be continued.
    """
    partial, fd, continued = _open_partial(source, target)
    keep = False
    try:
        yield partial, fd
    except CorruptError:
        raise
    except BaseException:
        keep = continued and os.fstat(fd).st_size > 0
        raise
    finally:
        with contextlib.suppress(FileNotFoundError):  # renamed to the target; another process may use the name now
            if not keep and os.path.samestat(os.fstat(fd), partial.stat()):
                os.unlink(partial)
        os.close(fd)


def _open_partial(source: Source, target: Path) -> tuple[Path, int, bool]:
    if source.digest is not None:  # a file that may change is not continued
        partial = _partial_of(source, target)
        fd = durable.calls.open(partial, os.O_RDWR | os.O_CREAT)
        with contextlib.suppress(OSError):  # locked, no locks on this file system, or renamed by another process
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(fd), partial.stat()):
                return partial, fd, True
        os.close(fd)
    durable.sweep(target.parent)
    own = durable.temporary(target.parent)
    return own, durable.calls.open(own, os.O_RDWR | os.O_CREAT | os.O_EXCL), False


def _fill(fd: int, source: Source) -> str:
    """Appends the missing bytes to the open file; returns the digest of the whole."""
    if os.fstat(fd).st_size > source.size:
        durable.calls.truncate(fd, 0)
    hasher = hashlib.sha256()
    position = 0
    while chunk := os.pread(fd, _CHUNK, position):
        hasher.update(chunk)
        position += len(chunk)
    os.lseek(fd, position, os.SEEK_SET)
    if position < source.size or not position:
        for piece in source.pieces(position):
            hasher.update(piece)
            durable.write_all(fd, piece)
    return hasher.hexdigest()


@contextlib.contextmanager
def _explained(source: Source, target: Path) -> Iterator[None]:
    """Rewords errors of the target's file system for a download."""
    try:
        with durable.explained(target):
            yield
    except DiskFullError as error:
        what = (
            f"The disk is full: {source.title} ({human_size(source.size)}) does not fit at {target}; it is not there."
        )
        remedy = "Free some space and download it again: the received bytes are kept, and the download continues."
        raise DiskFullError(what, remedy, value=source.size, place=target) from error
    except YardError as error:
        raise YardError(error.what, "Choose a writable directory: root=…, --to.", place=target) from error
