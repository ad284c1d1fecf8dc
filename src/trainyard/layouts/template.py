"""Path templates, used in both directions: from facts to a path and from a path to facts.

`{fact}` is the whole syntax. A template is parsed once into components (the parts between the
slashes), each an alternation of literal text and fact names. This module knows neither YAML nor what
a path is for.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from trainyard.errors import BadNameError
from trainyard.layouts.facts import FACTS, MAX_COMPONENT_BYTES, read_fact, shown, write_fact

_PLACEHOLDER = re.compile(r"\{([a-z_]+)\}")


class Match(NamedTuple):
    """A reading of a path: a record kind and the facts in the path."""

    kind: str
    facts: dict[str, str | int]


@dataclass(frozen=True)
class Template:
    """A path relative to the yard with `{fact}` placeholders; that of a directory ends with "/"."""

    text: str  # with `{home}` already replaced

    @cached_property
    def is_directory(self) -> bool:
        """Whether the path is a directory rather than a file."""
        return self.text.endswith("/")

    @cached_property
    def components(self) -> tuple[tuple[str, ...], ...]:
        """One tuple per path component: literal, fact, literal, fact, …, literal."""
        parts = self.text.rstrip("/").split("/")
        return tuple(tuple(_PLACEHOLDER.split(part)) for part in parts)

    @cached_property
    def facts(self) -> tuple[str, ...]:
        """The names of its facts in order of appearance, without repetitions."""
        return tuple(dict.fromkeys(_PLACEHOLDER.findall(self.text)))

    @cached_property
    def literal_length(self) -> int:
        """The number of literal characters: how specific the template is."""
        return len(_PLACEHOLDER.sub("", self.text))

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        return self.ancestor(len(self.components))

    def ancestor(self, depth: int) -> re.Pattern[str]:
        """The regular expression of the first `depth` components of its paths, without a trailing "/"."""
        seen: set[str] = set()
        pieces = []
        for component in self.components[:depth]:
            piece = ""
            for position, part in enumerate(component):
                if position % 2 == 0:
                    piece += re.escape(part)
                elif part in seen:
                    piece += f"(?P={part})"
                else:
                    seen.add(part)
                    piece += f"(?P<{part}>{FACTS[part].pattern})"
            pieces.append(piece)
        return re.compile("/".join(pieces))

    def write(self, facts: Mapping[str, object]) -> str:
        """The path for these facts; facts that the template does not name are ignored.

        Raises:
            KeyError: a fact of the template is missing.
            BadNameError: a value is not safe, or a path component would be too long.
        """
        texts = {name: write_fact(name, facts[name]) for name in self.facts}
        written = []
        for component in self.components:
            name = "".join(texts[part] if position % 2 else part for position, part in enumerate(component))
            _refuse_component(name, [(fact, facts[fact]) for fact in component[1::2]])
            written.append(name)
        return "/".join(written) + "/" * self.is_directory

    def read(self, path: str) -> dict[str, str | int] | None:
        """The facts for which `write` gives this path, or None when there are none."""
        if path.endswith("/") != self.is_directory:
            return None
        found = self._pattern.fullmatch(path.removesuffix("/"))
        if found is None:
            return None
        facts = {name: read_fact(name, text) for name, text in found.groupdict().items()}
        try:
            return facts if self.write(facts) == path else None
        except BadNameError:  # such a name is never written, so it is not one of our paths
            return None


def match(templates: Mapping[str, Template], path: str) -> list[Match]:
    """Every reading of a path (NFC-normalised first), in the order of `templates`."""
    path = unicodedata.normalize("NFC", path)
    readings = ((kind, template.read(path)) for kind, template in templates.items())
    return [Match(kind, facts) for kind, facts in readings if facts is not None]


def _refuse_component(component: str, facts: list[tuple[str, object]]) -> None:
    if component.isascii() and len(component) <= MAX_COMPONENT_BYTES:
        return
    values = " and ".join(f"{name} name {shown(value)}" for name, value in facts) or "literal text"
    if (size := len(component.encode())) > MAX_COMPONENT_BYTES:
        why = f"{shown(component)} would be {size} bytes long, and file systems allow {MAX_COMPONENT_BYTES}"
        remedy = "Choose a shorter one."
    elif not unicodedata.is_normalized("NFC", component):
        why, remedy = "its first character combines with the one before it", "Begin it with a letter or a digit."
    else:
        return
    raise BadNameError(f"The {values} cannot be part of a path: {why}.", remedy, value=dict(facts), place=component)
