"""`key=value` from the command line, read by Hydra's grammar.

One exception to that grammar: for a key that can only be text, a value that Hydra cannot parse, or would read as a
sweep or a number, is the text as typed, so that `data.path=Données (2).npz` needs no quotes. Reads no files.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from trainyard.config.faults import Fault, show
from trainyard.config.fields import SELECTORS, text_keys
from trainyard.config.recipes import Choice, checked_choice, groups

_QUOTING = "Quote values that hold special characters, as in 'run.note=\"one, two\"'."


@dataclass(frozen=True)
class Override:
    """One override."""

    key: str  # dotted
    value: Any  # plain; strings may hold `${...}` unless `literal`
    text: str  # the value as typed
    place: str  # for messages
    literal: bool = False  # `${...}` in the value is plain text
    deletes: bool = False  # `~key`

    @property
    def selects(self) -> bool:
        """Whether it determines the meaning of its neighbours, and is applied before them."""
        section, _, last = self.key.rpartition(".")
        return last == "_target_" or SELECTORS.get(section) == last


def parse(overrides: Sequence[str], faults: list[Fault]) -> tuple[list[str], list[Choice], list[Override]]:
    """The recipes, the choices of groups, and the values: those that select first, otherwise in order."""
    recipes: list[str] = []
    choices: list[Choice] = []
    values: list[Override] = []
    for text in overrides:
        place = f"command line: `{text}`"
        parsed = _parse_one(text, place, faults)
        if parsed is None:
            continue
        key, is_text = parsed.key, isinstance(parsed.value, str)
        if key == "recipe" and not parsed.deletes:
            recipes.append(parsed.value if is_text else parsed.text)
        elif "/" in key or (key in groups() and not parsed.deletes and is_text):
            choice = checked_choice(key, parsed.value, place, faults)
            choices += [choice] if choice else []
        else:
            values.append(parsed)
    return recipes, choices, sorted(values, key=lambda value: not value.selects)


def _parse_one(text: str, place: str, faults: list[Fault]) -> Override | None:
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    split = re.fullmatch(r"(?:\+\+?)?([\w.]+)=(.*)", text, re.DOTALL)
    name, typed = split.groups() if split else ("", "")
    is_text = name in text_keys() and not typed.startswith(("'", '"'))
    literal = Override(name, typed, typed, place, literal=True) if is_text else None
    try:
        parsed = OverridesParser.create().parse_override(text)
        sweeps = parsed.is_sweep_override()
        value = None if sweeps else _unquoted(parsed.value())
    except (HydraException, RecursionError, ValueError) as error:
        reason = (str(error).splitlines() or ["?"])[0]
        why = f"cannot be parsed: {reason}" if "=" in text or text.startswith("~") else "is not of the form key=value"
        if literal is None:
            faults.append(Fault(f"the override {show(text)} {why}", place="command line", remedy=_QUOTING))
        return literal
    key = parsed.key_or_group
    if sweeps:
        what = f"`{key}` is {typed}, a sweep over several values, but a run takes one"
        if literal is None:
            faults.append(Fault(what, place=place, remedy=_QUOTING))
        return literal
    if parsed.package is not None:
        faults.append(Fault(f"`{key}@{parsed.package}` names a package; packages are not supported", place=place))
        return None
    return Override(key, value, typed, place, deletes=parsed.is_delete())


def _unquoted(value: Any) -> Any:
    """Plain dicts and lists, with text for the keys as in YAML."""
    if isinstance(value, dict):
        return {key if isinstance(key, str) else show(key): _unquoted(item) for key, item in value.items()}
    return [_unquoted(item) for item in value] if isinstance(value, list) else value
