"""Phrases that many errors share: the name that was probably meant, and lists of names.

Pure functions from words to words, used at every layer; they know nothing of what the names name.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

FEW = 12  # choices up to this many are listed in full


def similar(word: str, choices: Iterable[str], *, limit: int = 3, cutoff: float = 0.6) -> list[str]:
    """Up to `limit` choices that `word` may have been meant to be, the most similar first, whatever their case.

    The least similarity is `cutoff`, from 0 to 1. A choice that starts with the word counts too, if it is the only one.
    """
    from difflib import get_close_matches  # only needed to explain an error

    by_folded: dict[str, str] = {}
    for choice in choices:
        by_folded.setdefault(choice.casefold(), choice)
    folded = word.strip().casefold()
    found = get_close_matches(folded, by_folded, n=limit, cutoff=cutoff)
    if not found and folded:
        starts = [choice for choice in by_folded if choice.startswith(folded)]
        found = starts if len(starts) == 1 else []
    return [by_folded[choice] for choice in found]


def nearest(word: str, choices: Iterable[str]) -> str | None:
    """The choice that `word` was most likely meant to be, or None."""
    return next(iter(similar(word, choices, limit=1)), None)


def did_you_mean(word: str, choices: Iterable[str], *, limit: int = 1, then: str = "") -> str:
    """A remedy: `Did you mean 'x' or 'y'?` with up to `limit` choices, if any is similar, then the sentence `then`."""
    found = similar(word, choices, limit=limit)
    sentence = f"Did you mean {' or '.join(map(repr, found))}?" if found else ""
    return f"{sentence} {then}".strip()


def suggestion(word: str, choices: Iterable[str], *, few: int = FEW) -> str:
    """The end of a sentence, `; did you mean `x`? valid: x, y`; empty when there is nothing to say.

    The choices are listed when there are at most `few`; 0 never does.
    """
    names = sorted(choices)
    near = nearest(word, names)
    text = f"; did you mean `{near}`?" if near else ""
    if names and len(names) <= few:
        text += f"{'' if near else ';'} valid: {', '.join(names)}"
    return text


def listed(names: Sequence[str], shown: int = 20, *, empty: str = "none") -> str:
    """The first names with commas between them, and how many more there are: `a, b and 3 more`."""
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return f"{', '.join(names[:shown])}{more}" if names else empty
