"""A yard: a root directory of runs, and its own few files.

`.yard/changes.log` lists the homes that changed, one per line, so that an index finds them without walking the
tree; like the index, it can be deleted without harm. Knows nothing of the contents of runs.
"""

from __future__ import annotations

import os
from pathlib import Path

from trainyard import durable
from trainyard.errors import YardError
from trainyard.objects import Objects


class Yard:
    """An existing yard in the directory `root`, or with `create` a new one if it is missing.

    Raises:
        YardError: `root` is missing, not a directory, or cannot be created.
    """

    def __init__(self, root: str | os.PathLike[str], *, create: bool = False) -> None:
        self.root = Path(os.path.abspath(root))
        if create:
            durable.make_directories(self.root)
        elif not self.root.exists():
            remedy = "`trainyard train` creates one; name another with --yard DIR or TRAINYARD_YARD."
            raise YardError(f"There is no yard at {self.root}.", remedy, place=self.root)
        elif not self.root.is_dir():
            what = f"The yard {self.root} is not a directory."
            raise YardError(what, "Choose another with --yard DIR.", place=self.root)
        self.own = self.root / ".yard"
        self.trash = self.own / "trash"
        self.index_path = self.own / "index.sqlite"
        self.changes_path = self.own / "changes.log"
        self.objects = Objects(self.root)

    def __repr__(self) -> str:
        return f"Yard({str(self.root)!r})"

    @property
    def writable(self) -> bool:
        """Whether this process may write here."""
        return os.access(self.root, os.W_OK) and (not self.own.exists() or os.access(self.own, os.W_OK))

    def relative(self, path: Path) -> str:
        """`path` as it is recorded: relative to the yard, with forward slashes.

        Raises:
            YardError: it is outside the yard.
        """
        try:
            return path.relative_to(self.root).as_posix()
        except ValueError:
            what = f"{path} is outside the yard {self.root}."
            raise YardError(what, "Save it below the yard.", value=path, place=self.root) from None

    def note_change(self, home: str) -> None:
        """Records for indexes that the run in `home` (relative) is new or changed."""
        durable.make_directories(self.own)
        with durable.explained(self.changes_path):
            fd = durable.calls.open(self.changes_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            try:
                # one write: lines stay whole when several processes append
                durable.calls.write(fd, memoryview((home + "\n").encode()))
            finally:
                os.close(fd)
