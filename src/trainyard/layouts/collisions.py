"""Whether the names of a run are safe in a layout: nothing it writes reads as something else.

A table of templates can be ambiguous for unlucky names: in `shared`, a run called "evaluation" has
the log `logs/evaluation_….log`, which is another kind's name. Two different records never share a
path if each path reads back as exactly the kind and facts that gave it; that is what is tried here.
Works on text alone.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from trainyard.errors import BadNameError
from trainyard.layouts.facts import FACTS, read_fact, write_fact

if TYPE_CHECKING:
    from trainyard.layouts.engine import Layout
    from trainyard.layouts.template import Template

# The facts that change together when a home is taken.
CLAIMED_BY = {"run": ("run",), "time": ("time", "timestamp"), "id": ("id",)}


def check(layout: Layout, facts: Mapping[str, object]) -> None:
    """Raise BadNameError when a path of a run with these facts would be read as something else."""
    given = {name for name in FACTS if facts.get(name) is not None}
    for kind, template in layout.templates.items():
        unknown = [name for name in template.facts if name not in given and not FACTS[name].form]
        if unknown and kind != "home":
            continue
        for probe in _probes(layout, template, facts):
            path = layout.path(kind, probe)
            fault = (
                _misread(layout, kind, template, probe, path)
                or _file_above(layout, path)
                or _foreign_inside(layout, template, path)
            )
            if fault:
                raise _collision(layout, kind, template, facts, path, fault)


def _misread(layout: Layout, kind: str, template: Template, facts: Mapping[str, object], path: str) -> str:
    used = {name: read_fact(name, write_fact(name, facts[name])) for name in template.facts}
    first = layout.match(path)[0]
    # A kind that is the home itself reads back as the home.
    same_kind = kind == first.kind or layout.templates[first.kind].text == template.text
    if same_kind and first.facts == used:
        return ""
    if not same_kind:
        return f"would be read as {first.kind!r}"
    others = [f"{name} {value!r}" for name, value in first.facts.items() if used[name] != value]
    return f"would be read as that of {' and '.join(others)}"


def _file_above(layout: Layout, path: str) -> str:
    """A file of the layout that would have to be a directory for this path to exist."""
    parts = path.rstrip("/").split("/")
    for depth in range(1, len(parts)):
        parent = "/".join(parts[:depth])
        for kind, template in layout.templates.items():
            if not template.is_directory and len(template.components) == depth and template.read(parent) is not None:
                return f"would lie below {parent!r}, which is the file of {kind!r}"
    return ""


def _foreign_inside(layout: Layout, template: Template, path: str) -> str:
    """A record that may lie inside this directory without belonging to it: it would be deleted with it."""
    if not template.is_directory:
        return ""
    depth = len(template.components)
    for kind, other in layout.templates.items():
        inside = len(other.components) > depth and not other.text.startswith(template.text)
        if inside and other.ancestor(depth).fullmatch(path.removesuffix("/")):
            return f"would be a directory in which {kind!r} may lie, which is no part of it"
    return ""


def _probes(layout: Layout, template: Template, facts: Mapping[str, object]) -> Iterator[Mapping[str, object]]:
    """The facts, completed with each choice of samples for those that change within a run."""
    choices: dict[str, list[object]] = {}
    for name in template.facts:
        fact = FACTS[name]
        if not fact.form:
            continue
        choices[name] = [facts[name]] if facts.get(name) is not None else list(fact.samples)
        if name in ("time", "timestamp"):  # the run may come to be the second of its second
            choices[name] = [choices[name][0], fact.samples[-1]]
        elif fact.is_number:  # numbers that stand in templates as text, such as `epoch_0.pt`
            choices[name] += [int(number) for number in _numbers(layout)]
    for values in itertools.product(*choices.values()):
        yield {**facts, **dict(zip(choices, values, strict=True))}


def _numbers(layout: Layout) -> set[str]:
    return set(re.findall("0|[1-9][0-9]*", " ".join(layout.kinds.values())))


def _collision(
    layout: Layout, kind: str, template: Template, facts: Mapping[str, object], path: str, fault: str
) -> BadNameError:
    names = [name for name in template.facts if not FACTS[name].form]
    values = " with ".join(f"{name} {facts[name]!r}" for name in names) or "facts of the run"
    return BadNameError(
        f"The {values} cannot be used in layout {layout.name!r}: the path of its {kind!r}, {path!r}, {fault}.",
        f"Choose another {' or '.join(names) or 'name'}.",
    )
