"""The facts that paths are made of: their forms, and how to write and read them.

A fact is one value of a run (`run`, `epoch`, `split` …) that a path template may name. This module
decides what a value may look like inside a path, so that every value written can be read back and
none can leave its directory. It does not know templates, record kinds or the disk.
"""

from __future__ import annotations

import operator
import re
import unicodedata
from dataclasses import dataclass

from trainyard.errors import BadNameError

MAX_COMPONENT_BYTES = 255  # NAME_MAX on Linux and macOS
RESERVED = frozenset({".run", ".yard"})  # the yard's own folders

_SHOWN = 60  # characters of a name in a message

_AGAIN = "(?:-(?:[2-9]|[1-9][0-9]+))?"  # -2, -3 …: the second, third … in the same second
_MANY = 999_999_999_999  # more steps than any run takes: the longest number that a path must have room for


@dataclass(frozen=True)
class Fact:
    """One kind of value in a path."""

    pattern: str = "[^/]+"  # regular expression of its text
    form: str = ""  # in words; empty for names that are chosen freely
    samples: tuple[str | int, ...] = ()  # to try where a run has no value yet; the longest possible one is among them
    is_number: bool = False  # read back as an int


_SECONDS = ("20260131-204301", "20260131-204301-10")
_TIMESTAMP = Fact("[0-9]{8}-[0-9]{6}" + _AGAIN, "a timestamp as 20260131-204301", _SECONDS)
_COUNT = Fact("0|[1-9][0-9]*", "a whole number, 0 or more", (0, _MANY), is_number=True)

FACTS: dict[str, Fact] = {
    "project": Fact(),
    "dataset": Fact(),
    "run": Fact(),
    "model": Fact(),
    "date": Fact("[0-9]{4}-[0-9]{2}-[0-9]{2}", "a date as 2026-01-31", ("2026-01-31",)),
    "time": Fact("[0-9]{2}-[0-9]{2}-[0-9]{2}" + _AGAIN, "a time as 20-43-01", ("20-43-01", "20-43-01-10")),
    "timestamp": _TIMESTAMP,  # when the run began
    "moment": _TIMESTAMP,  # when something happens to it later
    "id": Fact("[a-z0-9]{8}", "eight characters of a-z and 0-9", ("k3v9x0aq", "20260131")),
    "step": _COUNT,
    "epoch": _COUNT,
    "artifact_id": Fact("[0-9a-f]{16}", "sixteen characters of 0-9 and a-f", ("0123456789abcdef",)),
    "split": Fact("train|val|test", "train, val or test", ("train", "val", "test")),
}


def write_fact(name: str, value: object) -> str:
    """The text of a fact inside a path, NFC-normalised.

    Raises:
        BadNameError: the value does not have the fact's form, or is not a safe part of a path.
    """
    fact = FACTS[name]
    if fact.is_number:
        try:
            number = -1 if isinstance(value, bool) else operator.index(value)  # type: ignore[arg-type]
        except TypeError:
            number = -1
        if number < 0:
            raise _refused(name, value, f"is not {fact.form}")
        return str(number)
    if not isinstance(value, str):
        raise _refused(name, value, f"is of type {type(value).__name__}, not text")
    text = value if _has_surrogates(value) else unicodedata.normalize("NFC", value)
    if fault := name_fault(text):
        raise _refused(name, value, fault)
    if fact.form and re.fullmatch(fact.pattern, text) is None:
        raise _refused(name, value, f"is not {fact.form}")
    return text


def read_fact(name: str, text: str) -> str | int:
    """The value of a fact from its text in a path: int for step and epoch, else the text."""
    return int(text) if FACTS[name].is_number else text


def shown(value: object) -> str:
    """The value as a message shows it; a long text is cut and followed by its length."""
    if isinstance(value, str) and len(value) > _SHOWN:
        return f"{value[:_SHOWN]!r}… ({len(value)} characters)"
    return repr(value)


def name_fault(text: str) -> str | None:
    """Why the text cannot be (part of) one path component, as a verb phrase such as "is empty"; None when it can."""
    if not text:
        return "is empty"
    if text in (".", ".."):
        return "refers to another directory"
    if text in RESERVED:
        return "is reserved for a folder of the yard"
    if "/" in text:
        return "contains '/', which separates directories"
    if _has_surrogates(text):
        return "contains characters that are not valid Unicode"
    if not text.isprintable():
        for character in text:
            # Cf is allowed because it joins emoji. Zl and Zp break lines as a newline does.
            if unicodedata.category(character) in ("Cc", "Zl", "Zp"):
                return f"contains the control character {character!r}"
    if text != text.strip():
        return "begins or ends with a space"
    return None


def _has_surrogates(text: str) -> bool:
    return not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text)


def _refused(name: str, value: object, rule: str) -> BadNameError:
    wanted = FACTS[name].form
    noun = name if wanted else f"{name} name"
    remedy = f"Pass {wanted}." if wanted else f"Choose another {noun}: letters, digits, '-', '_' and '.' always work."
    what = f"The {noun} {shown(value)} cannot be part of a path: it {rule}."
    return BadNameError(what, remedy, value=value, place=name)
