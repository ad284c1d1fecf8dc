"""The faults of a configuration, and the error that reports them together.

A fault holds its keys; `raise_all` adds the places where they were set. Uses no YAML and no Hydra.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from trainyard.errors import ConfigError, UnsafeTargetError


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong."""

    what: str  # the sentence, without a full stop
    keys: tuple[str, ...] = ()  # the dotted keys involved, the most important first; empty when `place` is enough
    place: str | None = None  # the file and line, or the override, if the keys do not lead to it
    unsafe: bool = False  # a `_target_` outside the allow-list
    remedy: str = ""  # what to do, unless the sentence makes it clear
    obscures: tuple[str, ...] = ()  # sections that this fault keeps from being checked, so that it is reported once


def show(value: object) -> str:
    """The value as the user would write it, at most 80 characters."""
    try:
        text = json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError):
        text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def place_in(file: str, lines: Mapping[str, int], key: str) -> str:
    """`FILE, line N` of the dotted key, or of the nearest section around it that has a line."""
    while key and key not in lines:
        key = key.rpartition(".")[0]
    return f"{file}, line {lines[key]}" if key else file


def raise_all(
    faults: Sequence[Fault], place_of: Callable[[str], str | None] = lambda key: None, remedy: str = ""
) -> None:
    """Raises the faults as one error; does nothing without faults.

    `place_of` tells where a key was set, None for a default. `remedy` is used when no fault has one.

    Raises:
        UnsafeTargetError: every fault is a `_target_` outside the allow-list.
        ConfigError: any other faults.
    """
    if not faults:
        return
    lines = list(dict.fromkeys(_line(fault, place_of) for fault in faults))
    advice = " ".join(dict.fromkeys(fault.remedy for fault in faults if fault.remedy)) or remedy
    keys = list(dict.fromkeys(key for fault in faults for key in fault.keys))
    if all(fault.unsafe for fault in faults):
        raise UnsafeTargetError("\n  ".join(lines), advice, place=keys[0] if keys else None)
    raise ConfigError(lines, advice, keys=keys)


def _line(fault: Fault, place_of: Callable[[str], str | None]) -> str:
    places = [fault.place] if fault.place else [place for key in fault.keys if (place := place_of(key))]
    places = list(dict.fromkeys(places))
    return f"{fault.what} ({'; '.join(places)})" if places else fault.what
