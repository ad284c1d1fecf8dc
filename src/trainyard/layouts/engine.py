"""Layout: a table from record kinds to path templates, used to write paths and to read them.

The only place that knows where a record lies; no other module joins path strings. It works on
text alone: it never touches the disk, and knows nothing of YAML (`load`) or of runs.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal, NamedTuple

from trainyard.errors import LayoutError
from trainyard.layouts import collisions, picture
from trainyard.layouts.kinds import KINDS
from trainyard.layouts.template import Template
from trainyard.wording import did_you_mean

_SUFFIXED = {"time": len("HH-MM-SS"), "timestamp": len("YYYYmmdd-HHMMSS")}


class Match(NamedTuple):
    """What a path is: a record kind and the facts in its name."""

    kind: str
    facts: dict[str, str | int]


@dataclass(frozen=True)
class Layout:
    """Where every record of a run lies.

    Args:
        name: a shipped layout's name, or the stem of the user's file.
        claim: the fact that changes when a home is taken (see `vary`).
        checkpoint_format: `hf` and `hf-bin` are directories, `pth` is one file.
        kinds: path templates by kind, relative to the yard, `{home}` for the run's own directory.
        about: what each kind is, in a few words; kinds may be missing.
        description: the layout in a sentence.
        source: the YAML of a user's own layout, for a run to keep; None for one that ships.
    """

    name: str
    claim: Literal["run", "time", "id"]
    checkpoint_format: Literal["hf", "hf-bin", "pth"]
    kinds: Mapping[str, str]
    about: Mapping[str, str] = field(default_factory=dict)
    description: str = ""
    source: str | None = None

    def has(self, kind: str) -> bool:
        """Whether the layout has a place for this kind; a kind without one is not written."""
        return kind in self.kinds

    def facts_of(self, kind: str) -> tuple[str, ...]:
        """The facts that the kind's path needs, `{home}`'s among them.

        Raises:
            LayoutError: the layout has no place for the kind.
        """
        return self._template(kind).facts

    def is_shared(self, kind: str) -> bool:
        """Whether runs with different homes may have the same path for this kind.

        Raises:
            LayoutError: the layout has no place for the kind.
        """
        return not _identifies(self._template(kind).facts, self._template("home").facts)

    def path(self, kind: str, facts: Mapping[str, object]) -> str:
        """The path of a record, relative to the yard; a directory's ends with "/".

        Args:
            kind: a kind that the layout has.
            facts: at least those of `facts_of(kind)`; others are ignored.

        Raises:
            LayoutError: the layout has no place for the kind, or a fact is missing.
            BadNameError: a fact's value cannot be part of a path.
        """
        template = self._template(kind)
        missing = [name for name in template.facts if facts.get(name) is None]
        if missing:
            raise LayoutError(
                f"Layout {self.name!r} cannot place {kind!r}: {self.kinds[kind]!r} needs "
                f"{' and '.join(repr(name) for name in missing)}, which "
                f"{'is' if len(missing) == 1 else 'are'} not among the given facts ({_listed(facts)}).",
                f"Pass {' and '.join(f'{name}=…' for name in missing)}.",
            )
        return template.write(facts)

    def match(self, path: str) -> list[Match]:
        """What a path is, the most specific reading first; empty when the layout has no such path.

        Each reading gives the path back: `layout.path(*reading) == path`, NFC-normalised.

        Args:
            path: relative to the yard, "/" between its parts, and at the end of a directory.
        """
        path = unicodedata.normalize("NFC", path)
        readings = ((kind, template.read(path)) for kind, template in self.templates.items())
        return [Match(kind, facts) for kind, facts in readings if facts is not None]

    def check(self, facts: Mapping[str, object]) -> None:
        """Make sure that everything a run with these facts writes will be read back as what it is.

        Facts that change within a run (step, epoch, split, timestamps) are tried with samples; kinds
        whose names (project, dataset, run, model) are not among the facts are left out.

        Raises:
            BadNameError: a value is unsafe, or a path would be read as another kind or another run's.
            LayoutError: a name that the home needs is missing.
        """
        collisions.check(self, facts)

    def vary(self, facts: Mapping[str, object], n: int) -> Mapping[str, object]:
        """The n-th choice of facts for a run whose home is taken; the first is `facts` itself.

        `run` becomes `name-2`; `time` and `timestamp` become `20-43-01-2` together; `id` becomes another
        id, derived from the first, so that a claim is one loop over n in every layout.

        Raises:
            LayoutError: the fact that the layout claims by is missing.
        """
        if n == 1:
            return facts
        claimed = [name for name in collisions.CLAIMED_BY[self.claim] if facts.get(name) is not None]
        if not claimed:
            raise LayoutError(
                f"Layout {self.name!r} tells runs apart by {self.claim!r}, "
                f"which is not among the given facts ({_listed(facts)}).",
                f"Pass {self.claim}=….",
            )
        return {**facts, **{name: _vary(name, str(facts[name]), n) for name in claimed}}

    def tree(self, facts: Mapping[str, object] | None = None) -> str:
        """A picture of the layout, facts filled in where given. Ends with a newline."""
        return picture.draw(self, facts or {})

    @cached_property
    def templates(self) -> dict[str, Template]:
        """The templates with `{home}` filled in, the most specific first, `home` before its equals."""
        home = self.kinds["home"]
        parsed = {kind: Template(text.replace("{home}", home)) for kind, text in self.kinds.items()}
        return dict(sorted(parsed.items(), key=lambda item: (-item[1].literal_length, item[0] != "home")))

    def _template(self, kind: str) -> Template:
        if (template := self.templates.get(kind)) is not None:
            return template
        if kind in KINDS:
            raise LayoutError(
                f"Layout {self.name!r} has no place for {kind!r}.",
                "Ask `layout.has(kind)` first, or use a layout that has one.",
            )
        raise LayoutError(
            f"There is no record kind {kind!r}.", did_you_mean(kind, KINDS, then=f"Kinds: {', '.join(KINDS)}.")
        )


def _identifies(facts: tuple[str, ...], home: tuple[str, ...]) -> bool:
    """Whether values of `facts` belong to one home only."""
    known = set(facts)
    if "timestamp" in known:
        known |= {"date", "time"}
    if {"date", "time"} <= known:
        known.add("timestamp")
    return "id" in known or known.issuperset(home)


def _vary(name: str, value: str, n: int) -> str:
    if name == "id":
        number = int.from_bytes(hashlib.sha256(f"{value} {n}".encode()).digest()[:8])
        digits = "0123456789abcdefghijklmnopqrstuvwxyz"
        return "".join(digits[number // 36**place % 36] for place in range(8))
    return f"{value[: _SUFFIXED.get(name)]}-{n}"


def _listed(facts: Mapping[str, object]) -> str:
    return ", ".join(name for name in facts if facts[name] is not None) or "none"
