"""The immutable blobs of a yard, each stored once under the SHA-256 of its bytes.

A blob's link count is its reference count: every user of a blob hard-links it, and a blob with a
single link is unused. On a file system without hard links, users hold copies.
This module does not know what the blobs contain.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path

from trainyard import durable
from trainyard.errors import CorruptError


class Objects:
    """The blobs of one yard, in `.yard/objects/`."""

    def __init__(self, yard: Path) -> None:
        self._root = yard / ".yard" / "objects"

    def path(self, digest: str) -> Path:
        """Where the blob with this digest is, or would be."""
        return self._root / digest[:2] / digest

    def has(self, digest: str) -> bool:
        """Whether the blob is stored."""
        return self.path(digest).exists()

    def put(self, file: Path, digest: str | None = None) -> str:
        """Stores the bytes of `file` (as a hard link where possible) and returns their digest.

        `file` must be flushed to disk already and must never be written into again.
        """
        digest = digest or durable.sha256_file(file)
        if not self.has(digest):
            with contextlib.suppress(FileExistsError):  # another process stored the same bytes first
                durable.link_or_copy(file, self.path(digest))
        return digest

    def create(self, write: Callable[[Path], None]) -> str:
        """Stores the file that `write` creates at the path it is given; returns its digest."""
        durable.make_directories(self._root)
        durable.sweep(self._root)
        written = durable.temporary(self._root)
        try:
            write(written)
            durable.settle(written)
            return self.put(written)  # a rename could replace the same object while another process links it
        finally:
            written.unlink(missing_ok=True)

    def link(self, digest: str, target: Path) -> None:
        """Hard-links the blob to `target`, or copies it; CorruptError if it is not stored."""
        try:
            durable.link_or_copy(self.path(digest), target)
        except FileNotFoundError:
            what = f"Object {digest[:12]}…, which {target} needs, is missing from {self._root}."
            remedy = "Restore it from a copy of the yard, or use another checkpoint."
            raise CorruptError(what, remedy, value=digest, place=target) from None

    def unreferenced(self) -> list[tuple[Path, int]]:
        """Blobs without any other link: (path, size in bytes)."""
        paths = [Path(folder, name) for folder, _, names in os.walk(self._root) for name in names]
        known = [(path, path.stat()) for path in paths if not durable.is_temporary(path)]
        return sorted((path, status.st_size) for path, status in known if status.st_nlink == 1)
