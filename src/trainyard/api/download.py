"""The one way that bytes leave a yard: from a source to a file that is whole or not there.

They are collected in a file beside the target, named by their digest: whoever asks for the same bytes again, after
a kill too, continues where it ends. Only what has the right digest is renamed to the target. Knows no runs and no
transport: a source is a size, a digest and a function that reads from a position.
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

_ELSEWHERE = "Choose another directory: root=…, on the command line --to."
_CHUNK = 1 << 20  # bytes read at once of what is here already


@dataclass(frozen=True)
class Source:
    """A file to download.

    Args:
        title: what it is, for messages.
        size: bytes.
        digest: SHA-256 in hexadecimal; None for a file that may change, of which whatever is there now is right.
        read: the bytes from a position on.
        remedy: what to do when it is damaged.
    """

    title: str
    size: int
    digest: str | None
    read: Callable[[int], Iterator[bytes]]
    remedy: str = "`trainyard verify` names what else is damaged; restore it from a copy of the yard."

    def pieces(self, start: int = 0) -> Iterator[bytes]:
        """The bytes from `start` on, exactly as many as were recorded.

        Raises:
            CorruptError: there are fewer or more.
        """
        if self.digest is None:
            yield from self.read(start)
            return
        position = start
        for piece in self.read(start):
            position += len(piece)
            if position > self.size:
                raise self._damaged(f"has more than the {self.size:,} bytes that were recorded")
            yield piece
        if position < self.size:
            raise self._damaged(f"ends after {position:,} of {self.size:,} bytes")

    def check(self, digest: str) -> None:
        """Raises CorruptError when this is not the digest of what was recorded."""
        if self.digest is not None and digest != self.digest:
            raise self._damaged(f"has other bytes than were recorded (SHA-256 {digest[:12]}…, not {self.digest[:12]}…)")

    def _damaged(self, how: str) -> CorruptError:
        return CorruptError(f"{self.title} {how}. None of it was kept.", self.remedy)


def target_of(root: str | os.PathLike[str], name: str) -> Path:
    """Where the file `name` goes below `root`.

    Raises:
        BadNameError: it would leave `root`.
    """
    parts = name.split("/")
    if "\0" in name or any(part in ("", ".", "..") for part in parts):
        raise BadNameError(
            f"The file {name!r} would not lie inside {os.fspath(root)!r}: it was not downloaded.",
            "Names from a trustworthy source are relative and without '..'.",
        )
    return Path(root, *parts)


def download(wanted: Sequence[tuple[Source, Path]], *, replace: bool = False, exist_ok: bool = False) -> None:
    """Puts each source at its path. What already is there with the same bytes stays untouched.

    All paths, and the free space on the disk, are checked before the first byte is fetched.

    Args:
        wanted: sources and where they go.
        replace: put them in the place of files that differ.
        exist_ok: keep files that differ instead.

    Raises:
        NameTakenError: something else is at a path; nothing was written.
        DiskFullError: no room, known before or noticed on the way. No path holds part of a file, and
            what arrived is kept beside it for the next try.
        CorruptError: a source is not what was recorded; nothing is left of it.
        YardError: a directory that cannot be written.
    """
    missing = [(source, target) for source, target in wanted if not _is_settled(source, target, replace, exist_ok)]
    needed = sum(max(source.size - _collected(source, target), 0) for source, target in missing)
    for directory in {target.parent for _, target in missing}:  # as a rule on one file system
        try:
            durable.require_space(directory, needed)
        except DiskFullError as error:
            raise DiskFullError(
                error.what, "Free some space, or choose a directory on another disk: root=…, --to."
            ) from error
    for source, target in missing:
        _fetch(source, target, replace=replace, exist_ok=exist_ok)


def _is_settled(source: Source, target: Path, replace: bool, exist_ok: bool) -> bool:
    """Whether nothing is left to do, as the same bytes are there, or any that may stay."""
    if not os.path.lexists(target):
        folder = next(folder for folder in target.absolute().parents if os.path.lexists(folder))
        if not folder.is_dir():
            raise NameTakenError(f"{folder} is not a directory, so {target} cannot be written.", _ELSEWHERE)
        return False
    if target.is_file():
        if _is_same(source, target) or (exist_ok and not replace):
            return True
        if replace:
            return False
    elif replace and not target.is_dir():
        return False
    raise NameTakenError(
        f"{target} exists and is not {source.title}. It was left as it is.",
        "Remove it." if target.is_dir() else "Choose another directory, or replace it: replace=True, --replace.",
    )


def _is_same(source: Source, target: Path) -> bool:
    if source.digest is not None:
        return target.stat().st_size == source.size and durable.sha256_file(target) == source.digest
    hasher = hashlib.sha256()
    for piece in source.pieces():
        hasher.update(piece)
    return durable.sha256_file(target) == hasher.hexdigest()


def _collected(source: Source, target: Path) -> int:
    """Bytes that an earlier try left, which need no more room."""
    partial = _partial_of(source, target)
    return partial.stat().st_size if source.digest is not None and partial.exists() else 0


def _partial_of(source: Source, target: Path) -> Path:
    mark = hashlib.sha256(str(source.digest).encode()).hexdigest()[:32]  # of the digest: that is the source's own word
    return target.parent / f".part-{mark}"


def _fetch(source: Source, target: Path, *, replace: bool, exist_ok: bool) -> None:
    with _explained(source, target):
        durable.make_directories(target.parent)
        with _collecting(source, target) as (partial, fd):
            collected = os.fstat(fd).st_size
            digest = _fill(fd, source)
            if collected and digest != source.digest:  # what was here may be what is wrong: a power cut leaves zeros
                durable.calls.truncate(fd, 0)
                digest = _fill(fd, source)
            source.check(digest)
            durable.settle(partial)
            if not _is_settled(source, target, replace, exist_ok):  # another process may have been here meanwhile
                durable.calls.rename(partial, target)
        durable.fsync_path(target.parent)


@contextlib.contextmanager
def _collecting(source: Source, target: Path) -> Iterator[tuple[Path, int]]:
    """The open file that the bytes are collected in: as far as it is there, unless another process is at work on it.

    It stays after a failure, unless it is empty, damaged, or cannot be continued.
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
        with contextlib.suppress(FileNotFoundError):  # renamed to the target; the name may be another process's now
            if not keep and os.path.samestat(os.fstat(fd), partial.stat()):
                os.unlink(partial)
        os.close(fd)


def _open_partial(source: Source, target: Path) -> tuple[Path, int, bool]:
    if source.digest is not None:  # what may change meanwhile is not continued
        partial = _partial_of(source, target)
        fd = durable.calls.open(partial, os.O_RDWR | os.O_CREAT)
        with contextlib.suppress(OSError):  # locked, or a file system without locks; or renamed by another process
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(fd), partial.stat()):
                return partial, fd, True
        os.close(fd)
    durable.sweep(target.parent)
    own = durable.temporary(target.parent)
    return own, durable.calls.open(own, os.O_RDWR | os.O_CREAT | os.O_EXCL), False


def _fill(fd: int, source: Source) -> str:
    """Adds what is missing to the open file; returns the digest of the whole."""
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
    """Errors of the target's file system, said for a download."""
    try:
        with durable.explained(target):
            yield
    except DiskFullError as error:
        raise DiskFullError(
            f"The disk is full: {source.title} ({human_size(source.size)}) does not fit at {target}. "
            "Nothing has that name.",
            "Free some space and download it again: what arrived is kept beside it and continued.",
        ) from error
    except YardError as error:
        raise YardError(error.what, "Choose a directory that you may write to: root=…, --to.") from error
