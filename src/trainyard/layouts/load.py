"""Layouts from YAML: the five that ship, and the user's own.

A file is checked as a whole, and all its faults are reported together, each with its key and the
nearest valid word. What passes here gives every run of the layout a home and paths of its own.
"""

from __future__ import annotations

import os
import re
import unicodedata
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

from trainyard.errors import BadNameError, LayoutError
from trainyard.layouts.collisions import CLAIMED_BY
from trainyard.layouts.engine import Layout
from trainyard.layouts.facts import FACTS, RESERVED, name_fault
from trainyard.layouts.kinds import CLAIMS, DIRECTORY_FORMATS, FORMATS, IN_HOME, KINDS, SHAREABLE
from trainyard.wording import did_you_mean, suggestion

LAYOUTS = ("grouped", "shared", "dated", "trials", "files")

_KEYS = ("description", "claim", "checkpoint_format", "kinds")
_PLACEHOLDERS = ("home", *FACTS)
_WITHIN_A_RUN = ("step", "epoch", "split", "moment", "artifact_id")
_TRIED = {"project": "project", "dataset": "dataset", "run": "name", "model": "model"}


def load_layout(name: str | os.PathLike[str]) -> Layout:
    """The layout of this name, or of this YAML file.

    Args:
        name: one of `LAYOUTS`, or the path of a file that ends in .yaml or .yml.

    Raises:
        LayoutError: there is no such layout or file, or the file has faults; all are named.
    """
    if name in LAYOUTS:
        return _shipped(str(name))
    path = Path(name)
    if path.suffix in (".yaml", ".yml") or len(path.parts) > 1:
        return _checked(path)
    choices = f"Layouts: {', '.join(LAYOUTS)}; or the path of your own, such as ./my_layout.yaml."
    raise LayoutError(f"There is no layout {str(name)!r}.", did_you_mean(str(name), LAYOUTS, then=choices))


@lru_cache(maxsize=len(LAYOUTS))
def _shipped(name: str) -> Layout:
    return _parse(Path(__file__).with_name(f"{name}.yaml"))


def _checked(path: Path) -> Layout:
    if path.stem in LAYOUTS:
        raise LayoutError(
            f"Layout file {str(path)!r} has the name of a layout that ships with Trainyard.",
            f"Rename the file, to my_{path.name} for instance: a run finds its layout by name.",
        )
    layout = _parse(path)
    try:
        layout.check(_TRIED)
    except BadNameError as ambiguous:
        raise _faulty(path, [f"two kinds get in each other's way: {ambiguous.what.rstrip('.')}"]) from None
    return replace(layout, source=path.read_text(encoding="utf-8"))


def _parse(path: Path) -> Layout:
    table = _read(path)
    faults = _Faults(table)
    if faults.found:
        raise _faulty(path, faults.found)
    return Layout(
        name=path.stem,
        claim=table["claim"],
        checkpoint_format=table["checkpoint_format"],
        kinds=faults.templates,
        about=faults.about,
        description=table.get("description", ""),
    )


