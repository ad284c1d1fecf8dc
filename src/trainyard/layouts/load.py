"""Loads layouts from YAML: the five that ship, and the user's own.

A file is checked as a whole, and all its faults are reported together, each with its key and the
nearest valid word. A layout that passes gives every run a home and paths of its own.
"""

from __future__ import annotations

import os
import re
import unicodedata
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple, cast

from trainyard.errors import BadNameError, LayoutError
from trainyard.layouts.engine import CLAIMED_BY, Layout
from trainyard.layouts.facts import FACTS, RESERVED, name_fault
from trainyard.layouts.kinds import CLAIMS, DIRECTORY_FORMATS, FORMATS, IN_HOME, KINDS, SHAREABLE
from trainyard.wording import did_you_mean, suggestion

LAYOUTS = ("grouped", "shared", "dated", "trials", "files")

_CHOICES = f"Layouts: {', '.join(LAYOUTS)}; or the path of your own, such as ./my_layout.yaml."
_REMEDY = "Fix the file; the layouts that ship with Trainyard are good examples."
_KEYS = ("description", "claim", "checkpoint_format", "kinds")
_PLACEHOLDERS = ("home", *FACTS)
_WITHIN_A_RUN = ("step", "epoch", "split", "moment", "artifact_id")
_ORDINARY_NAMES = {"project": "project", "dataset": "dataset", "run": "name", "model": "model"}


class _Fault(NamedTuple):
    """One fault of a table: the dotted key, the part of its value that is refused, and why."""

    key: str
    value: object
    problem: str


def load_layout(name: str | os.PathLike[str]) -> Layout:
    """Loads a layout: one of `LAYOUTS`, or a file that ends in .yaml or .yml.

    Raises:
        LayoutError: there is no such layout or file, or the file has faults, all of which are reported;
                `value` then maps the dotted key of each fault to what was refused.
    """
    if name in LAYOUTS:
        return _shipped(str(name))
    path = Path(name)
    if path.suffix in (".yaml", ".yml") or len(path.parts) > 1:
        return _checked(path)
    remedy = did_you_mean(str(name), LAYOUTS, then=_CHOICES)
    raise LayoutError(f"There is no layout {str(name)!r}.", remedy, value=str(name))


@lru_cache(maxsize=len(LAYOUTS))
def _shipped(name: str) -> Layout:
    return _parse(Path(__file__).with_name(f"{name}.yaml"))


def _checked(path: Path) -> Layout:
    if path.stem in LAYOUTS:
        what = f"Layout file {str(path)!r} has the name of a layout that ships with Trainyard."
        remedy = f"Rename the file, for example to my_{path.name}: a run finds its layout by name."
        raise LayoutError(what, remedy, value=path.stem, place=path)
    layout = _parse(path)
    try:
        layout.check(_ORDINARY_NAMES)
    except BadNameError as ambiguous:
        fault = _Fault("kinds", ambiguous.place, f"two kinds conflict: {ambiguous.what.rstrip('.')}")
        raise _faulty(path, [fault]) from None
    return replace(layout, source=path.read_text(encoding="utf-8"))


def _parse(path: Path) -> Layout:
    table = _read(path)
    faults = _Faults(table)
    if faults.found:
        raise _faulty(path, faults.found)
    claim, format_, description = table["claim"], table["checkpoint_format"], table.get("description", "")
    return Layout(path.stem, claim, format_, faults.templates, faults.about, description)


