"""Layout: a table from record kinds to path templates, used to write paths and to read them.

This is the only place that knows where a record is stored; no other module joins path strings. It works
on text alone: it never touches the disk, and knows nothing of YAML (see `load`) or of runs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

from trainyard.errors import LayoutError
from trainyard.layouts import collisions, picture
from trainyard.layouts.facts import FACTS
from trainyard.layouts.kinds import KINDS
from trainyard.layouts.template import Match, Template, match
from trainyard.wording import did_you_mean

# The facts that change together when a home is taken.
CLAIMED_BY = {"run": ("run",), "time": ("time", "timestamp"), "id": ("id",)}

_SUFFIXED = {"time": len("HH-MM-SS"), "timestamp": len("YYYYmmdd-HHMMSS")}


@dataclass(frozen=True)
class Layout:
    """Where every record of a run is stored."""

    name: str  # a shipped layout's, or the stem of the user's file
    claim: Literal["run", "time", "id"]  # the fact that changes when a home is taken (see `vary`)
    checkpoint_format: Literal["hf", "hf-bin", "pth"]  # hf and hf-bin are directories, pth is one file
    kinds: Mapping[str, str]  # path templates by kind, relative to the yard; `{home}` is the run's own directory
    about: Mapping[str, str] = field(default_factory=dict)  # what each kind is, in a few words; kinds may be missing
    description: str = ""
    source: str | None = None  # the YAML text of a user's own layout, which a run stores; None for one that ships

    def has(self, kind: str) -> bool:
        """Whether the layout has a path for this kind; records of other kinds are not written."""
        return kind in self.kinds

    def facts_of(self, kind: str) -> tuple[str, ...]:
        """The facts that the kind's path needs, including those of `{home}`; LayoutError if it has no path."""
        return self._template(kind).facts

    def is_shared(self, kind: str) -> bool:
        """Whether runs with different homes may have the same path for this kind; LayoutError if it has no path."""
        known = set(self.facts_of(kind))
        if "timestamp" in known:
            known |= {"date", "time"}
        if {"date", "time"} <= known:
            known.add("timestamp")
        return "id" not in known and not known.issuperset(self.facts_of("home"))

    def path(self, kind: str, facts: Mapping[str, object]) -> str:
        """The path of a record, relative to the yard; that of a directory ends with "/".

        It needs the facts of `facts_of(kind)`; others are ignored.

        Raises:
            LayoutError: the layout has no path for the kind, or a fact is missing.
            BadNameError: a fact's value cannot be part of a path.
        """
        found = self._template(kind)
        self._require(kind, found.facts, facts)
        return found.write(facts)

    def match(self, path: str) -> list[Match]:
        """The readings of a path, the most specific first; none when it is not a path of this layout.

        The path is relative to the yard, with "/" between its parts and at the end of a directory. Each reading
        gives it back: `layout.path(*reading) == path`, NFC-normalised.
        """
        return match(self.templates, path)

    def check(self, facts: Mapping[str, object]) -> None:
        """Makes sure that every path of a run with these facts reads back as what was written.

        Facts that change within a run (step, epoch, split, timestamps) are tried with samples; kinds
        whose names (project, dataset, run, model) are not among the facts are left out.

        Raises:
            BadNameError: a value is unsafe, or a path would be read as another kind or another run's.
            LayoutError: a name that the home needs is missing.
        """
        self._require("home", [name for name in self.facts_of("home") if not FACTS[name].form], facts)
        collisions.check(self.name, self.templates, facts)

    def vary(self, facts: Mapping[str, object], n: int) -> Mapping[str, object]:
        """The n-th choice of facts for a run whose home is taken; the first choice is `facts` itself.

        `run` becomes `name-2`; `time` and `timestamp` become `20-43-01-2` together; `id` becomes another
        id, derived from the first. Claiming a home is thus one loop over n in every layout.

        Raises:
            LayoutError: the fact that tells this layout's runs apart is missing.
        """
        if n == 1:
            return facts
        claimed = [name for name in CLAIMED_BY[self.claim] if facts.get(name) is not None]
        if not claimed:
            given = _listed(facts)
            what = f"Layout {self.name!r} tells runs apart by {self.claim!r}, which is not among the facts ({given})."
            raise LayoutError(what, f"Pass {self.claim}=….", value=[self.claim], place=self.name)
        return {**facts, **{name: _vary(name, str(facts[name]), n) for name in claimed}}

    def tree(self, facts: Mapping[str, object] | None = None) -> str:
        """A picture of the layout with the given facts filled in. Ends with a newline."""
        return picture.draw({kind: self.templates[kind] for kind in self.kinds}, self.about, facts or {})

    @cached_property
    def templates(self) -> dict[str, Template]:
        """The templates with `{home}` filled in, the most specific first, `home` first among equals."""
        home = self.kinds["home"]
        parsed = {kind: Template(text.replace("{home}", home)) for kind, text in self.kinds.items()}
        return dict(sorted(parsed.items(), key=lambda item: (-item[1].literal_length, item[0] != "home")))

    def _template(self, kind: str) -> Template:
        if (found := self.templates.get(kind)) is not None:
            return found
        if kind in KINDS:
            what, remedy = f"Layout {self.name!r} has no path for {kind!r}.", "Use a layout that has a path for it."
            raise LayoutError(what, remedy, value=kind, place=self.name)
        remedy = did_you_mean(kind, KINDS, then=f"Kinds: {', '.join(KINDS)}.")
        raise LayoutError(f"There is no record kind {kind!r}.", remedy, value=kind)

    def _require(self, kind: str, names: Sequence[str], facts: Mapping[str, object]) -> None:
        if missing := [name for name in names if facts.get(name) is None]:
            needed = f"{self.kinds[kind]!r} needs {' and '.join(map(repr, missing))}; given: {_listed(facts)}"
            what = f"Layout {self.name!r} cannot write a path for {kind!r}: {needed}."
            remedy = f"Pass {' and '.join(f'{name}=…' for name in missing)}."
            raise LayoutError(what, remedy, value=missing, place=f"{self.name}:{kind}")


def _vary(name: str, value: str, n: int) -> str:
    if name == "id":
        number = int.from_bytes(hashlib.sha256(f"{value} {n}".encode()).digest()[:8])
        digits = "0123456789abcdefghijklmnopqrstuvwxyz"
        return "".join(digits[number // 36**place % 36] for place in range(8))
    return f"{value[: _SUFFIXED.get(name)]}-{n}"


def _listed(facts: Mapping[str, object]) -> str:
    return ", ".join(name for name in facts if facts[name] is not None) or "none"
