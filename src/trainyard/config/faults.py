"""What is wrong with a configuration, one fault at a time, and how it is told.

A fault knows the keys it is about; where those keys were said is added by whoever read them. Kept
apart so that reading, type checks and rules all word things alike. Knows no YAML and no Hydra.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from trainyard.errors import ConfigError, UnsafeTargetError

FEW = 12  # names up to this many are listed in full


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


def nearest(name: str, offered: Iterable[str]) -> str | None:
    """The offered name that `name` was most likely meant to be, or None."""
    from difflib import get_close_matches

    by_folded = {choice.casefold(): choice for choice in offered}
    found = get_close_matches(name.casefold(), by_folded, n=1, cutoff=0.6)
    if found:
        return by_folded[found[0]]
    starts = [choice for folded, choice in by_folded.items() if name and folded.startswith(name.casefold())]
    return starts[0] if len(starts) == 1 else None


def suggestion(name: str, offered: Iterable[str], *, few: int = FEW) -> str:
    """`; did you mean X?` and the offered names when they are at most `few`, or an empty string."""
    names = sorted(offered)
    near = nearest(name, names)
    text = f"; did you mean `{near}`?" if near else ""
    if names and len(names) <= few:
        text += f"{';' if not near else ''} valid: {', '.join(names)}"
    return text


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
