"""A version as the `wandb_manifest.json` that Weights & Biases keeps of an artifact, which its reader reads."""

from __future__ import annotations

import hashlib
from typing import Any

from trainyard.artifacts.versions import Version


def wandb_manifest(version: Version) -> dict[str, Any]:
    """The manifest, with MD5 digests as Weights & Biases has them and our SHA-256 beside.

    Args:
        version: every entry of it with its MD5.
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
    """The name of the manifest's folder: sixteen characters that are this version's alone, and always the same."""
    return hashlib.sha256(version.reference.encode()).hexdigest()[:16]
