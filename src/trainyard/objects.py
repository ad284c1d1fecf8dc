"""Immutable blobs of a yard, kept once each under the SHA-256 of their bytes.

A blob's link count is its reference count: whoever uses it hard-links it, and one with a single
link is used by nobody. Where a file system has no hard links, users hold copies.
Knows nothing of what the blobs are.
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
        """Whether the blob is here."""
        return self.path(digest).exists()

    def put(self, file: Path, digest: str | None = None) -> str:
        """Keeps the bytes of `file` (linked, not copied, where possible) and returns their digest.

        `file` must be on disk already and never be written into again.
        """
        digest = digest or durable.sha256_file(file)
        if not self.has(digest):
            with contextlib.suppress(FileExistsError):  # another process was first: same bytes
                durable.link_or_copy(file, self.path(digest))
        return digest

    def create(self, write: Callable[[Path], None]) -> str:
        """Keeps what `write` puts at the path it is given; returns its digest."""
        durable.make_directories(self._root)
        durable.sweep(self._root)
        written = durable.temporary(self._root)
        try:
            write(written)
            durable.settle(written)
            return self.put(written)  # linked, not renamed: never over the same object, which others may be linking
        finally:
            written.unlink(missing_ok=True)

    def link(self, digest: str, target: Path) -> None:
        """Makes `target` the blob.

        Raises:
            CorruptError: the blob is not here.
        """
        try:
            durable.link_or_copy(self.path(digest), target)
        except FileNotFoundError:
            raise CorruptError(
                f"The object {digest[:12]}… that {target} needs is missing from {self._root}.",
                "Restore it from a copy of the yard, or use another checkpoint.",
            ) from None

    def unreferenced(self) -> list[tuple[Path, int]]:
        """Blobs that nothing links to any more: (path, size in bytes)."""
        found: list[tuple[Path, int]] = []
        for folder, _, names in os.walk(self._root):
            for name in names:
                if durable.is_temporary(Path(name)):
                    continue
                status = os.stat(Path(folder, name))
                if status.st_nlink == 1:
                    found.append((Path(folder, name), status.st_size))
        return sorted(found)
