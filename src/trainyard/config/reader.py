"""From plain values to a `Config`, noting every value of a wrong type.

Walks the schema's type hints. Raises nothing: the caller reports all faults together. Uses no files and no Hydra;
`rules` checks whether values of the right type are valid.
"""

from __future__ import annotations

import dataclasses
import math
import re
import types
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, get_args, get_origin

from trainyard.config.faults import Fault, show
from trainyard.config.fields import (
    MISSING,
    SELECTORS,
    all_keys,
    default_of,
    hints_of,
    long_forms,
    members_of,
    selected_by,
    words,
)
from trainyard.config.rules import check, section_faults
from trainyard.config.schema import Config
from trainyard.config.targets import with_current_targets
from trainyard.wording import FEW, nearest, suggestion

_BAD: Any = object()


def read(
    tree: Mapping[str, Any], *, texts: Mapping[str, str] | None = None, trust: bool = False
) -> tuple[Config, list[Fault]]:
    """The configuration and its faults, for plain, resolved values; usable only if there are no faults.

    `texts` holds values as typed, by key: a text field takes these rather than the number that the command line's
    grammar made of it. `trust` accepts `_target_` objects outside the allow-list.
    """
    reader = _Reader(texts or {})
    config: Config = reader.section(Config, long_forms(with_current_targets(tree)), "")
    return config, reader.faults_with(check(config, trust=trust))


def read_section(section: str, values: Mapping[str, Any]) -> tuple[Any, list[Fault]]:
    """`data` or `model` alone, and the faults of its single values; usable only if there are none.

    The values are plain and include the selector; absent keys take their defaults.
    """
    reader = _Reader({})
    chosen = reader.value(hints_of(Config)[section], values, section)
    if chosen is _BAD:
        return None, reader.faults
    return chosen, reader.faults_with(section_faults(section, chosen))


