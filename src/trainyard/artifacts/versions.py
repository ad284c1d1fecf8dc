"""One version of an artifact as plain data, and its manifest as JSON.

The digest of a version covers its paths and their files' digests, so it identifies equal content and reveals a
changed manifest. Touches no disk.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from trainyard.artifacts.names import check_name, check_path, check_project
from trainyard.errors import BadNameError, CorruptError

FORMAT = 1


@dataclass(frozen=True)
class FileEntry:
    """One file: its size in bytes, its SHA-256 in hexadecimal, and optionally its MD5 in base64."""

    size: int
    sha256: str
    md5: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """The form of a manifest."""
        return {"size": self.size, "sha256": self.sha256, **({"md5": self.md5} if self.md5 else {})}


@dataclass(frozen=True)
class Version:
    """An immutable version of an artifact.

    Attributes:
        project: the project it belongs to.
        name: the artifact's name.
        number: 3 for v3.
        type: model, dataset …; the same in all versions.
        digest: SHA-256 over paths and file digests.
        metadata: its description, ready for JSON.
        files: path in the artifact to its entry.
        made_by: the id of the run that logged it first; None: it was logged outside a run.
        created: the time, in UTC.
        aliases: its current aliases, which may include `latest`.
        inputs: references of the artifacts that the run had used before.
    """

    project: str
    name: str
    number: int
    type: str
    digest: str
    metadata: dict[str, Any]
    files: dict[str, FileEntry]
    made_by: str | None
    created: str
    aliases: tuple[str, ...] = ()
    inputs: tuple[str, ...] = field(default=())

    @property
    def label(self) -> str:
        """Such as "v3"."""
        return f"v{self.number}"

    @property
    def reference(self) -> str:
        """Such as "project/name:v3": its permanent name in the yard."""
        return f"{self.project}/{self.name}:{self.label}"

    @property
    def size(self) -> int:
        """Bytes of all its files."""
        return sum(entry.size for entry in self.files.values())

    def manifest(self) -> dict[str, Any]:
        """The content of `manifest.json`: everything except the aliases, which move."""
        return {
            "format": FORMAT,
            "project": self.project,
            "name": self.name,
            "number": self.number,
            "type": self.type,
            "digest": self.digest,
            "made_by": self.made_by,
            "created": self.created,
            "inputs": list(self.inputs),
            "metadata": self.metadata,
            "files": {path: entry.to_dict() for path, entry in self.files.items()},
        }

    def to_dict(self) -> dict[str, Any]:
        """The form that `--json` prints."""
        content = self.manifest()
        del content["format"]
        return {
            **content,
            "reference": self.reference,
            "version": self.label,
            "size": self.size,
            "aliases": list(self.aliases),
        }


def content_digest(files: Mapping[str, FileEntry]) -> str:
    """SHA-256 over paths and file digests: the same for the same content in any order."""
    pairs = sorted((path, entry.sha256) for path, entry in files.items())
    return hashlib.sha256(json.dumps(pairs, separators=(",", ":")).encode()).hexdigest()


def read_manifest(data: bytes, where: str) -> Version:
    """The version that a manifest describes, without aliases.

    Raises:
        CorruptError: it was changed, or names files outside of the artifact.
    """
    try:
        content = json.loads(data)
        version = Version(
            check_project(content["project"]),
            check_name(content["name"]),
            int(content["number"]),
            content["type"],
            content["digest"],
            content["metadata"],
            {check_path(path): FileEntry(**entry) for path, entry in content["files"].items()},
            content["made_by"],
            content["created"],
            inputs=tuple(content["inputs"]),
        )
        sound = version.digest == content_digest(version.files)
    except (ValueError, KeyError, TypeError, AttributeError, BadNameError) as error:
        raise _damaged(where, f"it cannot be read ({type(error).__name__}: {error})") from None
    if not sound:
        raise _damaged(where, "its digest does not match its files")
    return version


def _damaged(where: str, why: str) -> CorruptError:
    return CorruptError(
        f"The manifest {where} is damaged: {why}.",
        "Restore it from a copy of the yard, or log the artifact again.",
        place=where,
    )
