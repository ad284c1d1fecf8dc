"""Draws the tree picture of a layout from its table.

Documentation, `--help` and the golden tests show this text, so that no picture of a layout is ever
drawn by hand. It does not know what a kind means: the words beside a path come from the table.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from trainyard.layouts.facts import write_fact
from trainyard.layouts.template import Template


@dataclass
class _Node:
    abouts: list[str] = field(default_factory=list)
    children: dict[str, _Node] = field(default_factory=dict)


def draw(templates: Mapping[str, Template], about: Mapping[str, str], facts: Mapping[str, object]) -> str:
    """The lines of the tree below "outputs/", in the order of the table, directories first, with what each is.

    The given facts are filled in; others stay as placeholders.

    Raises:
        BadNameError: a given fact cannot be part of a path.
    """
    top = _Node()
    for kind, template in templates.items():
        node = top
        for component in template.components:
            directory = component is not template.components[-1] or template.is_directory
            parts = [_filled(part, facts) if at % 2 else part for at, part in enumerate(component)]
            name = "".join(parts) + "/" * directory
            node = node.children.setdefault(name, _Node())
        if words := about.get(kind, ""):
            node.abouts.append(words)
    lines = [("outputs/", ""), *_lines(top, "")]
    width = max([len("outputs/"), *(len(line) for line, words in lines if words)]) + 3
    return "".join(f"{line:<{width}}{words}".rstrip() + "\n" for line, words in lines)


def _filled(fact: str, facts: Mapping[str, object]) -> str:
    value = facts.get(fact)
    return f"{{{fact}}}" if value is None else write_fact(fact, value)


def _lines(node: _Node, indent: str) -> list[tuple[str, str]]:
    lines = []
    ordered = sorted(node.children.items(), key=lambda child: not child[0].endswith("/"))
    for position, (name, child) in enumerate(ordered, start=1):
        last = position == len(ordered)
        lines.append((f"{indent}{'└── ' if last else '├── '}{name}", "; ".join(child.abouts)))
        lines += _lines(child, indent + ("    " if last else "│   "))
    return lines