def _read(path: Path) -> dict[str, Any]:
    import yaml  # 10 ms that `trainyard --help` need not pay

    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise _faulty(path, [f"byte {error.start} is not UTF-8"]) from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise LayoutError(
            f"Layout file {str(path)!r} cannot be read: {reason}.",
            f"Layouts: {', '.join(LAYOUTS)}; or the path of your own YAML file.",
        ) from None
    try:
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)(text)
        node = loader.get_single_node()
        table = loader.construct_document(node) if node else None
    except (yaml.YAMLError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise _faulty(path, [f"it is not valid YAML, in which paths need quotes: {reason}"]) from None
    if not isinstance(table, dict):
        raise _faulty(path, [f"it holds {_type(table)}, not a table with the keys {', '.join(_KEYS)}"])
    if repeated := _repeated_keys(node):
        raise _faulty(path, repeated)
    return cast("dict[str, Any]", table)


def _repeated_keys(node: Any, above: tuple[str, ...] = ()) -> list[str]:
    """YAML keeps the last of two equal keys without a word; a table of paths must not."""
    if node.id != "mapping" or len(above) > 2:
        return []
    faults: list[str] = []
    keys: set[str] = set()
    for key, value in node.value:
        name = str(key.value)
        if name in keys:
            faults.append(f"{'.'.join((*above, name))}: given twice, again in line {key.start_mark.line + 1}")
        keys.add(name)
        faults += _repeated_keys(value, (*above, name))
    return faults


class _Faults:
    """Everything wrong with a table, and the templates read on the way."""

    def __init__(self, table: dict[str, Any]) -> None:
        self.found: list[str] = []
        self.templates: dict[str, str] = {}
        self.about: dict[str, str] = {}
        self._check_settings(table)
        kinds = table.get("kinds")
        if isinstance(kinds, dict):
            for kind, entry in kinds.items():
                self._read_kind(kind, entry)
        else:
            self.found.append(f"kinds: must be a table from record kinds to paths, not {_type(kinds)}")
        sound = not self.found
        for kind in ("home", "checkpoint"):
            if isinstance(kinds, dict) and kind not in kinds:
                self.found.append(f"kinds.{kind}: missing; every layout needs a {kind}")
                sound = False
        if sound:
            self._check_claim(table["claim"])
            self._check_shapes(table["checkpoint_format"])
            self._check_distinct()
        if not self.found:
            self._check_shared(table["claim"], table["checkpoint_format"])

    def _check_settings(self, table: dict[str, Any]) -> None:
        for key in table:
            if key not in _KEYS:
                self.found.append(f"{key}: unknown key{suggestion(str(key), _KEYS)}")
        for key, choices in (("claim", CLAIMS), ("checkpoint_format", FORMATS)):
            if (value := table.get(key)) not in choices:
                problem = f"{value!r} is unknown" if key in table else "missing"
                self.found.append(f"{key}: {problem}{suggestion(str(value), choices)}")
        if not isinstance(table.get("description", ""), str):
            self.found.append(f"description: must be text, not {_type(table['description'])}")

    def _read_kind(self, kind: object, entry: object) -> None:
        if not isinstance(kind, str) or kind not in KINDS:
            self.found.append(f"kinds.{kind}: unknown kind{suggestion(str(kind), KINDS, few=len(KINDS))}")
            return
        about: object = ""
        if isinstance(entry, dict):
            for key in entry:
                if key not in ("path", "about"):
                    self.found.append(f"kinds.{kind}.{key}: unknown key{suggestion(str(key), ('path', 'about'))}")
            about = entry.get("about", "")
            entry = entry.get("path")
        if not isinstance(entry, str) or not isinstance(about, str):
            self.found.append(f"kinds.{kind}: must be a path in quotes, or {{path: …, about: …}} with text in both")
            return
        text = unicodedata.normalize("NFC", entry)
        if fault := _template_fault(kind, text):
            self.found.append(f"kinds.{kind}: {text!r} {fault}")
        self.templates[kind] = text
        self.about[kind] = " ".join(about.split())

    def _check_claim(self, claim: str) -> None:
        home = self.templates["home"]
        facts = CLAIMED_BY[claim]
        if not any(f"{{{fact}}}" in home for fact in facts):
            self.found.append(
                f"kinds.home: {home!r} has no {' or '.join(f'{{{fact}}}' for fact in facts)}, "
                f"by which runs are told apart (claim: {claim})"
            )
        for fact in _WITHIN_A_RUN:
            if f"{{{fact}}}" in home:
                self.found.append(f"kinds.home: {home!r} has {{{fact}}}, which changes within a run")

    def _check_shapes(self, checkpoint_format: str) -> None:
        for kind, text in self.templates.items():
            shape = KINDS[kind]
            wanted = shape == "directory" or (shape == "checkpoint" and checkpoint_format in DIRECTORY_FORMATS)
            if wanted != self._expanded(kind).endswith("/"):
                why = f" in format {checkpoint_format!r}" if shape == "checkpoint" else ""
                rule = 'a directory, and must end with "/"' if wanted else 'a file, and must not end with "/"'
                self.found.append(f"kinds.{kind}: {text!r}: a {kind}{why} is {rule}")
        if "{step}" not in (text := self.templates["checkpoint"]) and "{epoch}" not in text:
            self.found.append(f"kinds.checkpoint: {text!r} has no {{step}} or {{epoch}}, so all have one path")

    def _check_distinct(self) -> None:
        first: dict[str, str] = {}
        for kind in self.templates:
            path = self._expanded(kind)
            other = first.setdefault(path, kind)
            if other != kind and not (path == self.templates["home"] and IN_HOME.issuperset({kind, other} - {"home"})):
                self.found.append(f"kinds.{kind}: {path!r} is the path of {other!r} already")

    def _check_shared(self, claim: Any, checkpoint_format: Any) -> None:
        layout = Layout("", claim, checkpoint_format, self.templates)
        self.found += [
            f"kinds.{kind}: {text!r} would be one path for several runs; begin it with {{home}}, "
            f"or name {', '.join(f'{{{fact}}}' for fact in layout.facts_of('home'))} in it"
            for kind, text in self.templates.items()
            if kind not in SHAREABLE and layout.is_shared(kind)
        ]

    def _expanded(self, kind: str) -> str:
        return self.templates[kind].replace("{home}", self.templates["home"])


def _template_fault(kind: str, text: str) -> str | None:
    """What is wrong with one template, to follow its text; None when nothing is."""
    if text.startswith(("/", "~", "\\")) or re.match("[A-Za-z]:", text):
        return "is an absolute path; paths are relative to the yard"
    names = re.findall(r"\{([^{}]*)\}", text)
    for name in names:
        if name not in _PLACEHOLDERS:
            return f"names an unknown fact {{{name}}}{suggestion(name, _PLACEHOLDERS, few=len(_PLACEHOLDERS))}"
    literal = re.sub(r"\{[^{}]*\}", "{", text)
    if literal.count("{") != len(names) or "}" in literal:
        return "has a brace without its partner"
    if "{home}" in text and kind == "home":
        return "names itself"
    if "{home}" in text[1:]:
        return "has {home} in its middle; it can only come first"
    inner = text.removeprefix("{home}")
    if "}{" in inner:
        return "has two facts without text between them, which cannot be told apart"
    if text == "{home}":
        return None if kind in IN_HOME else "is the home itself"
    for part in inner.removesuffix("/").split("/"):
        if part in RESERVED:
            return f"has the component {part!r}, which the yard keeps for itself"
        fault = name_fault(part)
        if fault and part != "":
            return f"has the component {part!r}, which {fault}"
        if fault:
            return "is empty" if not inner else "has an empty component"
    return None


def _faulty(path: Path, faults: list[str]) -> LayoutError:
    if len(faults) == 1:
        what = f"Layout file {str(path)!r} has a fault: {faults[0]}."
    else:
        what = f"Layout file {str(path)!r} has {len(faults)} faults:" + "".join(f"\n  - {fault}" for fault in faults)
    return LayoutError(what, "Mend the file; a layout that ships with Trainyard is a good example to start from.")


def _type(value: object) -> str:
    if value is None:
        return "nothing"
    words = {"dict": "a table", "list": "a list", "str": "text"}
    return words.get(type(value).__name__, f"a {type(value).__name__}")
