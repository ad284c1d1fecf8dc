"""The versions of one artifact, in a folder: their numbers, the aliases, and the runs that logged or used them.

`aliases.json` also holds the highest number ever used, so that a removed version's number and aliases stay
reserved, and a restored one fits in its old place. `lineage.jsonl` is append-only.
Knows nothing of the files in a version.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from trainyard import durable, jsonl
from trainyard.artifacts.names import LATEST, version_number
from trainyard.artifacts.versions import Version, read_manifest
from trainyard.errors import CorruptError
from trainyard.runs.identity import utc_now

MANIFEST = "manifest.json"
Role = Literal["logged", "used"]
_PATIENCE_S = 600.0  # another process may be copying a large file under the lock


@dataclass(frozen=True)
class Series:
    """The folder of one artifact, which need not exist; `root` holds all artifacts of a yard."""

    root: Path
    project: str
    name: str

    @property
    def title(self) -> str:
        """Such as "project/name"."""
        return f"{self.project}/{self.name}"

    @cached_property
    def folder(self) -> Path:
        """The folder of its versions."""
        return self.root / self.project / self.name

    def directory(self, number: int) -> Path:
        """The directory of a version."""
        return self.folder / f"v{number}"

    def files(self, number: int) -> Path:
        """The directory of a version's files."""
        return self.directory(number) / "files"

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keeps other processes from changing this artifact for the block."""
        with durable.locked(self.folder / "lock", timeout_s=_PATIENCE_S):
            yield

    def numbers(self) -> list[int]:
        """The numbers of the existing versions, oldest first."""
        try:
            found = os.listdir(self.folder)
        except (FileNotFoundError, NotADirectoryError):
            return []
        return sorted(number for name in found if (number := version_number(name)) is not None)

    def read(self, number: int, aliases: Mapping[str, int] | None = None) -> Version:
        """One version, with its current aliases (which can be passed in); CorruptError when its manifest is damaged."""
        path = self.directory(number) / MANIFEST
        try:
            version = read_manifest(path.read_bytes(), str(path))
        except FileNotFoundError:
            raise CorruptError(f"{path} is missing.", "Restore it from a copy of the yard.", place=path) from None
        if (version.project, version.name, version.number) != (self.project, self.name, number):
            what = f"{path} is the manifest of {version.reference}."
            raise CorruptError(what, "Move it back to its own version.", value=version.reference, place=path)
        pointed = self.aliases() if aliases is None else aliases
        names = [name for name, target in pointed.items() if target == number]
        return replace(version, aliases=tuple(sorted(names, key=lambda name: (name != LATEST, name))))

    # -- aliases and numbers

    def _state(self) -> tuple[int, dict[str, int]]:
        """The highest number recorded as used, -1 for none, and the recorded aliases."""
        path = self.folder / "aliases.json"
        try:
            content = json.loads(path.read_bytes())
            return int(content["numbered"]), {str(k): int(v) for k, v in content["aliases"].items()}
        except FileNotFoundError:
            return -1, {}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            what = f"{path} is damaged ({type(error).__name__}: {error})."
            remedy = "Restore it from a copy of the yard; or remove it, and set the aliases again."
            raise CorruptError(what, remedy, place=path) from None

    def aliases(self) -> dict[str, int]:
        """Alias to the number of its version, for existing versions; always contains `latest`."""
        there = self.numbers()
        if not there:
            return {}
        numbered, recorded = self._state()
        found = {name: number for name, number in recorded.items() if number in there}
        if there[-1] > numbered:  # its writer was killed before updating the aliases
            found[LATEST] = there[-1]
        return {LATEST: there[-1], **found}

    def next_number(self) -> int:
        """A number that no version ever had. Call it under the lock."""
        return max([self._state()[0], *self.numbers()[-1:]]) + 1

    def set_aliases(self, add: Mapping[str, int], remove: Sequence[str] = ()) -> None:
        """Makes aliases point at the versions of these numbers, and removes others. Call it under the lock.

        Also ensures that no number in use now is ever reused, even with nothing to change.
        """
        before, recorded = self._state()
        aliases = {name: number for name, number in {**recorded, **add}.items() if name not in remove}
        numbered = max([before, *self.numbers()[-1:]])
        if numbered > before and LATEST not in add:
            aliases[LATEST] = numbered
        if (numbered, aliases) != (before, recorded):
            durable.write_json(self.folder / "aliases.json", {"numbered": numbered, "aliases": aliases})

    # -- lineage

    def notes(self, number: int | None = None) -> list[dict[str, Any]]:
        """The runs that logged or used a version (None: any), oldest first: {"version", "role", "run": id, "at"}."""
        lines, _ = jsonl.read_lines(self.folder / "lineage.jsonl")
        return [line for line in lines if number in (None, line["version"])]

    def note(self, number: int, role: Role, run_id: str) -> None:
        """Records once that a run logged or used a version. Call it under the lock."""
        if any((line["role"], line["run"]) == (role, run_id) for line in self.notes(number)):
            return
        line = {"version": number, "role": role, "run": run_id, "at": utc_now()}
        with contextlib.closing(jsonl.Appender(self.folder / "lineage.jsonl")) as lines:
            lines.append(jsonl.encode_line(line))
