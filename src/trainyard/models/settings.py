"""What the settings of the two kinds of encoders have in common, and what is wrong with them, a phrase each.

It builds nothing and knows no library.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

_OVERRIDES = ("hidden_size", "num_layers", "num_heads", "ffn_size")  # of a random encoder, instead of its size's


@dataclass(frozen=True)
class Sizes:
    """The numbers that make a transformer encoder."""

    hidden: int
    layers: int
    heads: int
    ffn: int


def sizes_of(settings: Any, usual: Sizes) -> Sizes:
    """The sizes that settings ask for: their own, or else the usual ones."""
    own = (getattr(settings, key) for key in _OVERRIDES)
    return Sizes(*(value or other for value, other in zip(own, vars(usual).values(), strict=True)))


def override_problems(settings: Any) -> list[str]:
    """What is wrong with the sizes that settings give by themselves."""
    given = ((key, getattr(settings, key)) for key in _OVERRIDES)
    return [
        f"model.{key}={value!r} is not a whole number above 0"
        for key, value in given
        if value is not None and not (type(value) is int and value > 0)
    ]


def misfits(settings: Any, usual: Sizes | None) -> list[str]:
    """What is wrong with a start from given weights, or from random ones, whose settings are each right."""
    if settings.pretrained:
        why = "of a random encoder; a pretrained one has its own (model.pretrained=false makes a random one)"
        given = ((key, getattr(settings, key)) for key in _OVERRIDES)
        return [f"model.{key}={value} is {why}" for key, value in given if value is not None]
    problems = []
    if settings.path is not None:
        problems.append(f"model.path={settings.path!r} is set, but model.pretrained=false starts from random weights")
    sizes = None if usual is None else sizes_of(settings, usual)
    if sizes is not None and sizes.hidden % sizes.heads:
        problems.append(f"model.hidden_size={sizes.hidden} is no multiple of model.num_heads={sizes.heads}")
    return problems


def unknown(word: str, known: Sequence[str] | Mapping[str, Any], what: str) -> str:
    """`what` followed by the word, and by the nearest of the known ones, or by all of them."""
    nearest = get_close_matches(word, known, n=1)
    hint = f"did you mean {nearest[0]!r}?" if nearest else f"there are {', '.join(known)}"
    return f"{what} {word!r}; {hint}"


def class_problems(classes: Sequence[str], *, least: int = 2) -> list[str]:
    """What keeps these class names from being the outputs of a classifier that needs `least` of them."""
    problems = []
    if len(classes) < least:
        needed = "1 class" if least == 1 else f"{least} classes"
        problems.append(f"a classifier needs {needed} or more, the data has {len(classes)}")
    repeated = [label for label, times in Counter(classes).items() if times > 1]
    if repeated:
        problems.append(f"the class names {', '.join(map(repr, repeated))} occur more than once")
    return problems
