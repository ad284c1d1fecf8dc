"""The tree picture of a layout, drawn from its table.

Documentation, `--help` and the golden tests show this text, so that no picture of a layout is ever
drawn by hand. It must not know what a kind means: the words beside a path come from the table.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from trainyard.layouts.facts import write_fact

if TYPE_CHECKING:
    from trainyard.layouts.engine import Layout

_GAP = 3


@dataclass
class _Node:
    abouts: list[str] = field(default_factory=list)
    children: dict[str, _Node] = field(default_factory=dict)


def draw(layout: Layout, facts: Mapping[str, object], root: str = "outputs/") -> str:
    """Lines of the tree, one a directory or file, in the order of the table, directories first.

    Raises:
        BadNameError: a given fact cannot be part of a path.
    """
    top = _Node()
    for kind in layout.kinds:
        node = top
        template = layout.templates[kind]
        for component in template.components:
            directory = component is not template.components[-1] or template.is_directory
            name = "".join(_shown(part, facts) if at % 2 else part for at, part in enumerate(component))
            name += "/" * directory
            node = node.children.setdefault(name, _Node())
        if about := layout.about.get(kind, ""):
            node.abouts.append(about)
    lines = [(root, ""), *_lines(top, "")]
    width = max(len(line) for line, about in lines if about or line == root) + _GAP
    return "".join(f"{line:<{width}}{about}".rstrip() + "\n" for line, about in lines)


def _shown(fact: str, facts: Mapping[str, object]) -> str:
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
