"""A version as `wandb_manifest.json`, the file that Weights & Biases reads for an artifact."""

from __future__ import annotations

import hashlib
from typing import Any

from trainyard.artifacts.versions import Version


def wandb_manifest(version: Version) -> dict[str, Any]:
    """The manifest, with MD5 digests as in Weights & Biases, and our SHA-256 besides.

    Args:
        version: every entry must have its MD5.
    """
    return {
        "version": 1,
        "storagePolicy": "wandb-storage-policy-v1",
        "storagePolicyConfig": {"storageLayout": "V2"},
        "contents": {
            path: {"digest": entry.md5, "size": entry.size, "extra": {"sha256": entry.sha256}}
            for path, entry in version.files.items()
        },
    }


def artifact_id(version: Version) -> str:
    """The name of the manifest's folder: sixteen characters, unique and constant for this version."""
    return hashlib.sha256(version.reference.encode()).hexdigest()[:16]
