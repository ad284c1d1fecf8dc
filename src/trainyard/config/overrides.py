"""`key=value` from the command line, read by Hydra's grammar.

One exception to that grammar: where a key holds nothing but text, what Hydra cannot read, takes for a
sweep or for a number is the text as typed, so that `data.path=Données (2).npz` needs no quotes.
Knows nothing of files.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from trainyard.config.faults import Fault, show
from trainyard.config.fields import SELECTORS, text_keys
from trainyard.config.recipes import Choice, checked_choice, groups

_QUOTING = "Quote what holds special characters, as in 'run.note=\"one, two\"'."


@dataclass(frozen=True)
class Said:
    """One override.

    Attributes:
        key: dotted.
        value: plain; strings may hold `${...}` unless `literal`.
        text: the value as typed.
        place: for messages.
        deletes: `~key`.
    """

    key: str
    value: Any
    text: str
    place: str
    literal: bool = False
    deletes: bool = False

    @property
    def selects(self) -> bool:
        """Whether it decides what its neighbours mean, and so comes before them."""
        section, _, last = self.key.rpartition(".")
        return last == "_target_" or SELECTORS.get(section) == last


def parse(overrides: Sequence[str], faults: list[Fault]) -> tuple[list[str], list[Choice], list[Said]]:
    """The recipes named, the choices of groups, and the values, selecting ones first; else in order."""
    recipes: list[str] = []
    choices: list[Choice] = []
    values: list[Said] = []
    for text in overrides:
        place = f"command line: `{text}`"
        said = _parse_one(text, place, faults)
        if said is None:
            continue
        if said.key == "recipe" and not said.deletes:
            recipes.append(said.value if isinstance(said.value, str) else said.text)
        elif "/" in said.key or (said.key in groups() and not said.deletes and isinstance(said.value, str)):
            choice = checked_choice(said.key, said.value, place, faults)
            choices += [choice] if choice else []
        else:
            values.append(said)
    return recipes, choices, sorted(values, key=lambda said: not said.selects)


def _parse_one(text: str, place: str, faults: list[Fault]) -> Said | None:
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    split = re.fullmatch(r"(?:\+\+?)?([\w.]+)=(.*)", text, re.DOTALL)
    typed = split[2] if split else ""
    literal = None
    if split and split[1] in text_keys() and not typed.startswith(("'", '"')):
        literal = Said(split[1], typed, typed, place, literal=True)
    try:
        parsed = OverridesParser.create().parse_override(text)
        sweeps = parsed.is_sweep_override()
        value = None if sweeps else _unquoted(parsed.value())
    except (HydraException, RecursionError, ValueError) as error:
        if literal:
            return literal
        reason = (str(error).splitlines() or ["?"])[0]
        says = f"cannot be read: {reason}" if "=" in text or text.startswith("~") else "is not of the form key=value"
        faults.append(Fault(f"the override {show(text)} {says}", place="command line", remedy=_QUOTING))
        return None
    key = parsed.key_or_group
    if sweeps:
        if literal:
            return literal
        faults.append(
            Fault(f"`{key}` is {typed}, several values where one run takes one", place=place, remedy=_QUOTING)
        )
        return None
    if parsed.package is not None:
        faults.append(Fault(f"`{key}@{parsed.package}` names a package, which has no meaning here", place=place))
        return None
    return Said(key, value, typed, place, deletes=parsed.is_delete())


def _unquoted(value: Any) -> Any:
    """Plain dicts and lists, with text for the keys as YAML would have it."""
    if isinstance(value, dict):
        return {key if isinstance(key, str) else show(key): _unquoted(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_unquoted(item) for item in value]
    return value