def _read(path: Path) -> dict[str, Any]:
    import yaml  # imported here because it takes 10 ms, which `trainyard --help` does not need

    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        reason: object = error.strerror if isinstance(error, OSError) else error
        if isinstance(error, UnicodeDecodeError):
            reason = f"byte {error.start} is not UTF-8"
        raise LayoutError(f"Layout file {str(path)!r} cannot be read: {reason}.", _CHOICES, place=path) from None
    try:
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)(text)
        node = loader.get_single_node()
        table = loader.construct_document(node) if node else None
    except (yaml.YAMLError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        place = path if mark is None else f"{path}:{mark.line + 1}"
        what = f"Layout file {str(path)!r} is not valid YAML: {' '.join(str(error).split())}."
        remedy = "Fix the file; put paths in quotes, because { has a meaning in YAML."
        raise LayoutError(what, remedy, place=place) from None
    if not isinstance(table, dict):
        what = f"Layout file {str(path)!r} contains {_type(table)}, not a table with the keys {', '.join(_KEYS)}."
        raise LayoutError(what, _REMEDY, value=table, place=path)
    if repeated := _repeated_keys(node):
        raise _faulty(path, repeated)
    return cast("dict[str, Any]", table)


def _repeated_keys(node: Any, above: tuple[str, ...] = ()) -> list[_Fault]:
    """Keys that occur twice: YAML silently keeps the last of them, which a table of paths must not."""
    if node.id != "mapping" or len(above) > 2:
        return []
    faults: list[_Fault] = []
    keys: set[str] = set()
    for key, value in node.value:
        name = str(key.value)
        if name in keys:
            line = key.start_mark.line + 1
            faults.append(_Fault(".".join((*above, name)), line, f"given twice, again in line {line}"))
        keys.add(name)
        faults += _repeated_keys(value, (*above, name))
    return faults


class _Faults:
    """Everything wrong with a table, and the templates read on the way."""

    def __init__(self, table: dict[str, Any]) -> None:
        self.found: list[_Fault] = []
        self.templates: dict[str, str] = {}
        self.about: dict[str, str] = {}
        self._check_settings(table)
        kinds = table.get("kinds")
        if isinstance(kinds, dict):
            for kind, entry in kinds.items():
                self._read_kind(kind, entry)
        else:
            self._note("kinds", kinds, f"must be a table from record kinds to paths, not {_type(kinds)}")
        sound = not self.found
        for kind in ("home", "checkpoint"):
            if isinstance(kinds, dict) and kind not in kinds:
                self._note(f"kinds.{kind}", None, f"missing; every layout needs a {kind}")
                sound = False
        if sound:
            self._check_claim(table["claim"])
            self._check_shapes(table["checkpoint_format"])
            self._check_distinct()
        if not self.found:
            self._check_shared(table["claim"], table["checkpoint_format"])

    def _note(self, key: str, value: object, problem: str) -> None:
        self.found.append(_Fault(key, value, problem))

    def _check_settings(self, table: dict[str, Any]) -> None:
        for key in table:
            if key not in _KEYS:
                self._note(key, key, f"unknown key{suggestion(str(key), _KEYS)}")
        for key, choices in (("claim", CLAIMS), ("checkpoint_format", FORMATS)):
            if (value := table.get(key)) not in choices:
                problem = f"{value!r} is unknown" if key in table else "missing"
                self._note(key, value, f"{problem}{suggestion(str(value), choices)}")
        if not isinstance(description := table.get("description", ""), str):
            self._note("description", description, f"must be text, not {_type(description)}")

    def _read_kind(self, kind: object, entry: object) -> None:
        if not isinstance(kind, str) or kind not in KINDS:
            self._note(f"kinds.{kind}", kind, f"unknown kind{suggestion(str(kind), KINDS, few=len(KINDS))}")
            return
        about: object = ""
        if isinstance(entry, dict):
            for key in entry:
                if key not in ("path", "about"):
                    self._note(f"kinds.{kind}.{key}", key, f"unknown key{suggestion(str(key), ('path', 'about'))}")
            about = entry.get("about", "")
            entry = entry.get("path")
        if not isinstance(entry, str) or not isinstance(about, str):
            refused = entry if isinstance(about, str) else about
            self._note(f"kinds.{kind}", refused, "must be a path in quotes, or {path: …, about: …} with text in both")
            return
        text = unicodedata.normalize("NFC", entry)
        if fault := _template_fault(kind, text):
            refused, problem = fault
            self._note(f"kinds.{kind}", refused, f"{text!r} {problem}")
        self.templates[kind] = text
        self.about[kind] = " ".join(about.split())

    def _check_claim(self, claim: str) -> None:
        home = self.templates["home"]
        facts = CLAIMED_BY[claim]
        if not any(f"{{{fact}}}" in home for fact in facts):
            wanted = " or ".join(f"{{{fact}}}" for fact in facts)
            problem = f"{home!r} does not contain {wanted}, which tells runs apart (claim: {claim})"
            self._note("kinds.home", claim, problem)
        for fact in _WITHIN_A_RUN:
            if f"{{{fact}}}" in home:
                self._note("kinds.home", f"{{{fact}}}", f"{home!r} contains {{{fact}}}, which changes within a run")

    def _check_shapes(self, checkpoint_format: str) -> None:
        for kind, text in self.templates.items():
            shape = KINDS[kind]
            wanted = shape == "directory" or (shape == "checkpoint" and checkpoint_format in DIRECTORY_FORMATS)
            if wanted != self._expanded(kind).endswith("/"):
                why = f" in format {checkpoint_format!r}" if shape == "checkpoint" else ""
                rule = 'a directory, and must end with "/"' if wanted else 'a file, and must not end with "/"'
                self._note(f"kinds.{kind}", shape, f"{text!r}: a {kind}{why} is {rule}")
        if "{step}" not in (text := self.templates["checkpoint"]) and "{epoch}" not in text:
            problem = f"{text!r} contains neither {{step}} nor {{epoch}}, so all have one path"
            self._note("kinds.checkpoint", text, problem)

    def _check_distinct(self) -> None:
        first: dict[str, str] = {}
        for kind in self.templates:
            path = self._expanded(kind)
            other = first.setdefault(path, kind)
            if other != kind and not (path == self.templates["home"] and IN_HOME.issuperset({kind, other} - {"home"})):
                self._note(f"kinds.{kind}", other, f"{path!r} is already the path of {other!r}")

    def _check_shared(self, claim: Any, checkpoint_format: Any) -> None:
        layout = Layout("", claim, checkpoint_format, self.templates)
        facts = layout.facts_of("home")
        remedy = f"begin it with {{home}}, or put {', '.join(f'{{{fact}}}' for fact in facts)} in it"
        for kind, text in self.templates.items():
            if kind not in SHAREABLE and layout.is_shared(kind):
                self._note(f"kinds.{kind}", facts, f"{text!r} would be one path for several runs; {remedy}")

    def _expanded(self, kind: str) -> str:
        return self.templates[kind].replace("{home}", self.templates["home"])


def _template_fault(kind: str, text: str) -> tuple[str, str] | None:
    """The refused part of a template and what is wrong with it, as a verb phrase; None when nothing is."""
    if root := re.match(r"[/~\\]|[A-Za-z]:", text):
        return root[0], "is an absolute path; paths are relative to the yard"
    names = re.findall(r"\{([^{}]*)\}", text)
    for name in names:
        if name not in _PLACEHOLDERS:
            valid = suggestion(name, _PLACEHOLDERS, few=len(_PLACEHOLDERS))
            return f"{{{name}}}", f"names an unknown fact {{{name}}}{valid}"
    literal = re.sub(r"\{[^{}]*\}", "{", text)
    if literal.count("{") != len(names) or "}" in literal:
        return literal, "contains an unmatched brace"
    if "{home}" in text and kind == "home":
        return "{home}", "names itself"
    if "{home}" in text[1:]:
        return text[: text.index("{home}", 1)], "contains {home} in the middle; it must come first"
    inner = text.removeprefix("{home}")
    if "}{" in inner:
        return "}{", "contains two facts without text between them, which cannot be told apart"
    if text == "{home}":
        return None if kind in IN_HOME else (text, "is the home itself")
    for part in inner.removesuffix("/").split("/"):
        if part in RESERVED:
            return part, f"contains the component {part!r}, which is reserved for the yard"
        if not part:
            return inner, "is empty" if not inner else "contains an empty component"
        if fault := name_fault(part):
            return part, f"contains the component {part!r}, which {fault}"
    return None


def _faulty(path: Path, faults: list[_Fault]) -> LayoutError:
    lines = "".join(f"\n  - {fault.key}: {fault.problem}" for fault in faults)
    what = f"Layout file {str(path)!r} has {len(faults)} fault{'s' if len(faults) > 1 else ''}:{lines}"
    return LayoutError(what, _REMEDY, value={fault.key: fault.value for fault in faults}, place=path)


def _type(value: object) -> str:
    if value is None:
        return "nothing"
    words = {"dict": "a table", "list": "a list", "str": "text"}
    return words.get(type(value).__name__, f"a {type(value).__name__}")
