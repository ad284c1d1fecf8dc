"""The keys, types and defaults of the schema's dataclasses, read from the type hints.

A new field of `schema` needs no code here. Knows no values except the defaults, and no files.
"""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Iterator, Mapping
from functools import cache, reduce
from operator import or_
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from trainyard.config import kinds
from trainyard.config.schema import Config

SELECTORS = kinds.SELECTORS  # the field that distinguishes the members of a union
MISSING = "???"  # OmegaConf's and Hydra's mark of a required value
_UNSET: Any = object()
_WORDS = {int: "a whole number", float: "a number", bool: "true or false", str: "text", types.NoneType: "null"}


def fill(tree: Mapping[str, Any]) -> dict[str, Any]:
    """The tree with the schema's defaults filled in, so that `${...}` can refer to them."""
    return _filled(Config, long_forms(tree))


def long_forms(tree: Mapping[str, Any]) -> dict[str, Any]:
    """The tree with `data` and `model` written out, see `kinds.long_form`."""
    return {name: kinds.long_form(name, value) if name in SELECTORS else value for name, value in tree.items()}


def text_keys() -> frozenset[str]:
    """The dotted keys whose value can only be text (or null)."""
    hints = _all_hints(kinds.PACKAGES)
    return frozenset(key for key, hint in hints if {str} <= set(members_of(hint)) <= {str, types.NoneType})


def section_keys() -> frozenset[str]:
    """The dotted keys that hold further keys."""
    return frozenset(key for key, hint in _all_hints(kinds.PACKAGES) if _sections(hint))


def all_keys() -> frozenset[str]:
    """Every dotted key of every member of every union."""
    return frozenset(key for key, _ in _all_hints(kinds.PACKAGES))


def words(hint: Any) -> str:
    """What a type hint accepts, in words."""
    return " or ".join(map(_word, members_of(hint)))


def hints_of(cls: type[Any]) -> dict[str, Any]:
    """The resolved type hint of each field, in order; `data` and `model` are unions of what the packages list."""
    return _hints(cls, kinds.PACKAGES)  # type: ignore[arg-type]  # mypy: classes are not Hashable


@cache
def _hints(cls: type[Any], packages: tuple[str, ...]) -> dict[str, Any]:
    unions = {section: reduce(or_, kinds.members(section).values()) for section in SELECTORS} if cls is Config else {}
    return {**get_type_hints(cls), **unions}


def members_of(hint: Any) -> tuple[Any, ...]:
    """The members of a union, or the hint alone."""
    return get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)


def selected_by(cls: type[Any]) -> str:
    """The value of the selector of a union's member, such as `npz`."""
    for name in SELECTORS.values():
        if get_origin(hints_of(cls).get(name)) is Literal:
            return str(get_args(hints_of(cls)[name])[0])
    return cls.__name__


def plain(value: Any) -> Any:
    """A deep copy with dicts for dataclasses and lists for tuples."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {name: plain(item) for name, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list | tuple) else value


def _word(member: Any) -> str:
    origin = get_origin(member)
    if origin is Literal:
        choices = [str(choice) for choice in get_args(member)]
        return choices[0] if len(choices) == 1 else f"one of {', '.join(choices)}"
    if origin is tuple:
        kinds = get_args(member)
        many = {int: "whole numbers", float: "numbers", str: "texts"}[kinds[0]]
        return f"a list of {many}" if kinds[-1] is Ellipsis else f"a list of {len(kinds)} {many}"
    if origin is Mapping:
        return "a mapping with `_target_`"
    return _WORDS.get(member, "a section")


@cache
def _all_hints(packages: tuple[str, ...]) -> tuple[tuple[str, Any], ...]:
    return tuple(dict.fromkeys(_keys_of(Config, "")))


def _keys_of(cls: type[Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for name, hint in hints_of(cls).items():
        yield f"{prefix}{name}", hint
        for section in _sections(hint):
            yield from _keys_of(section, f"{prefix}{name}.")


def _sections(hint: Any) -> list[type[Any]]:
    """The dataclasses among the hint's members."""
    return [member for member in members_of(hint) if isinstance(member, type) and dataclasses.is_dataclass(member)]


def default_of(field: dataclasses.Field[Any], section: Any = None) -> Any:
    """The value of an unset field, MISSING if it is required; `section` is the default of its section, if any."""
    if section is not None:
        return getattr(section, field.name)
    if field.default is not dataclasses.MISSING:
        return field.default
    return field.default_factory() if field.default_factory is not dataclasses.MISSING else MISSING


def _filled(cls: type[Any], tree: Mapping[str, Any], section_default: Any = None) -> dict[str, Any]:
    filled = dict(tree)
    for field in dataclasses.fields(cls):
        sections = _sections(hints_of(cls)[field.name])
        default = default_of(field, section_default)
        value = filled.get(field.name, {} if sections else _UNSET)
        if sections and isinstance(value, Mapping):
            chosen = value.get(SELECTORS.get(field.name, ""))
            section = next((section for section in sections if selected_by(section) == chosen), type(default))
            filled[field.name] = _filled(section, value, default if type(default) is section else None)
        elif value is _UNSET:
            filled[field.name] = plain(default)
    return filled
