"""Valid names of artifacts, aliases and their files, and references to versions.

A reference is `[project/]name[:version]`, where the version is v0, v1 … or an alias; without one it is
`latest`. Every name is one part of a path and can never leave its folder. Touches no disk.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from dataclasses import dataclass
from pathlib import Path

from trainyard import durable
from trainyard.errors import BadNameError
from trainyard.layouts.facts import MAX_COMPONENT_BYTES, name_fault, shown

LATEST = "latest"
_NUMBER = re.compile(r"v(0|[1-9][0-9]*)")
_NUMBERLIKE = re.compile(r"[vV]?[0-9]+")
_MARK = 8  # hexadecimal digits that make shortened names distinct


@dataclass(frozen=True)
class Reference:
    """A parsed `[project/]name[:version]`; `project` is None if it has none."""

    name: str
    project: str | None = None
    version: str = LATEST

    @property
    def number(self) -> int | None:
        """The number of v0, v1 …; None for an alias."""
        return version_number(self.version)


def version_number(text: str) -> int | None:
    """3 for "v3"; None for anything else."""
    match = _NUMBER.fullmatch(text)
    return int(match[1]) if match else None


def parse(reference: str) -> Reference:
    """Reads `name`, `name:best`, `name:v3` or `project/name:v3`; BadNameError when a part is not a valid name."""
    project, slash, rest = str(reference).rpartition("/")
    name, colon, version = rest.partition(":")
    if not colon:
        version = LATEST
    elif version_number(version) is None and version != LATEST:
        version = check_alias(version)
    return Reference(check_name(name), check_project(project) if slash else None, version)


def check_name(name: str, what: str = "artifact name") -> str:
    """The name in its stored form (NFC); BadNameError when it cannot be part of a path or of a reference."""
    return _checked(what, name, "contains a ':', which separates a name from its version" if ":" in name else None)


def check_project(project: str) -> str:
    """The project in its stored form; every run's project is valid."""
    return _checked("project name", project)


def check_alias(alias: str) -> str:
    """An alias that a user may choose; BadNameError when it looks like a version or is not a valid name."""
    looks = _NUMBERLIKE.fullmatch(alias)
    return _checked("alias", check_name(alias, "alias"), "looks like a version; those never move" if looks else None)


def check_path(path: str) -> str:
    """The name of a file inside an artifact; BadNameError when it leads out of it, or file systems do not allow it."""
    for part in path.split("/"):
        if fault := _fault(part):
            where = "" if part == path else f" (its part {shown(part)})"
            what = f"The file {shown(path)} cannot be in an artifact{where}: the name {fault}."
            remedy = "Give it a relative name such as data/train.csv, without '..', in a mapping {name: file}."
            raise BadNameError(what, remedy, value=path)
    return path


def derived_name(prefix: str, run: str) -> str:
    """`{prefix}-{run}` as an artifact's name, valid for every run name; shortened if it is too long."""
    name = unicodedata.normalize("NFC", f"{prefix}-{run}".replace(":", "-").replace("/", "-"))
    if len(name.encode()) > MAX_COMPONENT_BYTES:
        mark = hashlib.sha256(name.encode()).hexdigest()[:_MARK]
        head = name.encode()[: MAX_COMPONENT_BYTES - _MARK - 1].decode("utf-8", "ignore").rstrip()
        name = f"{head}-{mark}"
    return check_name(name)


def _checked(what: str, name: str, also: str | None = None) -> str:
    """The name in its stored form, if it is valid and there is not `also` a fault."""
    if fault := _fault(name) or also:
        refused = f"{shown(name)} cannot be {'an' if what[0] in 'aeiou' else 'a'} {what}: it {fault}."
        remedy = "Use letters, digits, '-', '_' and '.'; write a version as name:v3 and a project as project/name."
        raise BadNameError(refused, remedy, value=name, place=what)
    return unicodedata.normalize("NFC", name)


def _fault(name: str) -> str | None:
    if fault := name_fault(name):
        return fault
    if durable.is_temporary(Path(name)):
        return "is reserved for temporary files"
    size = len(unicodedata.normalize("NFC", name).encode())
    return f"is {size} bytes long, and the limit is {MAX_COMPONENT_BYTES}" if size > MAX_COMPONENT_BYTES else None
