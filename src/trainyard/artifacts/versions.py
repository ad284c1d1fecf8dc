"""One version of an artifact as plain data, and its manifests as JSON: ours, and that of Weights & Biases.

The digest of a version covers its paths and their files' digests, so it identifies equal content and reveals a
changed manifest. Touches no disk.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
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
    """An immutable version of an artifact. Its fields, in this order, are those of its manifest, except the aliases.

    Attributes:
        project: the project it belongs to.
        name: the artifact's name.
        number: 3 for v3.
        type: model, dataset …; the same in all versions.
        digest: SHA-256 over paths and file digests.
        made_by: the id of the run that logged it first; None: it was logged outside a run.
        created: the time, in UTC.
        inputs: references of the artifacts that the run had used before.
        metadata: its description, ready for JSON.
        files: path in the artifact to its entry.
        aliases: its current aliases, which may include `latest`.
    """

    project: str
    name: str
    number: int
    type: str
    digest: str
    made_by: str | None
    created: str
    inputs: tuple[str, ...]
    metadata: dict[str, Any]
    files: dict[str, FileEntry]
    aliases: tuple[str, ...] = ()

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
        fields = {name: value for name, value in vars(self).items() if name != "aliases"}
        files = {path: entry.to_dict() for path, entry in self.files.items()}
        return {"format": FORMAT, **fields, "inputs": list(self.inputs), "files": files}

    def to_dict(self) -> dict[str, Any]:
        """The form that `--json` prints."""
        named = {"reference": self.reference, "version": self.label, "size": self.size, "aliases": list(self.aliases)}
        return {name: value for name, value in self.manifest().items() if name != "format"} | named

    def wandb_manifest(self) -> dict[str, Any]:
        """The content of `wandb_manifest.json`, with our SHA-256 besides; every file must have its MD5."""
        return {
            "version": 1,
            "storagePolicy": "wandb-storage-policy-v1",
            "storagePolicyConfig": {"storageLayout": "V2"},
            "contents": {
                path: {"digest": entry.md5, "size": entry.size, "extra": {"sha256": entry.sha256}}
                for path, entry in self.files.items()
            },
        }

    @property
    def wandb_id(self) -> str:
        """The name of that manifest's folder: sixteen characters, unique and constant for this version."""
        return hashlib.sha256(self.reference.encode()).hexdigest()[:16]


def content_digest(files: Mapping[str, FileEntry]) -> str:
    """SHA-256 over paths and file digests: the same for the same content in any order."""
    pairs = sorted((path, entry.sha256) for path, entry in files.items())
    return hashlib.sha256(json.dumps(pairs, separators=(",", ":")).encode()).hexdigest()


def read_manifest(data: bytes, where: str) -> Version:
    """The version of a manifest, without aliases; CorruptError when it was changed, or names files outside of it."""
    try:
        content = json.loads(data)
        version = Version(
            project=check_project(content["project"]),
            name=check_name(content["name"]),
            number=int(content["number"]),
            inputs=tuple(content["inputs"]),
            files={check_path(path): FileEntry(**entry) for path, entry in content["files"].items()},
            **{key: content[key] for key in ("type", "digest", "made_by", "created", "metadata")},
        )
        why = "" if version.digest == content_digest(version.files) else "its digest does not match its files"
    except (ValueError, KeyError, TypeError, AttributeError, BadNameError) as error:
        why = f"it cannot be read ({type(error).__name__}: {error})"
    if why:
        remedy = "Restore it from a copy of the yard, or log the artifact again."
        raise CorruptError(f"The manifest {where} is damaged: {why}.", remedy, place=where)
    return version
