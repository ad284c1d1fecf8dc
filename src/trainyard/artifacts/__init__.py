"""Artifacts: immutable versions of files, by name, with aliases and lineage.

Everything lies below `.yard/artifacts/{project}/{name}/`: `v{N}/manifest.json` lists the content of a
version, `v{N}/files/` holds it as hard links to the yard's objects, and `aliases.json` and `lineage.jsonl`
beside the versions record the aliases and the runs. Knows nothing of what the files contain.
"""

from trainyard.artifacts.lineage import Lineage, trace
from trainyard.artifacts.names import derived_name, parse
from trainyard.artifacts.sources import Files
from trainyard.artifacts.store import Artifacts
from trainyard.artifacts.versions import FileEntry, Version

__all__ = ["Artifacts", "FileEntry", "Files", "Lineage", "Version", "derived_name", "parse", "trace"]