class _Reader:
    """Turns plain values into dataclasses, collecting the faults."""

    def __init__(self, texts: Mapping[str, str]) -> None:
        self.faults: list[Fault] = []
        self.texts = texts

    def faults_with(self, further: Iterable[Fault]) -> list[Fault]:
        """The faults, and those of `further` that are not about values that could not be read."""
        wrong = tuple(f"{key}." for fault in self.faults for key in fault.keys)
        return self.faults + [fault for fault in further if not any(f"{key}.".startswith(wrong) for key in fault.keys)]

    def section(self, cls: type[Any], value: Any, key: str, section_default: Any = None) -> Any:
        """An instance of the dataclass; invalid fields get their default or a placeholder.

        `section_default` is the default of the whole section, if it is not the class's own.
        """
        if not isinstance(value, Mapping):
            self.wrong(key, value, "a section that holds further keys")
            value = {}
        hints = hints_of(cls)
        fields: dict[str, Any] = {}
        for field in dataclasses.fields(cls):
            name = field.name
            inner = f"{key}.{name}" if key else name
            default = default_of(field, section_default)
            fields[name] = "" if default is MISSING else default
            if default is MISSING and value.get(name, MISSING) == MISSING:
                self.missing(cls, inner)
            elif name in value:
                converted = self.value(hints[name], value[name], inner, default)
                fields[name] = fields[name] if converted is _BAD else converted
        for name in value:
            if name not in hints:
                self.unknown(cls, value, str(name), key)
        return cls(**fields)

    def value(self, hint: Any, value: Any, key: str, default: Any = None) -> Any:
        """The value in the type of the hint, or _BAD after noting a fault; `default` is the field's."""
        members = members_of(hint)
        if key in SELECTORS:
            cls = self.member(members, value, key)
            return _BAD if cls is None else self.section(cls, value, key)
        if dataclasses.is_dataclass(hint):
            return self.section(members[0], value, key, default)
        if value is None and types.NoneType in members:
            return None
        if isinstance(value, str):
            return self.text(members, value, key, hint)
        if isinstance(value, int | float):
            if str in members and key in self.texts:
                return self.texts[key]
            return self.number(members, value, key, hint)
        if isinstance(value, Mapping) and any(get_origin(member) is Mapping for member in members):
            return self.free(value, key)
        if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray):
            return self.items(members, value, key, hint)
        return self.wrong(key, value, words(hint))

    def text(self, members: Sequence[Any], value: str, key: str, hint: Any) -> Any:
        literals = _literals(members)
        if value in literals:
            return value
        if str in members:
            return value if _encodes(value) else self.wrong(key, value, "text that can be written as UTF-8")
        choices = [choice for choice in literals if isinstance(choice, str)]
        if choices:
            return self.wrong(key, value, words(hint), suggestion(value, choices, few=0))
        is_group = "." in key and any(get_origin(member) is Mapping for member in members)
        group_hint = f"; to choose a shipped one, write {key.replace('.', '/')}={value}" if is_group else ""
        return self.wrong(key, value, words(hint), group_hint)

    def number(self, members: Sequence[Any], value: float, key: str, hint: Any) -> Any:
        if isinstance(value, bool):
            return value if bool in members else self.wrong(key, value, words(hint))
        if isinstance(value, int) and (int in members or value in _literals(members)):
            return value
        if float in members:
            try:
                number = float(value)
            except OverflowError:
                number = math.inf
            return number if math.isfinite(number) else self.wrong(key, value, "a finite number")
        # YAML reads 012 as 10, so the digits of the file are lost here
        return self.wrong(key, value, words(hint), "; put it in quotes" if str in members else "")

    def items(self, members: Sequence[Any], value: Sequence[Any], key: str, hint: Any) -> Any:
        for member in members:
            if get_origin(member) is tuple:
                kinds = get_args(member)
                if kinds[-1] is Ellipsis:
                    kinds = (kinds[0],) * len(value)
                elif len(kinds) != len(value):
                    break
                pairs = enumerate(zip(kinds, value, strict=True))
                items = tuple(self.value(kind, item, f"{key}[{index}]") for index, (kind, item) in pairs)
                return _BAD if any(item is _BAD for item in items) else items
        return self.wrong(key, list(value), words(hint))

    def free(self, value: Any, key: str) -> Any:
        """A deep copy of a free-form value, of plain types only; lists stay lists."""
        if isinstance(value, Mapping):
            bad = [name for name in value if not isinstance(name, str) or not _encodes(name)]
            for name in bad:
                self.wrong(key, name, "keys that are text")
            inner = {name: self.free(item, f"{key}.{name}") for name, item in value.items() if name not in bad}
            return _BAD if bad or any(item is _BAD for item in inner.values()) else inner
        if isinstance(value, list | tuple):
            items = [self.free(item, f"{key}[{index}]") for index, item in enumerate(value)]
            return _BAD if any(item is _BAD for item in items) else items
        if isinstance(value, float) and not math.isfinite(value):
            return self.wrong(key, value, "a finite number")
        if isinstance(value, str) and not _encodes(value):
            return self.wrong(key, value, "text that can be written as UTF-8")
        if value is None or isinstance(value, str | int | float):
            return value
        return self.wrong(key, value, "text, a number, true, false, null, a list or a mapping")

    def member(self, members: Sequence[Any], value: Any, key: str) -> type[Any] | None:
        """The dataclass that the selector of a union names."""
        selector = SELECTORS[key]
        by_name: dict[str, type[Any]] = {selected_by(member): member for member in members}
        default: type[Any] = type(getattr(Config(), key))
        if not isinstance(value, Mapping):
            near = suggestion(value, by_name) if isinstance(value, str) else f"; {key}={'|'.join(by_name)}"
            self.wrong(key, value, f"a section with `{selector}`", near)
            return None
        chosen = value.get(selector, selected_by(default))
        if isinstance(chosen, str) and chosen in by_name:
            return by_name[chosen]
        what = f"`{key}.{selector}` is {show(chosen)}{suggestion(str(chosen), by_name)}"
        self.faults.append(Fault(what, (f"{key}.{selector}", key)))
        return None

    def wrong(self, key: str, value: Any, expected: str, hint: str = "") -> Any:
        name = f"`{key}`" if key else "the configuration"
        keys = (key.partition("[")[0],)  # without list indices, as the user writes it
        self.faults.append(Fault(f"{name} is {show(value)}, expected {expected}{hint}", keys))
        return _BAD

    def missing(self, cls: type[Any], key: str) -> None:
        section = key.split(".")[0]
        chosen = f" by {section}={selected_by(cls)}" if section in SELECTORS else ""
        self.faults.append(Fault(f"`{key}` is required{chosen}: add {key}=…", (key,)))

    def unknown(self, cls: type[Any], value: Mapping[str, Any], name: str, section: str) -> None:
        key = f"{section}.{name}" if section else name
        members = members_of(hints_of(Config)[section]) if section in SELECTORS else ()
        others = [selected_by(other) for other in members if other is not cls and name in hints_of(other)]
        cousin = nearest(name, {inner for other in members for inner in hints_of(other)})
        siblings = list(hints_of(cls))
        elsewhere = sorted(known for known in all_keys() if known.rpartition(".")[2] == name and known != key)
        if key in all_keys() and "." in name:
            hint = f"; write it as `{name.split('.')[0]}:` with `{'.'.join(name.split('.')[1:])}:` below it"
        elif others:
            choices = " or ".join(f"{section}={other}" for other in others)
            hint = f"; it is a key of {choices}, but this is {section}={selected_by(cls)}"
        elif near := nearest(name, siblings):
            prefix = f"{section}." if section else ""
            valid = f" valid: {', '.join(sorted(siblings))}" if len(siblings) <= FEW else ""
            hint = f"; did you mean `{prefix}{near}`?{valid}"
        elif cousin:
            choices = " or ".join(f"{section}={selected_by(other)}" for other in members if cousin in hints_of(other))
            hint = f"; did you mean `{section}.{cousin}`, a key of {choices}? This is {section}={selected_by(cls)}"
        elif elsewhere:
            hint = f"; did you mean `{elsewhere[0]}`?"
        else:
            hint = f"; `{section}` takes: {', '.join(sorted(siblings))}" if section else suggestion(name, siblings)
        self.faults.append(Fault(f"unknown key `{key}`{hint}", (key,)))


def _literals(members: Sequence[Any]) -> list[Any]:
    """The values that the Literal members list."""
    return [choice for member in members if get_origin(member) is Literal for choice in get_args(member)]


def _encodes(text: str) -> bool:
    """Whether UTF-8 can encode the text: it has no lone surrogates."""
    return not re.search("[\ud800-\udfff]", text)
