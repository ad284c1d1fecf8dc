"""Checks that the names of a run are unambiguous in a layout: no path of it reads as something else.

A table of templates can be ambiguous for unlucky names: in `shared`, a run called "evaluation" has
the log `logs/evaluation_….log`, which is also the name of an evaluation's log. Two different records
never share a path if each path reads back as exactly the kind and facts that gave it; that is what
this module tests. It works on templates alone and does not know `Layout`.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping

from trainyard.errors import BadNameError
from trainyard.layouts.facts import FACTS, read_fact, write_fact
from trainyard.layouts.template import Template, match

Templates = Mapping[str, Template]


def check(layout_name: str, templates: Templates, facts: Mapping[str, object]) -> None:
    """Tests every path of a run with these facts, as far as the facts suffice to write it.

    `templates` begin with the most specific; facts that change within a run are tried with samples.

    Raises:
        BadNameError: a path would be read as something else, or would get in the way of another.
    """
    text = " ".join(template.text for template in templates.values())
    numbers = [int(number) for number in set(re.findall("0|[1-9][0-9]*", text))]  # literal ones, as in `epoch_0.pt`
    for kind, template in templates.items():
        if any(facts.get(name) is None and not FACTS[name].form for name in template.facts):
            continue
        for probe in _probes(template, facts, numbers):
            path = template.write(probe)
            in_the_way = _file_above(templates, path) or _foreign_inside(templates, template, path)
            if fault := _misread(templates, kind, probe, path) or in_the_way:
                names = [name for name in template.facts if not FACTS[name].form]
                values = " with ".join(f"{name} {facts[name]!r}" for name in names) or "facts of the run"
                where = f"the path of {kind!r}, {path!r}, {fault}"
                what = f"The {values} cannot be used in layout {layout_name!r}: {where}."
                remedy = f"Choose another {' or '.join(names) or 'name'}."
                raise BadNameError(what, remedy, value={name: facts[name] for name in names}, place=path)


def _misread(templates: Templates, kind: str, facts: Mapping[str, object], path: str) -> str:
    template = templates[kind]
    used = {name: read_fact(name, write_fact(name, facts[name])) for name in template.facts}
    first = match(templates, path)[0]
    # A kind stored directly in the home reads back as the home.
    same_kind = kind == first.kind or templates[first.kind].text == template.text
    if same_kind and first.facts == used:
        return ""
    if not same_kind:
        return f"would be read as {first.kind!r}"
    others = [f"{name} {value!r}" for name, value in first.facts.items() if used[name] != value]
    return f"would be read as that of {' and '.join(others)}"


def _file_above(templates: Templates, path: str) -> str:
    """A file of the layout that would have to be a directory for this path to exist."""
    parts = path.rstrip("/").split("/")
    for depth in range(1, len(parts)):
        parent = "/".join(parts[:depth])
        for kind, template in templates.items():
            if not template.is_directory and len(template.components) == depth and template.read(parent) is not None:
                return f"would be below {parent!r}, which is the file of {kind!r}"
    return ""


def _foreign_inside(templates: Templates, template: Template, path: str) -> str:
    """A record that could be inside this directory without belonging to it: it would be deleted with it."""
    if not template.is_directory:
        return ""
    depth = len(template.components)
    for kind, other in templates.items():
        inside = len(other.components) > depth and not other.text.startswith(template.text)
        if inside and other.ancestor(depth).fullmatch(path.removesuffix("/")):
            return f"would be a directory that can contain {kind!r}, which does not belong to it"
    return ""


def _probes(template: Template, facts: Mapping[str, object], numbers: list[int]) -> Iterator[Mapping[str, object]]:
    """The facts, completed with every combination of samples for those that change within a run."""
    choices: dict[str, list[object]] = {}
    for name in template.facts:
        fact = FACTS[name]
        if not fact.form:
            continue
        choices[name] = [facts[name]] if facts.get(name) is not None else list(fact.samples)
        if name in ("time", "timestamp"):  # another run may have claimed the same second already
            choices[name] = [choices[name][0], fact.samples[-1]]
        elif fact.is_number:
            choices[name] += numbers
    for values in itertools.product(*choices.values()):
        yield {**facts, **dict(zip(choices, values, strict=True))}
