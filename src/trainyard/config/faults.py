"""What is wrong with a configuration, one fault at a time, and how it is told.

A fault knows the keys it is about; where those keys were said is added by whoever read them. Kept
apart so that reading, type checks and rules all word things alike. Knows no YAML and no Hydra.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from trainyard.errors import ConfigError, UnsafeTargetError
from trainyard.wording import nearest as nearest  # read from here by modules that have not moved to `wording`
from trainyard.wording import suggestion as suggestion


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong.

    Attributes:
        says: the sentence, without a full stop.
        keys: dotted keys it is about, the first foremost; empty when `place` says it all.
        place: where it was said, when the keys cannot tell.
        unsafe: a `_target_` outside the allow-list.
        remedy: what to do, when it is not plain from the sentence.
        clouds: sections whose contents cannot be judged because of it, so that one slip is told once.
    """

    says: str
    keys: tuple[str, ...] = ()
    place: str | None = None
    unsafe: bool = False
    remedy: str = ""
    clouds: tuple[str, ...] = ()


def show(value: object) -> str:
    """The value as a reader would write it, at most 80 characters."""
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
    """Raises the faults as one error, or returns when there are none.

    Args:
        faults: in the order to be read.
        place_of: where a key was said, or None where nobody said it.
        remedy: what to do when no fault says more.

    Raises:
        UnsafeTargetError: every fault is a `_target_` outside the allow-list.
        ConfigError: any other faults.
    """
    if not faults:
        return
    lines = list(dict.fromkeys(_told(fault, place_of) for fault in faults))
    remedies = list(dict.fromkeys(fault.remedy for fault in faults if fault.remedy))
    advice = " ".join(remedies) or remedy
    if all(fault.unsafe for fault in faults):
        raise UnsafeTargetError("\n  ".join(lines), advice)
    keys = dict.fromkeys(key for fault in faults for key in fault.keys)
    raise ConfigError(lines, advice, keys=list(keys))


def _told(fault: Fault, place_of: Callable[[str], str | None]) -> str:
    places = [fault.place] if fault.place else [place for key in fault.keys if (place := place_of(key))]
    places = list(dict.fromkeys(places))
    return f"{fault.says} ({'; '.join(places)})" if places else fault.says
